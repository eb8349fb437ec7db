"""The files of a capture: made for their owner alone, never through a symbolic link.

Rules:
- A file that we write to is one that we have made: what stands where it belongs is put aside, and
  what is no regular file, or another process's, is an error.
- One that somebody has removed is begun anew, rather than filled where nobody can read it.
- What is written is in the file whole or not at all. What a full disk has taken a part of is taken
  back, so that the file can be read at any time.
- No more than a few descriptors are held, however many files there are.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import stat
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from tcpd.escape import escape_text

# How many are held open; of those a session each there may be thousands.
MOST_OPEN = 64
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Misplaced(OSError):  # noqa: N818  (it says what is wrong with a place)
    """Something stands where a file belongs, and won't go away by itself."""


class _File:
    """A file that we have made."""

    def __init__(self, fd: int, began: float) -> None:
        status = os.fstat(fd)
        self.fd = fd
        self.began = began
        self.size = 0
        self.place = (status.st_dev, status.st_ino)

    @property
    def is_removed(self) -> bool:
        """Whether it has no name any more; of one that isn't open, opening it tells."""
        return self.fd >= 0 and os.fstat(self.fd).st_nlink == 0


class Files:
    """The files of one capture.

    Args:
        directory: where they are.
        header: returns what a file begins with.
        rotate_size: a file that would grow beyond so many bytes is put aside; None for never.
        rotate_every: so is one that is older than so many seconds.
        keep: how many are kept besides those that are written to.
        mine: what the names of such files look like, where each session has one, so that those
            of earlier runs are counted; the first group is the name before the number of one
            that was put aside. None where there is only one file.
        clock: tells seconds.

    Attributes:
        written: how many bytes have been written, what files begin with included.
    """

    def __init__(
        self,
        directory: Path,
        header: Callable[[], bytes],
        *,
        rotate_size: int | None = None,
        rotate_every: float | None = None,
        keep: int = 10,
        mine: re.Pattern[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rotate_size = rotate_size
        self.rotate_every = rotate_every
        self.keep = keep
        self.written = 0
        self._directory = directory
        self._header = header
        self._mine = mine
        self._clock = clock
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._done: deque[str] | None = None

    @property
    def is_many(self) -> bool:
        """Whether each session has a file of its own."""
        return self._mine is not None

    def begin(self, name: str) -> None:
        """Make a file that doesn't exist, for a capture that nothing may stand in the way of.

        It is whole from the beginning, so that one with nothing in it can be read as well.

        Raises:
            OSError: it can't be made or written to, or is there already.
        """
        with self._in_directory() as directory:
            file = self._made(name, directory)
            try:
                self._write(file, self._header())
            except OSError:
                self._close(self._files.pop(name))
                os.unlink(name, dir_fd=directory)
                raise

    def append(self, name: str, data: bytes) -> None:
        """Append to a file, which is made if need be.

        Raises:
            Misplaced: something else stands where it belongs.
            OSError: it can't be made or written to.
        """
        file = self._files.get(name)
        if file is not None and (file.is_removed or (file.size and self._is_full(file, len(data)))):
            self._close(self._files.pop(name))
            file = None
        if file is None:
            file = self._new(name)
        elif file.fd < 0:
            file = self._again(name, file)
        self._files.move_to_end(name)
        if not file.size:
            data = self._header() + data
        self._write(file, data)

    def done(self, name: str) -> None:
        """Note that nothing more comes for a file."""
        if name not in self._files:
            return
        kept = self._kept() if self._mine is not None else None
        self._close(self._files.pop(name))
        if kept is not None:
            with self._in_directory() as directory:
                kept.extend((*self._put_aside_of(name, directory), name))
                self._remove_oldest(kept, directory)

    def close(self) -> None:
        """Let go of all files; what comes goes into new ones."""
        for file in self._files.values():
            self._close(file)
        self._files.clear()

    def _is_full(self, file: _File, more: int) -> bool:
        if self.rotate_size is not None and file.size + more > self.rotate_size:
            return True
        return self.rotate_every is not None and self._clock() - file.began >= self.rotate_every

    def _write(self, file: _File, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(file.fd, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fd, file.size)  # this needs no room on the disk
            raise
        file.size += len(data)
        self.written += len(data)

    # -- making ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_directory(self) -> Iterator[int]:
        """Give the directory's descriptor: what is done in it can't be led elsewhere meanwhile."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        directory = os.open(self._directory, flags)
        try:
            yield directory
        finally:
            os.close(directory)

    def _new(self, name: str) -> _File:
        with self._in_directory() as directory:
            try:
                return self._made(name, directory)
            except FileExistsError:
                self._put_aside(name, directory)
                return self._made(name, directory)

    def _made(self, name: str, directory: int) -> _File:
        fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file = self._files[name] = _File(fd, self._clock())
        self._hold_few()
        return file

    def _again(self, name: str, file: _File) -> _File:
        """Open a file of ours again; if it is gone, or another's, begin anew."""
        try:
            with self._in_directory() as directory:
                fd = os.open(name, _FLAGS, dir_fd=directory)
        except FileNotFoundError:
            return self._new(name)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return self._new(name)  # which says what is wrong
            raise
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != file.place:
            os.close(fd)
            return self._new(name)
        file.fd = fd
        self._files.move_to_end(name)
        self._hold_few()
        return file

    def _hold_few(self) -> None:
        held = [each for each in self._files.values() if each.fd >= 0]
        for each in held[: len(held) - MOST_OPEN]:
            self._close(each)

    def _close(self, file: _File) -> None:
        fd, file.fd = file.fd, -1
        if fd >= 0:
            os.close(fd)

    # -- those from before -------------------------------------------------------------------

    def _put_aside(self, name: str, directory: int) -> None:
        """Rename what stands where a file belongs, and those that were renamed before."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        shown = escape_text(str(self._directory / name))
        if stat.S_ISLNK(status.st_mode):
            raise Misplaced(errno.ELOOP, f"{shown} is a symbolic link, which is never followed")
        if not stat.S_ISREG(status.st_mode):
            raise Misplaced(errno.EEXIST, f"{shown} isn't a regular file")
        fd = os.open(name, _FLAGS, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misplaced(errno.EBUSY, f"another process writes to {shown}") from None
        finally:
            os.close(fd)
        for number in range(self.keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(
                    f"{name}.{number}", f"{name}.{number + 1}",
                    src_dir_fd=directory, dst_dir_fd=directory,
                )  # fmt: skip
        os.rename(name, f"{name}.1", src_dir_fd=directory, dst_dir_fd=directory)

    def _kept(self) -> deque[str]:
        """Return the names of files that are finished, the oldest first."""
        if self._done is None:
            found = []
            with os.scandir(self._directory) as entries:
                for each in entries:
                    match = self._mine.fullmatch(each.name) if self._mine is not None else None
                    if match is not None and match[1] not in self._files:
                        with contextlib.suppress(FileNotFoundError):
                            found.append((each.stat(follow_symlinks=False).st_mtime_ns, each.name))
            self._done = deque(name for _, name in sorted(found))
        return self._done

    def _put_aside_of(self, name: str, directory: int) -> list[str]:
        """Return the names of what was put aside for a file, the oldest first."""
        found: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            for number in itertools.count(1):
                os.stat(f"{name}.{number}", dir_fd=directory, follow_symlinks=False)
                found.insert(0, f"{name}.{number}")
        return found

    def _remove_oldest(self, names: deque[str], directory: int) -> None:
        while len(names) > self.keep:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(names.popleft(), dir_fd=directory)
