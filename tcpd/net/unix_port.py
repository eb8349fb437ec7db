"""Listening UNIX sockets: their file, its mode, and what an unclean death leaves behind.

- The file never has a wider mode than was asked for, not even for an instant.
- Whoever may write to the directory may put another file in its place at any time. So what we
  change is what a descriptor holds, never what a path names: a socket that nobody listens to, as
  ours is until its mode is right. Another that is swapped in is dead, or it stays as it is.
- A file whose socket nobody listens to any more is taken over; one that is in use, or is no
  socket at all, is left alone. Whether somebody listens is asked by connecting. The process number
  in a `.lock` beside it says nothing: in a container, say, each daemon is number 1. We make that
  file only for programs that look at it, as other Twisted daemons do.
- Nothing is locked, for whoever can read a directory can keep its lock for ever. So two daemons
  that start within the same millisecond can both take one dead socket over. Each looks again once
  it listens, and gives up if its file is gone; a daemon that is past this loses its file only to
  one that found the path dead microseconds before and hasn't removed it until then.
- At the end the file is removed if it is still ours, and never if the socket was handed to us.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N803, N815, PLR0917
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import os
import socket
import stat
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
from tcpd.net.unix_user import is_listened_to, user_of


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
                    self._bind_file(sock, path)
            except OSError:
                sock.close()
                self._unbind()
                raise
        except OSError as error:
            raise CannotListenError(None, path, error) from error
        return sock

    def _bind_file(self, sock: socket.socket, path: bytes) -> None:
        # bind(2) makes the file with the socket's own mode, less the umask. Setting that first
        # leaves no moment in which the file is open to more than it should be.
        os.fchmod(sock.fileno(), self.mode)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _take_over(path)
            sock.bind(path)
        try:
            with _held(path) as (held, status):
                if not stat.S_ISSOCK(status.st_mode) or is_listened_to(held):
                    raise _gone()
                self._owned = _identity(status)
                if stat.S_IMODE(status.st_mode) != self.mode:
                    os.chmod(held, self.mode)  # what the umask took away
            sock.listen(self.backlog)
            if _identity(os.lstat(path)) != self._owned:
                raise _gone()
        except FileNotFoundError:
            raise _gone() from None
        if self.wantPID:
            self.lockFile = _lock_beside(path)

    def give_to(self, user: int, group: int) -> None:
        """Give the file to a user and a group, by number: those that the process will become.

        Raises:
            OSError: it isn't ours to give.
        """
        if self._owned is None:
            return
        with _held(self._bindPath) as (held, status):
            if _identity(status) == self._owned:
                os.chown(held, user, group)

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
            if _identity(os.lstat(self._bindPath)) != owned:
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
def _held(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Hold what is at a path, be it a symbolic link: see O_PATH in open(2).

    Gives a name that means this very file, whatever is at the path by then, and the file's status.
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d" % descriptor, os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


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


def _take_over(path: bytes) -> None:
    """Remove the file of a socket that nobody listens to.

    Args:
        path: where something stood in the way a moment ago.

    Raises:
        OSError: `EADDRINUSE` if it is anything else; `strerror` says what, for people.
    """
    with suppress(FileNotFoundError):  # gone since
        before = os.lstat(path)
        if not stat.S_ISSOCK(before.st_mode):
            text = "there is a file that isn't a socket; remove it or choose another path"
            raise OSError(errno.EADDRINUSE, text)
        user = user_of(path)
        if user is not None:
            raise _in_use(user)
        if _identity(os.lstat(path)) == _identity(before):
            os.unlink(path)


def _in_use(user: str) -> OSError:
    return OSError(errno.EADDRINUSE, f"it is in use by {user}")


def _gone() -> OSError:
    text = "another program has removed it, or put its own in its place, while it was being made"
    return OSError(errno.EADDRINUSE, f"{text}; only one can serve there")
