"""A sink that appends records to a file: one JSON object a line (JSON Lines).

Rules:
- The file is made readable by its owner and group at most, and never reached through a symbolic
  link; nor are the older ones, as renaming doesn't follow them.
- A batch, or as much of it as a file may hold, is in the file whole or not at all: of what the disk
  has no room for, what had been written is taken back, and it is tried again. So no line is ever
  broken off, or there twice.
- Several processes may write to one file, and somebody else may move it away at any time.
- A file that is full, or of another period, is renamed: `events.jsonl.1` is the latest of those.
- What `fsync` promises holds for a file that is let go of, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tcpd.errors import raise_all
from tcpd.fields import Range
from tcpd.sinks.paths import open_file, path_problems
from tcpd.sinks.record import Record
from tcpd.sinks.sink import Sink, TryAgainError
from tcpd.units import ByteSize, Seconds

SYNC_EVERY = Seconds(1.0)
# How often in a row the file may have been moved away when its turn has come: others who write to
# it rotate it, too.
MOVES = 100


@dataclass
class JsonLines(Sink):
    """Append records to a file, one JSON object a line."""

    path: Path
    """The file."""
    mode: Literal["0600", "0640"] = "0640"
    """Who may read the files that it makes: the owner, or the group too."""
    rotate_size: Annotated[ByteSize, Range(1024)] | None = None
    """A file doesn't grow beyond this, unless a single record does; without it, it may."""
    rotate_every: Annotated[Seconds, Range(1.0)] | None = None
    """A new file is begun so often, counted from midnight UTC of 1970; without it, never."""
    keep: Annotated[int, Range(1, 10_000)] = 10
    """How many older files are kept when it is rotated."""
    fsync: Literal["never", "batch", "interval"] = "interval"
    """When records are forced to the disk."""
    fsync_interval: Annotated[Seconds, Range(0.01)] = SYNC_EVERY
    """How often, for `fsync = "interval"`."""
    clock: Callable[[], float] = field(init=False, default=time.time, repr=False)
    """Tells the time in seconds since 1970."""

    def __post_init__(self) -> None:
        self._fd = -1
        self._period = 0
        self._is_checked = False
        self.flush_every = self.fsync_interval
        raise_all(path_problems(self.path))

    def open(self) -> None:
        """Open the file."""
        try:
            self._fd = open_file(self.path, int(self.mode, 8), os.O_RDWR | os.O_APPEND)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise TryAgainError(f"{self.path} is a symbolic link; name its target") from None
            raise TryAgainError(f"{self.path}: {error.strerror}") from None
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise TryAgainError(f"{self.path} isn't a regular file")
        self._is_checked = False
        self._period = self._period_of(status.st_mtime if status.st_size else self.clock())

    def write(self, batch: Sequence[Record]) -> None:
        """Append some records."""
        written = 0
        try:
            for count, data in self._pieces(batch):
                size = self._size_when_ours()
                # Once more if others have filled the new one before its turn came.
                while size and self._is_full(size + len(data)):
                    self._rotate()
                    size = self._size_when_ours()
                self._append(data, size)
                written += count
        except OSError as error:
            raise TryAgainError(f"{self.path}: {error.strerror}", written) from error
        except TryAgainError as error:
            raise TryAgainError(error, written) from error
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def flush(self) -> None:
        """Force what was written to the disk, unless that is done with each batch, or never."""
        if self.fsync == "interval" and self._fd >= 0:
            os.fdatasync(self._fd)

    def reopen(self) -> None:
        """Open the file anew; keep the old one if that fails."""
        old = self._fd, self._period
        try:
            self.open()
        except BaseException:
            self._fd, self._period = old
            raise
        try:
            if self.fsync == "interval":  # nobody flushes that file later
                os.fdatasync(old[0])
        finally:
            os.close(old[0])

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _pieces(self, batch: Sequence[Record]) -> Iterator[tuple[int, bytes]]:
        """Give a batch as parts that fit into a file each: how many records, and their lines."""
        most = self.rotate_size
        lines = [f"{record.line}\n" for record in batch]
        first = size = 0
        for number, line in enumerate(lines):
            if most is not None and number > first and size + len(line) > most:
                yield number - first, "".join(lines[first:number]).encode("ascii")
                first, size = number, 0
            size += len(line)
        yield len(lines) - first, "".join(lines[first:]).encode("ascii")

    def _size_when_ours(self) -> int:
        """Lock the file for one piece, and return its size; take up a new one if it was moved."""
        for _ in range(MOVES):
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            mine = os.fstat(self._fd)
            try:
                there = os.stat(self.path, follow_symlinks=False)
                if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                    return mine.st_size
            except FileNotFoundError:
                pass
            self.reopen()
        # Without the lock two might rotate at once, and the files of one would be gone.
        raise TryAgainError(f"{self.path} is moved away again and again")

    def _append(self, data: bytes, size: int) -> None:
        """Append a piece to a file of a size; if it fails, the file is as before."""
        try:
            left = memoryview(self._end_of_line(size) + data)
            while left:
                left = left[os.write(self._fd, left) :]
            if self.fsync == "batch":
                os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, size)  # this needs no room on the disk
            raise

    def _end_of_line(self, size: int) -> bytes:
        """Return what ends a line that somebody has broken off, so that it spoils no other."""
        if size == 0 or self._is_checked:
            return b""
        self._is_checked = True
        return b"" if os.pread(self._fd, 1, size - 1) == b"\n" else b"\n"

    def _is_full(self, size: int) -> bool:
        if self.rotate_size is not None and size > self.rotate_size:
            return True
        return self._period != self._period_of(self.clock())

    def _period_of(self, seconds: float) -> int:
        return int(seconds // self.rotate_every) if self.rotate_every is not None else 0

    def _rotate(self) -> None:
        """Rename the file, and those that were renamed before; begin a new one."""
        for number in range(self.keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._older(number), self._older(number + 1))
        os.rename(self.path, self._older(1))
        self.reopen()

    def _older(self, number: int) -> str:
        return f"{self.path}.{number}"
