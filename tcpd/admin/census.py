"""All numbers of all listeners and connectors at one moment: what has ended, and what is open.

Rules:
- What has ended and which sessions are open is noted in one go. Their bytes are read after that, in
  turns; a session that ends meanwhile still has its numbers. So no number is ever lower than in the
  census before, and none is counted twice.
- Numbers go by (listener, handler); a connector counts as a listener.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tcpd.admin.house import House
from tcpd.admin.process import ProcessFigures, process_figures
from tcpd.admin.turns import Turns
from tcpd.session import Session
from tcpd.tally import Counts, Histogram, Tally

Key = tuple[str, str]
"""The name of a listener or connector, and of its handler."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram at one moment."""

    bounds: Sequence[float]
    counts: tuple[int, ...]
    sum: float

    @classmethod
    def of(cls, histogram: Histogram) -> Buckets:
        """Return a histogram as it is now."""
        return cls(histogram.bounds, tuple(histogram.counts), histogram.sum)


@dataclass(slots=True)
class Figures:
    """What the sessions of one handler of one listener come to, the open ones included.

    Attributes:
        open: how many are open.
        ended: how many have ended, by the reason.
        durations: of those that have ended, in seconds.
        received: what the peers of those have sent, in bytes.
        sent: what was sent to them, in bytes.
        bytes_in: what all peers have sent.
        bytes_out: what was sent to all of them.
        pauses: how often reading had to wait for a peer that didn't read.
        failures: how often the handler raised.
    """

    open: int
    ended: dict[str, int]
    durations: Buckets
    received: Buckets
    sent: Buckets
    bytes_in: int
    bytes_out: int
    pauses: int
    failures: int

    @property
    def total(self) -> int:
        """How many sessions there were, the open ones included."""
        return self.open + sum(self.ended.values())


@dataclass(slots=True)
class Arrivals:
    """What came to one listener before there was a session, or went out from one connector.

    See `tcpd.tally.Counts`, of which this is a copy.
    """

    refused: dict[str, int] = field(default_factory=dict)
    accept_failures: dict[str, int] = field(default_factory=dict)
    handshakes: int = 0
    handshake_failures: int = 0
    tries: int = 0
    failed_tries: int = 0


@dataclass(slots=True)
class Census:
    """The result.

    Attributes:
        figures: of sessions.
        arrivals: of what isn't one yet, by listener.
    """

    figures: dict[Key, Figures]
    arrivals: dict[str, Arrivals]
    _process: ProcessFigures | None = None

    @property
    def process(self) -> ProcessFigures:
        """The process's own figures, looked at once: before Linux 6.2 descriptors are listed."""
        if self._process is None:
            self._process = process_figures()
        return self._process

    def of(self, listener: str) -> list[Figures]:
        """Return the figures of one listener or connector, by its handlers."""
        return [each for (name, _), each in self.figures.items() if name == listener]


async def take_census(
    house: House, turns: Turns, look: Callable[[Sequence[Session]], object] | None = None
) -> Census:
    """Return all numbers as they are when this is called.

    Args:
        house: whose.
        turns: gives others their turn.
        look: called with the open sessions, lot by lot, when their bytes are read.
    """
    open_now: dict[Key, list[Session]] = {}
    for serving in house.servings():
        for origin in serving.origins():
            open_now.setdefault((origin.name, origin.handler), []).extend(origin.sessions.values())
    figures: dict[Key, Figures] = {}
    arrivals: dict[str, Arrivals] = {}
    for name, counts in house.tallies.items():
        for handler, tally in counts.tallies.items():
            sessions = open_now.get((name, handler))
            # That of a configuration that was refused has never been used.
            if sessions is not None or tally.ended or tally.failures:
                figures[name, handler] = _figures(tally, len(sessions or ()))
        if any(key[0] == name for key in figures):
            arrivals[name] = _arrivals(counts)
    for key, sessions in open_now.items():
        if key in figures:
            await _add_live(figures[key], sessions, turns, look)
    return Census(figures, arrivals)


def _figures(tally: Tally, count: int) -> Figures:
    return Figures(
        open=count,
        ended=dict(tally.ended),
        durations=Buckets.of(tally.durations),
        received=Buckets.of(tally.received),
        sent=Buckets.of(tally.sent),
        bytes_in=int(tally.received.sum),
        bytes_out=int(tally.sent.sum),
        pauses=tally.pauses,
        failures=tally.failures,
    )


def _arrivals(counts: Counts) -> Arrivals:
    return Arrivals(
        refused=dict(counts.refused),
        accept_failures=dict(counts.accept_failures),
        handshakes=counts.handshakes,
        handshake_failures=counts.handshake_failures,
        tries=counts.tries,
        failed_tries=counts.failed_tries,
    )


async def _add_live(
    figures: Figures,
    sessions: list[Session],
    turns: Turns,
    look: Callable[[Sequence[Session]], object] | None,
) -> None:
    """Add what open sessions have moved so far."""
    async for lot in turns.lots(sessions):
        came = went = pauses = 0
        for session in lot:
            transport: Any = session.transport
            came += transport.bytes_in
            went += transport.bytes_out
            pauses += getattr(transport, "pauses", 0)
        if look is not None:
            look(lot)
        figures.bytes_in += came
        figures.bytes_out += went
        figures.pauses += pauses
