"""The file that says which process the daemon is.

Rules:
- It is never reached through a symbolic link, and never anything but a file.
- Who runs holds a lock on it (flock(2)), which ends with the process however that ends. So a file
  that a killed process has left behind is taken over, even if its number is another process's now.
- A file that isn't locked may be that of a program which knows no lock: if the process that it
  names was there before the file was written, it is left alone. One that is over but that its
  parent hasn't asked about yet (a zombie; in a container, pid 1 may never ask) isn't there.
- At the end it is removed; where the directory is no longer ours to write to, it is emptied.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from tcpd.errors import ConfigError, TcpdError
from tcpd.escape import escape_text

_LONGEST = 32  # bytes; a number, and a line's end
# Seconds by which a process seems to start later than it does: a tick of the kernel's (proc(5)),
# and what the clocks are apart.
_SLACK = 2.0
_DEAD = ("Z", "X", "x")  # states of a process that is over, but still listed; proc(5)


class PidFile:
    """The pid file of this process.

    Args:
        path: where it is, as twistd's --pidfile has it; if relative, from where we are now.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.abspath(path))
        self._shown = escape_text(str(path))
        self._descriptor = -1
        self._holder = 0
        self._written = False

    def claim(self) -> int:
        """Make the file ours, as the process that we are or as one that we fork.

        Returns:
            The number of a process that has left the file behind; 0 if there was no such file.

        Raises:
            ConfigError: it can't be a pid file.
            TcpdError: it belongs to a process that runs.
        """
        while True:
            self._descriptor = descriptor = self._open()
            try:
                before = self._lock(descriptor)
            except BaseException:
                self._close()
                raise
            if _is_at(descriptor, self._path):
                self._holder = os.getpid()
                return before
            self._close()  # its owner has just removed it

    def write(self) -> None:
        """Write this process's number; needs `claim` before, and does nothing a second time."""
        if self._descriptor < 0 or self._written:
            return
        self._written = True
        self._holder = os.getpid()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % self._holder, 0)

    def remove(self) -> None:
        """Remove the file, if it is this very process that claimed or wrote it."""
        if self._descriptor < 0 or self._holder != os.getpid():
            return
        try:
            if _is_at(self._descriptor, self._path):
                os.unlink(self._path)
        except OSError:
            pass  # the directory is root's, and we no longer are
        os.ftruncate(self._descriptor, 0)
        self._close()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self._path, flags, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._wrong("is a symbolic link", "name its target") from None
            raise self._wrong(f"can't be written: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._wrong("isn't a file")
        return descriptor

    def _lock(self, descriptor: int) -> int:
        """Lock the file; return the process that has left it behind, or 0."""
        content = os.pread(descriptor, _LONGEST, 0).strip()
        if content and not content.isdigit():
            raise self._wrong("holds something else than a process's number", "name another")
        before = int(content or 0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise self._taken(f"process {before} runs, and uses it") from None
        written = os.fstat(descriptor).st_mtime
        started = _start_of(before) if before else None
        if started is not None and started < written + _SLACK and before != os.getpid():
            raise self._taken(
                f"it names process {before}, which runs; if that has nothing to do with it,"
                " remove the file"
            )
        return before

    def _wrong(self, problem: str, hint: str = "") -> ConfigError:
        return ConfigError("--pidfile", f"'{self._shown}' {problem}", hint)

    def _taken(self, why: str) -> TcpdError:
        return TcpdError(f"--pidfile: '{self._shown}' is taken: {why}")

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _start_of(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970; None if there is none that runs."""
    try:
        # What comes after the name, which may hold anything: proc(5), fields 3 and on.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        if fields[0] in _DEAD:
            return None
        ticks = int(fields[19])
        boot = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return _if_alive(pid)
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def _if_alive(pid: int) -> float | None:
    """Return the beginning of time for a process that runs, where /proc doesn't tell more."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass  # it isn't ours
    return 0.0
