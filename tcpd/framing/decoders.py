"""Bytes in, frames out: the decoders, which know no sockets.

Rules, for every decoder and however the bytes were cut:
- The same frames come out, and the same error; the time is linear in the bytes.
- A frame longer than `max_size` is an error, as soon as it is certain. The frames ahead of it come
  out first. After the error nothing comes out any more.
- At most `limit` frames come out of one `receive`; `more` says whether others may be complete.
- What came out and wasn't used can be put back, to the byte, CR or not: so a protocol may pause,
  close, or go on with another framing after any frame.
- No more is kept than one unfinished frame and one read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from tcpd.framing.errors import BadLength, FrameTooLong, FramingError

MAX_SIZE = 64 * 1024
"""Bytes that a frame may have unless somebody says otherwise."""
FRAMES_A_TURN = 1024
"""Frames that a session may have processed before the others get their turn; about 1 ms of work."""

# How much of what was kept is looked at for each frame that is asked for. Frames of more than this
# come a few at a time instead; what matters is that a small limit doesn't copy the whole buffer.
_WINDOW_PER_FRAME = 64


class Decoder(ABC):
    """Cuts a stream of bytes into frames.

    Args:
        max_size: bytes that a frame may have, without what frames it.

    Attributes:
        error: what is wrong with the frame that comes next and so ended the decoding, or None.
        more: whether the last `receive` left frames that may be complete; `receive()` gives them.
    """

    __slots__ = ("_at_once", "_buffer", "_used", "_window", "error", "max_size", "more")

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self.max_size = max_size
        self.error: FramingError | None = None
        self.more = False
        self._buffer = bytearray()  # received and not decoded
        # What the last frames were made of, should they be put back: so many bytes of the window.
        self._window = b""
        self._used = 0
        self._at_once = FRAMES_A_TURN

    @property
    def pending(self) -> bytes:
        """What was received and hasn't come out as a frame."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Keep bytes for a later `receive`."""
        if self.error is None:
            self._buffer += data

    def receive(self, data: bytes = b"", limit: int = FRAMES_A_TURN) -> list[bytes]:
        """Return the frames that are complete now, `limit` of them at most.

        Args:
            data: what came in since the last call; nothing, to ask for what is left.
            limit: how many frames to return.
        """
        if self._buffer:
            return self._receive_buffered(data, limit)
        # The usual case: nothing was left, and nothing is copied but what will be left now. (After
        # an error something is always left: the frame that can't be.)
        frames, used = self._decode(data, limit)
        self._window = data
        self._used = used
        if used != len(data):
            self._buffer += data[used:]
            self.more = len(frames) == limit
        else:
            self.more = False
        return frames

    def _receive_buffered(self, data: bytes, limit: int) -> list[bytes]:
        self.more = False
        if self.error is not None:
            return []
        buffer = self._buffer
        buffer += data
        needed = self._frame_end()
        if not needed:
            return []
        limit = min(limit, self._at_once)
        self._at_once = min(self._at_once * 2, FRAMES_A_TURN)
        with memoryview(buffer) as view:
            window = bytes(view[: max(needed, limit * _WINDOW_PER_FRAME)])
        frames, used = self._decode(window, limit)
        self._window = window
        self._used = used
        cut = len(window) < len(buffer)
        del buffer[:used]
        self.more = bool(buffer) and (cut or len(frames) == limit)
        return frames

    def put_back(self, frames: Sequence[bytes]) -> None:
        """Take back the last `frames` of those that the last `receive` returned."""
        start = self._used
        for frame in reversed(frames):
            start -= self._size_on_wire(frame, start)
        self._buffer[:0] = self._window[start : self._used]
        self.done()
        self.error = None
        self.more = bool(self._buffer)
        # Whoever stops once will stop again: few frames at a time from now on, then more and more.
        self._at_once = 1

    def done(self) -> None:
        """Forget what the last frames were made of; they won't be put back."""
        self._window = b""
        self._used = 0

    @abstractmethod
    def _decode(self, window: bytes, limit: int) -> tuple[list[bytes], int]:
        """Return the frames at the start of `window`, and how many bytes they took.

        Args:
            window: the bytes.
            limit: how many frames to return at most; if the one after them can't be, but was asked
                for, `error` is set.
        """

    @abstractmethod
    def _frame_end(self) -> int:
        """Return where the first frame in the buffer ends; 0 if it isn't there yet, or can't be."""

    @abstractmethod
    def _size_on_wire(self, frame: bytes, end: int) -> int:
        """Return how many bytes of the window a frame took whose last is before `end`."""


class RawDecoder(Decoder):
    """Whatever one read brought is a frame; a longer one is cut, so this has no error."""

    __slots__ = ()

    def _decode(self, window: bytes, limit: int) -> tuple[list[bytes], int]:
        size = self.max_size
        if 0 < len(window) <= size:
            return [window], len(window)
        frames = [window[at : at + size] for at in range(0, len(window), size)][:limit]
        return frames, sum(map(len, frames))

    def _frame_end(self) -> int:
        return min(len(self._buffer), self.max_size)

    def _size_on_wire(self, frame: bytes, end: int) -> int:
        return len(frame)


class DelimitedDecoder(Decoder):
    """A delimiter ends a frame.

    Args:
        delimiter: one byte or several.
        strip_cr: whether a CR before the delimiter, which is LF then, belongs to it.
        max_size: bytes that a frame may have.
    """

    __slots__ = ("_delimiter", "_most", "_scanned", "_strip_cr")

    def __init__(self, delimiter: bytes, *, strip_cr: bool = False, max_size: int = MAX_SIZE):
        super().__init__(max_size)
        self._delimiter = delimiter
        self._strip_cr = strip_cr
        # With more than this and no delimiter in it, the frame is too long for certain: the last
        # bytes may be the first of a delimiter.
        self._most = max_size + len(delimiter) - 1 + strip_cr
        self._scanned = 0

    def _decode(self, window: bytes, limit: int) -> tuple[list[bytes], int]:
        frames = window.split(self._delimiter, limit)
        rest = len(frames.pop())
        used = len(window) - rest
        whole = frames
        if self._strip_cr and b"\r" in window:
            # Twice as fast as looking at the end of each frame.
            frames = window[:used].replace(b"\r\n", b"\n").split(b"\n")
            frames.pop()
        if len(window) > self.max_size:
            if frames and max(map(len, frames)) > self.max_size:
                good = next(i for i, frame in enumerate(frames) if len(frame) > self.max_size)
                self.error = FrameTooLong(self.max_size)
                used = sum(map(len, whole[:good])) + good * len(self._delimiter)
                return frames[:good], used
            if rest > self._most and len(frames) < limit:
                self.error = FrameTooLong(self.max_size)
        return frames, used

    def _frame_end(self) -> int:
        found = self._buffer.find(self._delimiter, self._scanned)
        if found >= 0:
            self._scanned = 0
            return found + len(self._delimiter)
        size = len(self._buffer)
        self._scanned = max(0, size - len(self._delimiter) + 1)
        if size > self._most:
            self.error = FrameTooLong(self.max_size)
        return 0

    def _size_on_wire(self, frame: bytes, end: int) -> int:
        end -= len(self._delimiter)
        cr = self._strip_cr and self._window[end - 1 : end] == b"\r"
        return len(frame) + cr + len(self._delimiter)


class LengthDecoder(Decoder):
    """A number ahead of each frame says how long it is.

    Args:
        size: bytes of the number: 1, 2 or 4.
        order: its byte order.
        counts_itself: whether it counts its own bytes too.
        max_size: bytes that a frame may have.
    """

    __slots__ = ("_counted", "_order", "_size")

    def __init__(
        self,
        size: int,
        order: Literal["big", "little"] = "big",
        *,
        counts_itself: bool = False,
        max_size: int = MAX_SIZE,
    ) -> None:
        super().__init__(max_size)
        self._size = size
        self._order: Literal["big", "little"] = order
        self._counted = size if counts_itself else 0

    def _decode(self, window: bytes, limit: int) -> tuple[list[bytes], int]:
        frames: list[bytes] = []
        size = self._size
        end = 0
        for _ in range(limit):
            start = end + size
            length = self._length(window[end:start])
            if length is None or start + length > len(window):
                break
            end = start + length
            frames.append(window[start:end])
        return frames, end

    def _length(self, field: bytes | bytearray) -> int | None:
        """Return the size of a frame from its length field; None if it isn't there or can't be."""
        if len(field) < self._size:
            return None
        length = int.from_bytes(field, self._order) - self._counted
        if length < 0:
            self.error = BadLength(length + self._counted, self._counted)
            return None
        if length > self.max_size:
            self.error = FrameTooLong(self.max_size, length)
            return None
        return length

    def _frame_end(self) -> int:
        length = self._length(self._buffer[: self._size])
        if length is None:
            return 0
        end = self._size + length
        return end if end <= len(self._buffer) else 0

    def _size_on_wire(self, frame: bytes, end: int) -> int:
        return self._size + len(frame)


class FixedDecoder(Decoder):
    """Every frame has the same size.

    Args:
        size: bytes of a frame.
        pad: the byte that fills up short ones, removed from their ends; or nothing.
    """

    __slots__ = ("_pad",)

    def __init__(self, size: int, pad: bytes = b"") -> None:
        super().__init__(size)
        self._pad = pad

    def _decode(self, window: bytes, limit: int) -> tuple[list[bytes], int]:
        size = self.max_size
        count = min(limit, len(window) // size)
        frames = [window[at : at + size] for at in range(0, count * size, size)]
        if self._pad:
            frames = [frame.rstrip(self._pad) for frame in frames]
        return frames, count * size

    def _frame_end(self) -> int:
        return self.max_size if len(self._buffer) >= self.max_size else 0

    def _size_on_wire(self, frame: bytes, end: int) -> int:
        return self.max_size
