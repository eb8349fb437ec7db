"""One coarse sweep over everything that is open ends what is past a deadline.

Rules:
- No session has a timer of its own. A sweep comes every `SWEEP` seconds and reads what transports
  note anyhow: when bytes last came and went, and what is queued.
- What a polite close can finish is closed politely, and aborted if that takes too long. A peer that
  doesn't take its bytes, or never finished saying hello, is aborted.
- A large house is swept room by room: `SLICE` sessions, then it is the others' turn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from math import inf
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from tcpd.admission.deadlines import AnyDeadlines, Off
from tcpd.units import Seconds

# Seconds between sweeps: deadlines are kept to within a second, and 10,000 sessions cost less
# than a hundredth of a core.
SWEEP = 0.5
# Sessions looked at in one go, in a fraction of a millisecond.
SLICE = 200
# Seconds that a polite close may take before it becomes an abort.
GRACE = 5.0
# A sweep that comes later than this found the process standing still, stopped or suspended. What
# peers have sent meanwhile has not been read yet, and must not be held against them.
STOOD_STILL = 2.0


class Watched(Protocol):
    """Whose connections are swept: a listener's or a connector's `Serving`."""

    @property
    def deadlines(self) -> AnyDeadlines | None:
        """The deadlines of connections that come now; None for none at all."""

    @property
    def arrivals(self) -> Collection[Any]:
        """The transports that wait for their session; their `stage` says for what."""

    def lots(self) -> Iterable[tuple[AnyDeadlines | None, Collection[Any]]]:
        """Give the open sessions, each lot with the deadlines that it began with."""


class Sweep:
    """Ends what is past a deadline, everywhere.

    Args:
        clock: the reactor's clock, which has to be monotonic.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: list[Watched] = []
        self._call: Any = None
        self._expected = 0.0
        self._round: Iterator[None] | None = None
        # Of those with something queued: how much had gone out, and since when no more has.
        self._stalled: dict[Any, tuple[int, float]] = {}
        # Of those that were asked to close: when.
        self._closing: dict[Any, float] = {}

    def watch(self, watched: Watched) -> None:
        """Sweep these connections from now on."""
        self._watched.append(watched)

    def forget(self, watched: Watched) -> None:
        """Sweep these no more."""
        self._watched.remove(watched)

    def start(self) -> None:
        """Begin to sweep."""
        if self._call is None:
            self._again(SWEEP)

    def stop(self) -> None:
        """Sweep no more."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        self._round = None

    def _again(self, delay: float) -> None:
        self._expected = self._clock.seconds() + delay
        self._call = self._clock.callLater(delay, self._run)

    def _run(self) -> None:
        if self._clock.seconds() - self._expected > STOOD_STILL:
            self._round = None
            self._again(SWEEP)
            return
        if self._round is None:
            self._round = self._sweep()
        try:
            next(self._round)
        except StopIteration:
            self._round = None
            self._again(SWEEP)
        else:
            self._again(0)

    def _sweep(self) -> Iterator[None]:
        """Sweep once; each `yield` is the others' turn."""
        stalled: dict[Any, tuple[int, float]] = {}
        closing: dict[Any, float] = {}
        for watched in tuple(self._watched):
            if watched.arrivals and watched.deadlines is not None:
                self._end_late_arrivals(watched.arrivals, watched.deadlines)
            for deadlines, sessions in tuple(watched.lots()):
                if deadlines is None:
                    continue
                left = iter(tuple(sessions))
                while lot := tuple(islice(left, SLICE)):
                    self._look_at(lot, deadlines, stalled, closing)
                    yield
        self._stalled, self._closing = stalled, closing

    def _end_late_arrivals(self, arrivals: Collection[Any], deadlines: AnyDeadlines) -> None:
        now = self._clock.seconds()
        for transport in tuple(arrivals):
            stage = transport.stage
            if now - transport.stage_since > _seconds(getattr(deadlines, stage, "off")):
                transport.abort_because(f"{stage}-timeout")

    def _look_at(
        self,
        lot: Iterable[Any],
        deadlines: AnyDeadlines,
        stalled: dict[Any, tuple[int, float]],
        closing: dict[Any, float],
    ) -> None:
        """End those of a lot that are late; the order of the questions is that of their cost."""
        now = self._clock.seconds()
        silent_since = now - _seconds(deadlines.idle)
        born = now - _seconds(deadlines.lifetime)
        stalled_since = now - _seconds(deadlines.write_stall)
        for session in lot:
            transport = session.transport
            if transport.queued:
                since = self._stalled_since(session, transport, now)
                stalled[session] = (transport.bytes_out, since)
                if since < stalled_since:
                    transport.abort_because("write-stall")
                    continue
            cause = ""
            if transport.last_read < silent_since and transport.last_write < silent_since:
                cause = "idle"
            elif session.opened < born:
                cause = "lifetime"
            if cause and not session.close_reason:
                asked = closing[session] = self._closing.get(session, now)
                if asked == now:
                    transport.close_because(cause)
                elif now - asked > GRACE:
                    transport.abort_because(cause)

    def _stalled_since(self, session: Any, transport: Any, now: float) -> float:
        sent, since = self._stalled.get(session, (-1, now))
        return since if sent == transport.bytes_out else max(transport.last_write, now - SWEEP)


def _seconds(limit: Seconds | Off) -> float:
    return inf if limit == "off" else float(limit)
