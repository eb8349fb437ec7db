"""Listening UNIX sockets: their file, its mode, and what an unclean death leaves behind.

- The file never has a wider mode than was asked for, not even for an instant.
- A file whose socket nobody listens to any more is taken over; one that is in use, or is no
  socket at all, is left alone.
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
        if self.wantPID:
            self.lockFile = lockfile.FilesystemLock(self._bindPath + b".lock")
            if not self.lockFile.lock():
                raise CannotListenError(None, self._bindPath, "Cannot acquire lock")
        try:
            sock: socket.socket = self.createInternetSocket()
            try:
                self._bind_file(sock)
                sock.listen(self.backlog)
            except OSError:
                sock.close()
                raise
        except OSError as error:
            if self.lockFile is not None:
                self.lockFile.unlock()
            raise CannotListenError(None, self._bindPath, error) from error
        return sock

    def _bind_file(self, sock: socket.socket) -> None:
        path = self._bindPath
        if path[:1] == b"\0":  # Linux's abstract namespace: no file, no mode; see unix(7)
            sock.bind(path)
            return
        # bind(2) makes the file with the socket's own mode, less the umask. Setting that first
        # leaves no moment in which the file is open to more than it should be.
        os.fchmod(sock.fileno(), self.mode)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            with _directory_locked(os.path.dirname(path) or b"."):
                if not _is_stale(path):
                    raise
                os.unlink(path)
                sock.bind(path)
        os.chmod(path, self.mode)  # what the umask took away
        status = os.lstat(path)
        self._owned = (status.st_dev, status.st_ino)

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
        if self._owned is not None:
            with suppress(OSError):
                status = os.lstat(self._bindPath)
                if (status.st_dev, status.st_ino) == self._owned:
                    os.unlink(self._bindPath)
            self._owned = None
        if self.lockFile is not None:
            with suppress(OSError):  # the directory may be root's, and we no longer
                self.lockFile.unlock()
            self.lockFile = None

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
def _directory_locked(path: bytes) -> Iterator[None]:
    """Hold a lock on a directory, so that two of us don't take one stale socket over at once."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _is_stale(path: bytes) -> bool:
    """Whether a file is a socket that nobody listens to; asked by connecting to it."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:  # EAGAIN: its backlog is full; EPROTOTYPE: it is a datagram socket
            return False
    return False
