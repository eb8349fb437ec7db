"""The end of all sessions: politely while there is time, then by force.

Rules:
- Connections that wait for a session (a TLS handshake, a PROXY header) end at once.
- What peers have said before is still read, and answered by a handler that answers at once.
- A handler that is `IDrainable` is asked to finish, and closes when it has. Any other session is
  closed as `loseConnection` does it: what is queued reaches its reader first.
- What is open at the deadline is aborted. There is an end to it whatever handlers do.
- A session ends because of the stop (`shutdown`), is cut at the deadline (`drain-timeout`), or ends
  for a reason of its own, as at any other time. Who is cut since somebody wanted it to be quick has
  missed no deadline: that is the stop's doing, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpd.events import Bus, SessionClosed
from tcpd.interfaces import IDrainable
from tcpd.session import Session
from tcpd.units import format_duration

# Seconds between two reports of progress.
TICK = 1.0
# Seconds that a polite close may take when there is no time: enough for what needs nothing from
# the peer, a close_notify and an end of stream.
QUICK = 0.5
# Seconds until what was aborted has ended. It takes no more than a turn of the loop.
LAST = 1.0


class Drained(Protocol):
    """Whose connections are ended: a listener's or a connector's `Serving`."""

    @property
    def arrivals(self) -> Collection[Any]:
        """The transports that wait for their session."""

    def lots(self) -> Iterable[tuple[Any, Collection[Session]]]:
        """Give the open sessions, in lots; of each, this uses the sessions only."""


class Drain:
    """Ends all sessions, once.

    Args:
        clock: the reactor's clock.
        bus: where the sessions' ends are reported.
        servings: whose sessions they are.
        limit: seconds until what is still open is cut; with 0 nobody is asked to finish.
        report: called with the number of sessions that are left and the seconds, now and then.

    Attributes:
        over: fires with None when no session is left, or all was done to end them.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        bus: Bus,
        servings: Sequence[Drained],
        limit: float,
        report: Callable[[int, float], object],
    ) -> None:
        self._clock = clock
        self._bus = bus
        self._servings = servings
        self._limit = limit
        self._report = report
        self._hurried = False
        self._ended = False
        self._end_call: Any = None
        self._cut_call: Any = None
        self._tick_call: Any = None
        self._unsubscribe: Callable[[], None] | None = None
        self.over: Deferred[None] = Deferred()

    def start(self) -> None:
        """Begin; sessions that need no time end in the next turn of the loop."""
        self._unsubscribe = self._bus.subscribe(SessionClosed, self._one_less)
        for serving in self._servings:
            for transport in tuple(serving.arrivals):
                transport.abort_because("shutdown")
        count = self.left
        if self._limit <= 0:
            self.hurry()
        elif count:
            self.log.info(
                "stops: {sessions} open, with {limit} to finish",
                sessions=_counted(count),
                limit=format_duration(self._limit),
            )
            self._cut_call = self._clock.callLater(self._limit, self._cut)
            # In the turns between, what peers have said already is read.
            self._tick_call = self._clock.callLater(0, self._soon)
        self._end_if_empty()

    def hurry(self) -> None:
        """Leave no time: close what can be closed now, and cut the rest."""
        if self._hurried or self._ended:
            return
        self._hurried = True
        if count := self.left:
            self.log.info("stops at once: {sessions} open", sessions=_counted(count))
        for session in tuple(self._sessions()):
            self._safely(session, self._close)
        self._cancel("_cut_call")
        self._cancel("_tick_call")
        self._cut_call = self._clock.callLater(QUICK, self._cut)

    @property
    def left(self) -> int:
        """How many sessions are open."""
        return sum(len(sessions) for each in self._servings for _, sessions in each.lots())

    def _sessions(self) -> Iterator[Session]:
        for serving in self._servings:
            for _, sessions in tuple(serving.lots()):
                yield from tuple(sessions)

    # -- politely ----------------------------------------------------------------------------

    def _soon(self) -> None:
        self._tick_call = self._clock.callLater(0, self._tick)

    def _tick(self) -> None:
        # Those that began since are asked here, too: a connection may have been about to open.
        for session in tuple(self._sessions()):
            if not session.stopping:
                self._safely(session, self._finish)
        assert self._cut_call is not None  # noqa: S101  (for the checker: it was made before)
        self._report(self.left, max(0.0, self._cut_call.getTime() - self._clock.seconds()))
        self._tick_call = self._clock.callLater(TICK, self._tick)

    def _safely(self, session: Session, step: Callable[[Session], None]) -> None:
        """End a session; what goes wrong with one must not keep the others."""
        if session.close_reason:
            return  # over, since another one ended
        try:
            step(session)
        except Exception:
            self.log.failure("session {session} can't be closed", session=str(session))

    def _finish(self, session: Session) -> None:
        transport: Any = session.transport
        if getattr(transport, "disconnecting", False):
            return  # its handler was first
        drainable = _drainable(getattr(transport, "protocol", None))
        if drainable is None:
            self._close(session)
        else:
            session.stopping = True
            transport.perform(drainable.drain)

    def _close(self, session: Session) -> None:
        transport: Any = session.transport
        if not getattr(transport, "disconnecting", False):
            session.stopping = True
            transport.loseConnection()

    # -- by force ----------------------------------------------------------------------------

    def _cut(self) -> None:
        self._cut_call = None
        self._cancel("_tick_call")
        if (count := self.left) and not self._hurried:
            self.log.warn(
                "{sessions} could not finish in {limit} and {are} cut",
                sessions=_counted(count),
                limit=format_duration(self._limit),
                are="is" if count == 1 else "are",
            )
        for session in tuple(self._sessions()):
            self._safely(session, self._abort)
        if not self._ended and self._end_call is None:
            self._end_call = self._clock.callLater(LAST, self._end)

    def _abort(self, session: Session) -> None:
        transport: Any = session.transport
        transport.abort_because("shutdown" if self._hurried else "drain-timeout")

    # -- the end -----------------------------------------------------------------------------

    def _one_less(self, event: SessionClosed) -> None:
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        # In a turn of its own: whoever else cares for the session's end hears of it first.
        if not self.left and not self._ended:
            self._cancel("_end_call")
            self._end_call = self._clock.callLater(0, self._end)

    def _end(self) -> None:
        self._end_call = None
        self._ended = True
        self._cancel("_cut_call")
        self._cancel("_tick_call")
        if self._unsubscribe is not None:
            self._unsubscribe()
        if count := self.left:
            self.log.error("{sessions} can't be ended", sessions=_counted(count))
        self.over.callback(None)

    def _cancel(self, name: str) -> None:
        call = getattr(self, name)
        setattr(self, name, None)
        if call is not None and call.active():
            call.cancel()


def _drainable(protocol: Any) -> Any:
    """Return the handler that wants to be asked, if there is one, also behind Twisted's wrappers.

    After `startTLS`, for one, the transport's protocol is Twisted's own.
    """
    while protocol is not None:
        drainable = IDrainable(protocol, None)
        if drainable is not None:
            return drainable
        protocol = getattr(protocol, "wrappedProtocol", None)
    return None


def _counted(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
