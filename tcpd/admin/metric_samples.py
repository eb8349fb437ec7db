"""What metrics are read from: the numbers of a census, and the daemon itself.

Each of these gives the samples of one metric: the values of its labels, and what it is for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from tcpd import __version__
from tcpd.admin.census import Arrivals, Buckets, Census, Figures
from tcpd.admin.house import House
from tcpd.admin.process import ProcessFigures
from tcpd.admission.refusals import BY_THE_GATE
from tcpd.capture.captures import CaptureTotals
from tcpd.sinks.hub import SinkTotals

Labels = tuple[str, ...]
Sample = tuple[Labels, float | Buckets]
"""What a metric is for certain values of its labels."""
Read = Callable[[House, Census], Iterable[Sample]]

DEADLINES = frozenset(
    (
        *("handshake-timeout", "header-timeout"),
        *("idle", "write-stall", "lifetime", "drain-timeout"),
    )
)
"""The reasons, of ends and of refusals, that are deadlines which fired."""

ACCEPT_FAILURES = ("failed", "starved")
"""The kinds of errors of accept(2)."""


def of_sessions(read: Callable[[Figures], float | Buckets]) -> Read:
    """Return what gives a number of the sessions of each listener and handler."""

    def samples(house: House, census: Census) -> Iterator[Sample]:
        for key, figures in census.figures.items():
            yield key, read(figures)

    return samples


def of_arrivals(read: Callable[[Arrivals], float]) -> Read:
    """Return what gives a number of each listener and connector."""

    def samples(house: House, census: Census) -> Iterator[Sample]:
        for name, arrivals in census.arrivals.items():
            yield (name,), read(arrivals)

    return samples


def of_connectors(read: Callable[[Arrivals], float]) -> Read:
    """Return what gives a number of each connector."""

    def samples(house: House, census: Census) -> Iterator[Sample]:
        for name, arrivals in census.arrivals.items():
            if name in house.connectors:
                yield (name,), read(arrivals)

    return samples


def one(read: Callable[[House], float | Buckets]) -> Read:
    """Return what gives a single number."""

    def samples(house: House, census: Census) -> Iterator[Sample]:
        yield (), read(house)

    return samples


def of_process(read: Callable[[ProcessFigures], float]) -> Read:
    """Return what gives a figure of the process."""

    def samples(house: House, census: Census) -> Iterator[Sample]:
        yield (), read(census.process)

    return samples


def closed(house: House, census: Census) -> Iterator[Sample]:
    """Give the sessions that have ended, by reason."""
    for key, figures in census.figures.items():
        for reason, count in figures.ended.items():
            yield (*key, reason), count


def refused(house: House, census: Census) -> Iterator[Sample]:
    """Give the connections that didn't become sessions, by reason."""
    for name, arrivals in census.arrivals.items():
        # Those of the gate are there from the start, so that the first one is seen as a rise.
        counts = dict.fromkeys(sorted(BY_THE_GATE), 0) if name not in house.connectors else {}
        for reason, count in {**counts, **arrivals.refused}.items():
            yield (name, reason), count


def accept_failures(house: House, census: Census) -> Iterator[Sample]:
    """Give the errors of accept(2), by kind; both are there from the start, as refusals are."""
    for name, arrivals in census.arrivals.items():
        counts = dict.fromkeys(ACCEPT_FAILURES, 0) if name not in house.connectors else {}
        for reason, count in {**counts, **arrivals.accept_failures}.items():
            yield (name, reason), count


def deadlines(house: House, census: Census) -> Iterator[Sample]:
    """Give the deadlines that fired: of sessions, and of what was to become one.

    Those of listeners are there from the start, so that the first that fires is seen as a rise.
    """
    fired: dict[Labels, int] = {
        (name, reason): 0
        for name in census.arrivals
        if name not in house.connectors
        for reason in sorted(DEADLINES)
    }

    def add(name: str, counts: Mapping[str, int]) -> None:
        for reason in DEADLINES & counts.keys():
            fired[name, reason] = fired.get((name, reason), 0) + counts[reason]

    for (name, _), figures in census.figures.items():
        add(name, figures.ended)
    for name, arrivals in census.arrivals.items():
        add(name, arrivals.refused)
    yield from fired.items()


def limits(house: House, census: Census) -> Iterator[Sample]:
    """Give the limits of listeners that have one."""
    for name, listener in house.listeners.items():
        gate = listener.serving.gate
        if gate is not None and gate.limits.sessions != "off":
            yield (name,), gate.limits.sessions


def listeners_up(house: House, census: Census) -> Iterator[Sample]:
    """Give whether each listener accepts connections, at all of its addresses."""
    for name, listener in house.listeners.items():
        open_ = all(door.port is not None and door.is_open for door in listener.doors)
        yield (name,), open_ and not listener.suspended


def arriving(house: House, census: Census) -> Iterator[Sample]:
    """Give the connections that wait for their sessions."""
    for name, listener in house.listeners.items():
        yield (name,), len(listener.serving.arrivals)


def connectors_up(house: House, census: Census) -> Iterator[Sample]:
    """Give whether each connector is connected."""
    for name, connector in house.connectors.items():
        yield (name,), connector.state == "connected"


def of_sinks(read: Callable[[SinkTotals], float]) -> Read:
    """Return what gives a number of each sink."""

    def samples(house: House, census: Census) -> Iterator[Sample]:
        for name, totals in house.sinks.totals().items():
            yield (name,), read(totals)

    return samples


def queued(house: House, census: Census) -> Iterator[Sample]:
    """Give how many records wait for each sink."""
    waiting: dict[Labels, float] = {}
    for each in house.sinks.status():
        key = (each.name,)
        waiting[key] = waiting.get(key, 0) + each.queued
    yield from waiting.items()


def failing(house: House, census: Census) -> Iterator[Sample]:
    """Give whether each sink fails, or is stuck."""
    troubled: dict[Labels, float] = {}
    for each in house.sinks.status():
        key = (each.name,)
        troubled[key] = max(troubled.get(key, 0), each.state in ("failing", "stuck"))
    yield from troubled.items()


def of_captures(read: Callable[[CaptureTotals], float]) -> Read:
    """Return what gives a number of the captures of each listener that has had any."""

    def samples(house: House, census: Census) -> Iterator[Sample]:
        for name, totals in house.captures.totals().items():
            yield (name,), read(totals)

    return samples


def build(house: House, census: Census) -> Iterator[Sample]:
    """Give the version."""
    yield (__version__,), 1
