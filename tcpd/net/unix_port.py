"""Listening UNIX sockets: their file, its mode, and what an unclean death leaves behind.

- The file never has a wider mode than was asked for, not even for an instant.
- A file whose socket nobody listens to any more is taken over; one that is in use, or is no
  socket at all, is left alone. Whether somebody listens is asked by connecting. The process number
  in a `.lock` beside it says nothing: in a container, say, each daemon is number 1. We make that
  file only for programs that look at it, as other Twisted daemons do.
- From its making until it listens, a directory's lock keeps others of us from taking it for dead.
- At the end the file is removed if it is still ours, and never if the socket was handed to us.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N803, N815, PLR0917
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from twisted.internet import unix
from twisted.internet.address import UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.python import lockfile
from twisted.python.failure import Failure

from tcpd.net.port import BACKLOG, Port
from tcpd.net.sockets import ServerTransport, UNIXServer
from tcpd.net.unix_user import user_of

# One of us holds a directory's lock for less than a millisecond. Seconds.
LOCK_TRIES = 20
LOCK_PAUSE = 0.05


class UNIXPort(Port, unix.Port):
    """A listening UNIX socket."""

    server_class: type[ServerTransport] = UNIXServer
    addressFamily = socket.AF_UNIX
    lockFile: Any = None
    _owned: tuple[int, int] | None = None

    def __init__(
        self,
        fileName: Any,
        factory: Any,
        backlog: int = BACKLOG,
        mode: int = 0o666,
        reactor: Any = None,
        wantPID: Any = 0,
    ) -> None:
        unix.Port.__init__(self, fileName, factory, backlog, mode, reactor, wantPID)
        self._prepare(factory)

    def _tls_class(self) -> type[ServerTransport]:
        from tcpd.net.tls_transport import TLSUNIXServer

        kind: type[ServerTransport] = TLSUNIXServer
        return kind

    def _bind(self) -> socket.socket:
        path = self._bindPath
        try:
            sock: socket.socket = self.createInternetSocket()
            try:
                if path[:1] == b"\0":  # Linux's abstract namespace: no file, no mode; see unix(7)
                    _bind_name(sock, path)
                    sock.listen(self.backlog)
                else:
                    with _directory_locked(os.path.dirname(path) or b".") as locked:
                        self._bind_file(sock, path, locked=locked)
            except OSError:
                sock.close()
                self._unbind()
                raise
        except OSError as error:
            raise CannotListenError(None, path, error) from error
        return sock

    def _bind_file(self, sock: socket.socket, path: bytes, *, locked: bool) -> None:
        # bind(2) makes the file with the socket's own mode, less the umask. Setting that first
        # leaves no moment in which the file is open to more than it should be.
        os.fchmod(sock.fileno(), self.mode)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _take_over(path, locked=locked)
            sock.bind(path)
        status = os.lstat(path)
        self._owned = (status.st_dev, status.st_ino)
        os.chmod(path, self.mode)  # what the umask took away
        sock.listen(self.backlog)
        if self.wantPID:
            self.lockFile = _lock_beside(path)

    def give_to(self, user: int, group: int) -> None:
        """Give the file to a user and a group, by number: those that the process will become.

        Raises:
            OSError: it isn't ours to give.
        """
        if self._owned is None:
            return
        # By its descriptor, for whoever may write to the directory could put another file there.
        descriptor = os.open(self._bindPath, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == self._owned and stat.S_ISSOCK(status.st_mode):
                os.chown(f"/proc/self/fd/{descriptor}", user, group)
        finally:
            os.close(descriptor)

    @property
    def place(self) -> object:
        """Where it listens, for logs; an abstract address with an @."""
        return os.fsdecode(self._bindPath).replace("\0", "@")

    def _number_of(self, sock: socket.socket) -> Any:
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The port is closed; its file goes with it."""
        self._unbind()
        Port._end(self, reason)

    def _unbind(self) -> None:
        lock, self.lockFile = self.lockFile, None
        owned, self._owned = self._owned, None
        if owned is None:
            return
        # The directory may be root's, and we no longer.
        with suppress(OSError):
            status = os.lstat(self._bindPath)
            if (status.st_dev, status.st_ino) != owned:
                return  # another's, and so is the lock
            if lock is not None:
                # Before the socket: once that is gone, the lock may be another's. Nor is it ours if
                # it holds another number (ValueError).
                with suppress(OSError, ValueError):
                    lock.unlock()
            os.unlink(self._bindPath)

    def _twin(self, factory: Any) -> Port:
        twin: Port = type(self)._fromListeningDescriptor(
            self.reactor, self.socket.fileno(), factory
        )
        return twin

    def bequeath(self, heir: Port) -> None:
        """Leave the socket's file, and its lock, to a successor."""
        if isinstance(heir, UNIXPort):
            heir._bindPath = self._bindPath
            heir._owned, self._owned = self._owned, None
            heir.lockFile, self.lockFile = self.lockFile, None

    def _identify(self, address: Any) -> tuple[Any, Any]:
        return address, UNIXAddress(address or None)

    def __repr__(self) -> str:
        return f"<unix port {self.place}{'' if self.connected else ' (not listening)'}>"


@contextmanager
def _directory_locked(path: bytes) -> Iterator[bool]:
    """Hold a lock on a directory, so that two of us don't take one stale socket over at once.

    Gives whether it could be had. It can't in a directory that we may not read, or if somebody
    keeps it for longer than one of us would (in /tmp, anybody can).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # bind(2) will say what is wrong, if it is
        yield False
        return
    try:
        yield _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
        else:
            return True
    return False


def _lock_beside(path: bytes) -> lockfile.FilesystemLock | None:
    """Make Twisted's `.lock` for a socket that is ours, whoever has left one there.

    Returns:
        the lock; None if there is something else in its place, which stays.
    """
    name = path + b".lock"
    lock = lockfile.FilesystemLock(name)
    with suppress(OSError):
        with suppress(FileNotFoundError):
            if not os.readlink(name).isdigit():
                return None
            os.unlink(name)
        if lock.lock():
            return lock
    return None


def _bind_name(sock: socket.socket, name: bytes) -> None:
    """Bind a socket to an abstract name.

    Raises:
        OSError: it can't be; of a name in use, `strerror` says who uses it.
    """
    try:
        sock.bind(name)
    except OSError as error:
        user = user_of(name) if error.errno == errno.EADDRINUSE else None
        if user is None:
            raise
        raise _in_use(user) from error


def _take_over(path: bytes, *, locked: bool) -> None:
    """Remove the file of a socket that nobody listens to.

    Args:
        path: where something stood in the way a moment ago.
        locked: whether the directory is, so that what is there stays what it is.

    Raises:
        OSError: `EADDRINUSE` if it is anything else; `strerror` says what, for people.
    """
    with suppress(FileNotFoundError):  # gone since
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            text = "there is a file that isn't a socket; remove it or choose another path"
            raise OSError(errno.EADDRINUSE, text)
        user = user_of(path)
        if user is not None:
            raise _in_use(user)
        if not locked:
            text = "a daemon has left its socket there, in a directory that can't be locked"
            raise OSError(errno.EADDRINUSE, f"{text}; remove the file")
        os.unlink(path)


def _in_use(user: str) -> OSError:
    return OSError(errno.EADDRINUSE, f"it is in use by {user}")
