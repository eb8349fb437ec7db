"""What becomes of a socket that we close before its peer does: it lingers, for a while.

To close a TCP socket with input that nobody has read makes the kernel send a reset and throw away
what it still had to send (RFC 1122, 4.2.2.13), and so does input that comes after the close. A
reader that sends as well, an echo's client say, would lose the end of what it was sent. So:

- After an orderly close of ours that the peer hasn't made first, if there is unread input or
  output that the peer hasn't acknowledged, only our writing side is shut down. The session is over
  all the same. A `_Lingerer` keeps the socket, throws input away, and closes at the peer's end of
  stream. Where there is neither, nothing can be lost any more, and the socket is closed at once.
- That is bounded: `LINGER` seconds, or `LONGEST` for a peer that reads, though slowly; `MOST_BYTES`
  of input for each, `MOST_SOCKETS` for all, and where there are too many the first has to go. One
  timer, a coarse one, serves all of a reactor's.
- Closing after all that is no worse than before: what the kernel has it goes on sending by itself,
  unless the peer sends as well.
- Nothing lingers where the peer is to see a reset, nor in a reactor that isn't running. There, as
  for what lingers when the reactor stops, what has come in is thrown away before the close, so
  that the kernel delivers the rest.
"""

# Most of the methods of Twisted that are called here have no annotations; its names are kept.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from fcntl import ioctl
from itertools import islice
from termios import FIONREAD, TIOCOUTQ
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from zope.interface import implementer

# Seconds. Enough for a lost packet or two to be sent again.
LINGER = 3.0
# Seconds, for a peer that has acknowledged more of our output since it was last looked at.
LONGEST = 30.0
# Seconds between two looks at who has lingered long enough.
SWEEP = 1.0
# About three times what the buffers of both kernels hold of a peer that pushes (tcp(7), tcp_wmem
# and tcp_rmem): what it had under way when we closed, and a while to notice.
MOST_BYTES = 32 * 1024 * 1024
# Each costs a descriptor and little else, and descriptors are what newcomers need.
MOST_SOCKETS = 1024
# How many go at once where descriptors have run out: one for a newcomer, and some for what its
# session and others open.
ROOM = 8

_NOTHING = bytes(4)
# Where thrown away input goes. Of TCP, MSG_TRUNC has the kernel throw it away by itself (tcp(7)).
_BIN = bytearray(256 * 1024)


class Lingering:
    """The sockets that linger on one reactor."""

    def __init__(self) -> None:
        self._in_order: dict[_Lingerer, None] = {}  # by deadline
        self._sweep_call: Any = None
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._in_order)

    def finished(self) -> Deferred[None]:
        """Give a Deferred that fires when nothing lingers, after `LONGEST` seconds at most."""
        waits: Deferred[None] = Deferred()
        self._waiting.append(waits)
        self._tell_if_finished()
        return waits

    def make_room(self) -> bool:
        """Close those that have lingered longest without progress, since descriptors have run out.

        Returns:
            False if nothing lingers, and so there is no more room than before.
        """
        oldest = list(islice(self._in_order, ROOM))
        for lingerer in oldest:
            lingerer.close()
        return bool(oldest)

    def _add(self, lingerer: _Lingerer, reactor: Any) -> None:
        if len(self) >= MOST_SOCKETS:
            next(iter(self._in_order)).close()
        self._in_order[lingerer] = None
        if self._sweep_call is None:
            self._sweep_call = reactor.callLater(SWEEP, self._sweep, reactor)

    def _remove(self, lingerer: _Lingerer) -> None:
        del self._in_order[lingerer]
        if not self._in_order and self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None
        self._tell_if_finished()

    def _sweep(self, reactor: Any) -> None:
        self._sweep_call = None
        now = reactor.seconds()
        for lingerer in list(self._in_order):
            if lingerer.deadline > now:
                break
            if lingerer.may_go_on(now):
                del self._in_order[lingerer]
                self._in_order[lingerer] = None
            else:
                lingerer.close()
        if self._in_order:
            self._sweep_call = reactor.callLater(SWEEP, self._sweep, reactor)

    def _tell_if_finished(self) -> None:
        if not self._in_order:
            waiting, self._waiting = self._waiting, []
            for waits in waiting:
                waits.callback(None)


@implementer(IReadDescriptor)
class _Lingerer:
    """One socket that lingers."""

    __slots__ = (
        "__weakref__",
        "_budget",
        "_end",
        "_reactor",
        "_released",
        "_socket",
        "_unacknowledged",
        "deadline",
    )

    def __init__(self, sock: socket.socket, reactor: Any, released: Callable[[], object]) -> None:
        self._socket: socket.socket | None = sock
        self._reactor = reactor
        self._released = released
        self._budget = MOST_BYTES
        self._unacknowledged = _unacknowledged(sock)
        now: float = reactor.seconds()
        self._end = now + LONGEST
        self.deadline = now + LINGER
        lingering_on(reactor)._add(self, reactor)
        reactor.addReader(self)

    def fileno(self) -> int:
        """The descriptor, for the reactor; -1 once it is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """What it is called in logs."""
        return "lingering"

    def doRead(self) -> BaseException | None:  # type: ignore[override]
        """Throw away what has come; gives what to end with, or None."""
        sock = self._socket
        if sock is None:
            return None
        try:
            size = _discard(sock)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_DONE
        self._budget -= size
        return None if size and self._budget > 0 else CONNECTION_DONE

    def may_go_on(self, now: float) -> bool:
        """Whether the peer has taken more of our output, and so has a new deadline."""
        before = self._unacknowledged
        if self._socket is None or now >= self._end:
            return False
        self._unacknowledged = _unacknowledged(self._socket)
        self.deadline = now + LINGER
        return 0 < self._unacknowledged < before

    def connectionLost(self, reason: Failure) -> None:
        """The peer has ended its stream, or the reactor stops."""
        if self._socket is not None and not isinstance(reason.value, ConnectionDone):
            _discard_all(self._socket)
        self.close()

    def close(self) -> None:
        """Let the socket go; once."""
        sock = self._socket
        if sock is None:
            return
        self._reactor.removeReader(self)
        self._socket = None
        sock.close()
        lingering_on(self._reactor)._remove(self)
        self._released()


# No value may hold its key, or it would live for ever: a `Lingering` knows its reactor only while
# something lingers.
_of_reactors: WeakKeyDictionary[Any, Lingering] = WeakKeyDictionary()


def lingering_on(reactor: Any) -> Lingering:
    """The sockets that linger on a reactor."""
    found = _of_reactors.get(reactor)
    if found is None:
        found = _of_reactors[reactor] = Lingering()
    return found


def lingers(
    sock: socket.socket, reactor: Any, released: Callable[[], object], *, done: bool
) -> bool:
    """Have a socket linger if its peer would lose something by its being closed now.

    Args:
        sock: the socket, open and non-blocking; the reactor doesn't watch it any more.
        reactor: the reactor that it was served by.
        released: called when the descriptor is closed at last, if it lingers.
        done: whether the kernel has all that was to be sent, our close_notify included; if not,
            there is nothing to linger for.

    Returns:
        True if it was taken over, and `sock` is used up; False if it is to be closed now.
    """
    if not getattr(reactor, "running", True):
        _discard_all(sock)
        return False
    if not done or not _has_something_to_lose(sock):
        return False
    try:
        # The plain socket's own, since a TLS socket has its own idea of this.
        socket.socket.shutdown(sock, socket.SHUT_WR)
    except OSError:
        return False  # the peer is gone
    kind = (sock.family, sock.type, sock.proto)
    _Lingerer(socket.socket(*kind, fileno=sock.detach()), reactor, released)
    return True


def _has_something_to_lose(sock: socket.socket) -> bool:
    try:
        return ioctl(sock.fileno(), FIONREAD, _NOTHING) != _NOTHING or _unacknowledged(sock) > 0
    except OSError:
        return False


def _unacknowledged(sock: socket.socket) -> int:
    """How many bytes of ours the kernel may still have to send; the end of the stream is one."""
    if sock.family == socket.AF_UNIX:
        return 0  # what is sent there is with the peer at once, and stays
    return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, _NOTHING), sys.byteorder)


def _discard(sock: socket.socket) -> int:
    return socket.socket.recv_into(sock, _BIN, 0, socket.MSG_TRUNC)


def _discard_all(sock: socket.socket) -> None:
    """Throw away what has come in, as far as a peer that pushes doesn't make it endless."""
    budget = MOST_BYTES
    try:
        while budget > 0 and (size := _discard(sock)):
            budget -= size
    except OSError:
        pass  # there is no more, or it is broken
