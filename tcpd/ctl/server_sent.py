"""Server-Sent Events, read: bytes in, messages out (HTML standard, section 9.2).

Sans-I/O. A message that is longer than the bound is an error, not memory; ids aren't kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a stream."""

    event: str = "message"
    data: str = ""


class Reader:
    """Puts messages together.

    Args:
        most: how many bytes a message may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        r"""Give the messages that some more bytes complete; lines end with `\n` or `\r\n`.

        Raises:
            ValueError: a message is longer than may be.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))
            if message is not None:
                yield message
        if len(self._rest) + self._size > self._most:
            raise ValueError("a message is too long")

    def _line(self, line: str) -> Message | None:
        if not line:
            message = Message(event=self._event or "message", data="\n".join(self._data))
            complete = bool(self._data)
            self._event, self._data, self._size = "", [], 0
            return message if complete else None
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "data":
            self._data.append(value)
            self._size += len(value)
        elif key == "event":
            self._event = value
        return None
