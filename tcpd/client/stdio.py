"""Standard input and output under a poll reactor, without touching their modes.

`O_NONBLOCK` belongs to the open file description, which the shell and other programs share: set
and left behind, by a kill for instance, it breaks them. So nothing is set here. A descriptor is
read when poll(2) says that it's readable, and written a `PIPE_BUF` at a time while poll says that
it's writable, which a pipe then takes without blocking (pipe(7)). Regular files and /dev/null,
which epoll refuses, are always ready to poll.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReadDescriptor, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

READ_SIZE = 65536
"""Bytes at one read: what a pipe holds, pipe(7)."""
HIGH_WATER = 256 * 1024
"""Bytes waiting for standard output above which the peer is not read from."""
LOW_WATER = 64 * 1024
_PIPE_WRITE = select.PIPE_BUF
_FILE_WRITE = 1 << 20


@implementer(IReadDescriptor, IPushProducer)
class Source:
    """Standard input, as a producer for the connection.

    Args:
        reactor: a reactor that polls regular files too (poll or select, not epoll).
        fd: the descriptor; it stays open.
        on_data: takes what was read.
        on_end: called once, at the end of the input.
        on_error: called once, with what read(2) said.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        *,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        on_error: Callable[[OSError], None],
    ) -> None:
        self._reactor = reactor
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        self._on_error = on_error
        self.ended = False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """Return the name in logs."""
        return "stdin"

    def doRead(self) -> None:
        """Read once and hand it on."""
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:  # another program set O_NONBLOCK, and took what there was
            return
        except OSError as problem:
            self._stop()
            self._on_error(problem)
            return
        if data:
            self._on_data(data)
        else:
            self._finish()

    def connectionLost(self, reason: Failure) -> None:
        """Take the hang-up of a pipe with nothing left in it as the end of the input."""
        self._finish()

    def resumeProducing(self) -> None:
        """Read on."""
        if not self.ended:
            self._reactor.addReader(self)

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._reactor.removeReader(self)

    def stopProducing(self) -> None:
        """Read no more until a new connection wants it."""
        self._reactor.removeReader(self)

    def _stop(self) -> None:
        self.ended = True
        self._reactor.removeReader(self)

    def _finish(self) -> None:
        if not self.ended:
            self._stop()
            self._on_end()


@implementer(IReadWriteDescriptor)
class Sink:
    """Standard output, with a queue.

    Args:
        reactor: a reactor that polls regular files too.
        fd: the descriptor; it stays open.
        on_room: called when the queue has drained after it was full.
        on_broken: called once, with what write(2) said; nothing is written from then on.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        *,
        on_room: Callable[[], None],
        on_broken: Callable[[OSError], None],
    ) -> None:
        self._reactor = reactor
        self._fd = fd
        self._on_room = on_room
        self._on_broken = on_broken
        self._queue = bytearray()
        self._was_full = False
        self._broken = False
        self._flushed: Deferred[None] | None = None
        mode = os.fstat(fd).st_mode
        self._limit = _FILE_WRITE if stat.S_ISREG(mode) else _PIPE_WRITE
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        # A pipe that nobody reads any more is an error to poll; asking for "readable" costs nothing
        # at a write end, and tells of it while there is nothing to write.
        access = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        if stat.S_ISFIFO(mode) and access == os.O_WRONLY:
            reactor.addReader(self)

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should come."""
        return self._was_full

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """Return the name in logs."""
        return "stdout"

    def write(self, data: bytes) -> None:
        """Queue bytes; what comes after an error is dropped."""
        if self._broken or not data:
            return
        self._queue += data
        if len(self._queue) > HIGH_WATER:
            self._was_full = True
        self._reactor.addWriter(self)

    def flush(self) -> Deferred[None]:
        """Return what fires when all of it is written, or can't be."""
        self._flushed = Deferred()
        self._settle()
        return self._flushed

    def doRead(self) -> None:
        """Do nothing: a write end is never readable."""

    def doWrite(self) -> None:
        """Write what the other side takes without making us wait."""
        written = 0
        try:
            with memoryview(self._queue) as view:
                while written < len(view):
                    written += os.write(self._fd, view[written : written + self._limit])
                    if not self._poll.poll(0):
                        break
        except BlockingIOError:
            pass
        except OSError as problem:
            self._break(problem)
            return
        del self._queue[:written]
        if not self._queue:
            self._reactor.removeWriter(self)
        if self._was_full and len(self._queue) <= LOW_WATER:
            self._was_full = False
            self._on_room()
        self._settle()

    def connectionLost(self, reason: Failure) -> None:
        """Take the reader's going away; write(2) would say the same."""
        self._break(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))

    def _break(self, problem: OSError) -> None:
        self._reactor.removeWriter(self)
        self._reactor.removeReader(self)
        self._queue.clear()
        if not self._broken:
            self._broken = True
            self._on_broken(problem)
        self._settle()

    def _settle(self) -> None:
        if self._flushed is not None and not self._flushed.called and not self._queue:
            self._reactor.removeReader(self)
            self._flushed.callback(None)
