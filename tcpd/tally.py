"""What has come and gone, in numbers: one `Tally` for each handler of a listener or connector.

Rules:
- A session is counted once, when it ends. What moves while it lasts is counted by its transport,
  and who wants to know reads it there.
- The numbers belong to names. They survive a reload, and also that a listener goes and comes again:
  they never go backwards while the process lasts.
- What can be told apart is bounded: by the names in configurations, and by our own reasons.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Protocol

DURATIONS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 86400.0)
"""The upper bounds of the buckets for sessions' durations, in seconds: up to a day."""
SIZES = (64, 1024, 16 * 1024, 256 * 1024, 4 << 20, 64 << 20, 1 << 30)
"""The upper bounds of the buckets for what sessions moved, in bytes: up to a gibibyte."""
# tcpd has about twenty reasons. A handler may abort for any that it likes; so many are told apart.
MOST_REASONS = 48
OTHER = "other"


class Ended(Protocol):
    """A transport whose session has ended."""

    bytes_in: int
    bytes_out: int


class Histogram:
    """How many values there were of which size.

    Args:
        bounds: the upper bound of each bucket, from the lowest; what is higher goes into one more.

    Attributes:
        counts: how many values there were in each bucket, and in the one without bound.
        sum: what they make together.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Tally:
    """What the sessions of one handler of one listener or connector have come to.

    Args:
        counts: those of the listener or connector as a whole.

    Attributes:
        ended: how many have ended, by the reason.
        durations: how long they lasted, in seconds.
        received: how many bytes each of their peers has sent.
        sent: how many bytes were sent to each.
        pauses: how often reading had to wait for a peer that didn't read.
        failures: how often the handler raised; counted at once.
    """

    __slots__ = ("counts", "durations", "ended", "failures", "pauses", "received", "sent")

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts = Counts() if counts is None else counts
        self.ended: dict[str, int] = {}
        self.durations = Histogram(DURATIONS)
        self.received = Histogram(SIZES)
        self.sent = Histogram(SIZES)
        self.pauses = 0
        self.failures = 0

    def session_ended(self, transport: Ended, reason: str, duration: float) -> None:
        """Count a session that is over.

        Args:
            transport: its connection.
            reason: why it ended.
            duration: how long it lasted, in seconds.
        """
        # Written out, for it is a part of what a short session costs.
        ended = self.ended
        if reason in ended:
            ended[reason] += 1
        else:
            note(ended, reason)
        histogram = self.durations
        histogram.counts[bisect_left(DURATIONS, duration)] += 1
        histogram.sum += duration
        histogram, size = self.received, transport.bytes_in
        histogram.counts[bisect_left(SIZES, size)] += 1
        histogram.sum += size
        histogram, size = self.sent, transport.bytes_out
        histogram.counts[bisect_left(SIZES, size)] += 1
        histogram.sum += size
        pauses = getattr(transport, "pauses", 0)
        if pauses:
            self.pauses += pauses

    @property
    def total(self) -> int:
        """How many sessions have ended."""
        return sum(self.ended.values())


class Counts:
    """What one listener or connector has come to, whichever handlers it had.

    Attributes:
        tallies: what its sessions have come to, by handler.
        refused: connections that didn't become sessions, by the reason.
        accept_failures: errors of accept(2): `starved` of descriptors or memory, or `failed`.
        handshakes: TLS handshakes that were done.
        handshake_failures: those that failed.
        tries: how often a connector has tried to connect.
        failed_tries: how often it failed.
    """

    __slots__ = (
        "accept_failures",
        "failed_tries",
        "handshake_failures",
        "handshakes",
        "refused",
        "tallies",
        "tries",
    )

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.refused: dict[str, int] = {}
        self.accept_failures: dict[str, int] = {}
        self.handshakes = 0
        self.handshake_failures = 0
        self.tries = 0
        self.failed_tries = 0

    def of(self, handler: str) -> Tally:
        """Return the tally of one handler."""
        tally = self.tallies.get(handler)
        if tally is None:
            tally = self.tallies[handler] = Tally(self)
        return tally


class Tallies:
    """The numbers of all listeners and connectors, those included that are gone."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}

    def of(self, name: str) -> Counts:
        """Return the numbers of a listener or connector; no two share a name."""
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = Counts()
        return counts

    def items(self) -> Iterator[tuple[str, Counts]]:
        """Give each listener's or connector's name, and its numbers."""
        yield from self._counts.items()


def note(counts: dict[str, int], reason: str) -> None:
    """Count something for a reason; beyond `MOST_REASONS` of them, for `OTHER`."""
    if reason not in counts and len(counts) >= MOST_REASONS:
        reason = OTHER
    counts[reason] = counts.get(reason, 0) + 1
