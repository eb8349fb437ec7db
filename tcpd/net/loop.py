"""What a transport asks of the loop it runs in: the time of this turn, and a flush at its end.

The tcpd reactor answers both without a call into the kernel. Any other reactor is asked for the
time when it is needed, and gathers writes as Twisted does: by waiting until the socket is writable.
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary


class Flushable(Protocol):
    """What a loop may be asked to flush at the end of its turn."""

    def flush(self) -> None:
        """Send what was gathered; never raises for the socket's sake."""

    def startWriting(self) -> None:
        """Ask the reactor to say when the socket is writable."""


class Loop(Protocol):
    """The loop's own clock and its end of turn."""

    @property
    def now(self) -> float:
        """Seconds, on the clock of the reactor's `seconds`."""

    def flush_later(self, transport: Flushable, /) -> object:
        """Have the transport's gathered writes sent before the loop sleeps."""

    def forget(self, transport: Flushable, /) -> None:
        """Watch a transport no more, neither for reading nor for writing."""


class ForeignLoop:
    """A reactor that is not tcpd's, seen as a `Loop`."""

    __slots__ = ("__weakref__", "_reactor")

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    @property
    def now(self) -> float:
        """Seconds, from the reactor."""
        seconds: float = self._reactor.seconds()
        return seconds

    def flush_later(self, transport: Flushable, /) -> None:
        """Gather as Twisted does: `doWrite` sends everything when the socket is writable."""
        transport.startWriting()

    def forget(self, transport: Any, /) -> None:
        """Watch a transport no more."""
        self._reactor.removeReader(transport)
        self._reactor.removeWriter(transport)


_foreign: WeakKeyDictionary[Any, ForeignLoop] = WeakKeyDictionary()


def loop_of(reactor: Any) -> Loop:
    """The loop of a reactor: the one it names as `tcpd_loop`, else a `ForeignLoop` round it."""
    own: Loop | None = getattr(reactor, "tcpd_loop", None)
    if own is not None:
        return own
    loop = _foreign.get(reactor)
    if loop is None:
        loop = _foreign[reactor] = ForeignLoop(reactor)
    return loop
