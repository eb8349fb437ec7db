"""The lean epoll reactor: Twisted's own, with less between the kernel and a transport.

`twistd --reactor=tcpd`, or `install()`. What differs from `twisted.internet.epollreactor`:

- A plain readable event on one of tcpd's transports goes straight to its `doRead`.
- The log context that says which connection a record belongs to is made when somebody logs, not
  for every event.
- Timed calls are looked at when one is due, not in every turn.
- The clock is monotonic (clock_gettime(2)): setting the wall clock back stops no timer.
- `now` is the time at which this turn's events came in, and `flush_later` gathers what is written
  outside a callback of its connection, until just before the loop sleeps.
- Its ports and connections are tcpd's own.
"""

# Most of the methods of Twisted that are called here have no annotations; its names are kept.
# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN, EPOLLOUT
from time import monotonic
from typing import Any

from twisted.internet import epollreactor
from twisted.internet.base import _topHandler
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST, installReactor
from twisted.python import context, log
from twisted.python.failure import Failure

from tcpd.net.hot_path import LEAN_KINDS
from tcpd.net.loop import Flushable
from tcpd.net.network import StreamReactor

# Events taken in one turn; the rest stay in the kernel's list. A turn must not keep timers waiting.
MAX_EVENTS = 1024


_EITHER = EPOLLIN | EPOLLOUT

_DONE = Failure(CONNECTION_DONE)
_KNOWN = {ConnectionDone: _DONE, ConnectionLost: Failure(CONNECTION_LOST)}


class _LazyLogContext(dict[str, Any]):
    """The log context of whatever is being served, as `log.callWithLogger` would have made it."""

    __slots__ = ("serving",)

    def __init__(self) -> None:
        super().__init__(context.defaultContextDict[log.ILogContext])  # an empty one counts as none
        self.serving: Any = None

    def made(self) -> dict[str, Any]:
        """The context, now that somebody wants it."""
        fields: dict[str, Any] = dict(context.defaultContextDict[log.ILogContext])
        if self.serving is not None:
            try:
                fields["system"] = self.serving.logPrefix()
            except Exception:
                fields["system"] = "(buggy logPrefix method)"
        return fields

    def copy(self) -> dict[str, Any]:
        return self.made()

    def __getitem__(self, key: str) -> Any:
        return self.made()[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.made().get(key, default)


class EPollReactor(StreamReactor, epollreactor.EPollReactor):
    """Twisted's epoll reactor with tcpd's poll loop, clock, ports and transports.

    It bears the name of its parent, since that is a name by which Twisted's own test suites know
    what epoll does otherwise than poll and select.

    Attributes:
        now: when this turn's events came in, in seconds on the clock of `seconds`.
        flush_later: takes a transport whose gathered writes are to be sent before the loop sleeps.
    """

    seconds = staticmethod(monotonic)

    def __init__(self) -> None:
        self.now = monotonic()
        self._unflushed: list[Flushable] = []
        self.flush_later: Callable[[Flushable], object] = self._unflushed.append
        self.tcpd_loop = self
        self._log_context = _LazyLogContext()
        # Descriptors whose watching began in this turn: what the kernel listed before, it listed of
        # another connection that had the same number.
        self._fresh: set[int] = set()
        super().__init__()

    def mainLoop(self) -> None:
        """Serve until the reactor stops."""
        while self._started:
            with _topHandler:  # what gets through here is logged, and the loop goes on
                while self._started:
                    if self._has_calls():
                        self.runUntilCurrent()
                    if self._pendingTimedCalls or self._newTimedCalls:
                        wait = self.timeout()
                    else:
                        wait = None
                    self.doPoll(wait if self.running else 0)

    def _has_calls(self) -> bool:
        """Whether runUntilCurrent has anything to run."""
        return bool(
            self.threadCallQueue
            or self._newTimedCalls
            or self._justStopped
            or (self._pendingTimedCalls and self._pendingTimedCalls[0].time <= monotonic())
        )

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events for so many seconds, or for ever, and serve them."""
        if self._unflushed:
            self._flush_all()
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, MAX_EVENTS)
        except InterruptedError:
            return
        self.now = monotonic()
        if not events:
            return
        fresh = self._fresh
        fresh.clear()
        lazy = self._log_context
        contexts = context.theContextTracker.currentContext().contexts
        depth = len(contexts)
        contexts.append({log.ILogContext: lazy})
        find: Callable[[int], Any] = self._selectables.get
        lean = LEAN_KINDS
        others = []
        try:
            # What is readable and nothing else comes first, the ends and the newcomers after: the
            # same code many times in a row takes a twentieth less than all kinds in turn.
            for listed in events:
                descriptor, event = listed
                selectable = find(descriptor)  # None if gone since the kernel listed it
                if event != EPOLLIN or type(selectable) not in lean:
                    others.append(listed)
                    continue
                lazy.serving = selectable
                try:
                    why = selectable.doRead()
                    if why is not None:
                        self._disconnectSelectable(selectable, why, True)
                except BaseException:
                    log.err()
            for descriptor, event in others:
                selectable = find(descriptor)
                if selectable is None:
                    continue
                lazy.serving = selectable
                try:
                    kind: type = selectable.__class__
                    if event & _EITHER == EPOLLIN and kind in lean:
                        # At its end, perhaps, which reading tells. A fresh one has nothing to read.
                        why = selectable.doRead()
                        if why is not None:
                            self._disconnectSelectable(selectable, why, True)
                    elif descriptor not in fresh:
                        self._doReadOrWrite(selectable, descriptor, event)
                except BaseException:
                    log.err()
        finally:
            lazy.serving = None
            del contexts[depth:]

    doIteration = doPoll  # noqa: N815

    def addReader(self, reader: Any) -> None:
        """Watch for what can be read; a connection of ours that is new, by the shortest way."""
        descriptor = reader.fileno()
        if descriptor in self._selectables or reader.__class__ not in LEAN_KINDS:
            super().addReader(reader)
            return
        self._poller.register(descriptor, EPOLLIN)
        self._reads.add(descriptor)
        self._selectables[descriptor] = reader
        self._fresh.add(descriptor)

    def forget(self, transport: Any) -> None:
        """Watch a connection of ours no more, neither for reading nor for writing."""
        descriptor = transport.fileno()
        if descriptor < 0 or descriptor in self._writes:
            self.removeReader(transport)
            self.removeWriter(transport)
        elif descriptor in self._reads:
            self._poller.unregister(descriptor)
            self._reads.remove(descriptor)
            del self._selectables[descriptor]

    def _add(  # noqa: PLR0917
        self, xer: Any, primary: Any, other: Any, selectables: Any, event: int, antievent: int
    ) -> None:
        """Watch a descriptor, or watch it for more."""
        descriptor = xer.fileno()
        if descriptor not in selectables:
            self._fresh.add(descriptor)
        super()._add(xer, primary, other, selectables, event, antievent)

    def _disconnectSelectable(
        self, selectable: Any, why: Any, isRead: bool, *defaults: Any
    ) -> None:
        """End a selectable for a reason; ours sign off from the reactor themselves."""
        kind: type = selectable.__class__
        if kind not in LEAN_KINDS:
            super()._disconnectSelectable(selectable, why, isRead, *defaults)
        elif why.__class__ is ConnectionDone and isRead:
            self.removeReader(selectable)
            selectable.readConnectionLost(_DONE)
        else:
            selectable.connectionLost(_KNOWN.get(why.__class__) or Failure(why))

    def _flush_all(self) -> None:
        unflushed = self._unflushed
        # A flush may end in a producer that writes to another connection, which appends here.
        while unflushed:
            batch = unflushed[:]
            unflushed.clear()
            for transport in batch:
                transport.flush()


def install() -> EPollReactor:
    """Make the lean reactor the process's reactor, and give it.

    Raises:
        twisted.internet.error.ReactorAlreadyInstalledError: there is one already.
    """
    reactor = EPollReactor()
    installReactor(reactor)
    return reactor
