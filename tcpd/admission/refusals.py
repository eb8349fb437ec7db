"""Connections that never became a session: counted one by one, logged in summary.

Besides those that the gate refused, these are the ones that ended before their session began: a TLS
handshake that failed, a PROXY header that never came.

Rules:
- The counts are exact, and so is the log: the numbers in its lines add up to the counts.
- The first of its reason after a quiet time is logged at once, with its address and details.
  Whatever follows is a number in the next summary, and of those there is one in `WINDOW` seconds.
- Memory and log are bounded, whoever comes from wherever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, ClassVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from tcpd.escape import escape_text
from tcpd.events import Bus, SessionRefused, host_and_port
from tcpd.session import address_and_port, format_address
from tcpd.tally import note as count

# Seconds from one summary to the next, and after which a reason counts as quiet.
WINDOW = 10.0
# The busiest addresses are looked for with so many counters, and so many of them are shown.
COUNTERS = 64
SHOWN = 3
# Characters of a detail that are shown.
DETAIL = 200

BY_THE_GATE = frozenset(("denied", "sessions", "per-address", "rate", "proxy-untrusted"))
"""The reasons that are refusals; the others are ends of connections that had been let in."""

WORDS = {
    "denied": "the access list doesn't let it in",
    "sessions": "all sessions are taken",
    "per-address": "its address has too many sessions",
    "rate": "its address opens sessions too fast",
    "proxy-untrusted": "it isn't a proxy that is trusted",
    "proxy-invalid": "it sent no valid PROXY header",
    "header-timeout": "its PROXY header took too long",
    "tls-failed": "the TLS handshake failed",
    "peer-closed": "the peer hung up",
    "peer-reset": "the peer reset the connection",
    "handshake-timeout": "its TLS handshake took too long",
}
"""The reasons, for people."""

# At these an operator may have to do something: people who were meant to come in stand outside.
_WARNED_OF = frozenset(("sessions", "per-address", "rate"))


class Refusals:
    """What a listener has turned away.

    Args:
        listener: its name.
        bus: where `SessionRefused` goes, if anybody wants it.
        clock: the reactor's clock.
        counts: where they are counted; None for a place of its own.

    Attributes:
        counts: how many there were for each reason.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        listener: str,
        bus: Bus,
        clock: IReactorTime,
        counts: dict[str, int] | None = None,
    ) -> None:
        self.counts = {} if counts is None else counts
        self._listener = listener
        self._bus = bus
        self._clock = clock
        # What is to go into the next summary.
        self._pending: Counter[str] = Counter()
        self._busiest = Busiest(COUNTERS)
        self._since = 0.0
        # The reasons that aren't quiet.
        self._recent: set[str] = set()
        self._call: Any = None

    def note(self, reason: str, address: object, detail: str = "", hop: object = None) -> None:
        """Count a connection that doesn't become a session.

        Args:
            reason: why, in a word: what the gate said, or the transport's `close_cause`.
            address: the peer's, as transports give it.
            detail: more about it, for people; it may hold anything and is escaped here.
            hop: the proxy's address, where the peer's is one that a proxy told.
        """
        count(self.counts, reason)
        if self._bus.wants(SessionRefused):
            self._bus.emit(self._event(reason, address, hop))
        if reason in self._recent:
            self._pending[reason] += 1
            self._busiest.add(address_and_port(address)[0])
            return
        self._recent.add(reason)
        self._log_first(reason, address, detail, hop)
        if self._call is None:
            self._begin_window()

    def flush(self) -> None:
        """Log what hasn't been logged yet, and begin anew; at the end, nothing is left to do."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._log_summary()
        self._recent.clear()

    def _begin_window(self) -> None:
        self._since = self._clock.seconds()
        self._call = self._clock.callLater(WINDOW, self._window_over)

    def _window_over(self) -> None:
        self._call = None
        busy = set(self._pending)  # a reason of which none came after the first is quiet again
        self._log_summary()
        self._recent = busy
        if busy:
            self._begin_window()

    def _event(self, reason: str, address: object, hop: object) -> SessionRefused:
        host, port = address_and_port(address)
        return SessionRefused(
            listener=self._listener,
            client_address=host,
            client_port=port,
            reason=reason,
            hop="" if hop is None else format_address(hop),
        )

    def _log_first(self, reason: str, address: object, detail: str, hop: object) -> None:
        event = self._event(reason, address, hop)
        peer = host_and_port(event.client_address, event.client_port)
        if event.hop:
            peer += f" (by way of {event.hop})"
        why = escape_text(detail or WORDS.get(reason, "its connection ended"), limit=DETAIL)
        what = (
            f"refused {peer}: {why}"
            if reason in BY_THE_GATE
            else f": {peer} was gone before its session began: {why}"
        )
        record = {**event.fields(), "count": 1}
        if detail:
            record["detail"] = why
        self._write((reason,), f"{what} ({reason})", record)

    def _log_summary(self) -> None:
        pending, self._pending = self._pending, Counter()
        busiest, self._busiest = self._busiest, Busiest(COUNTERS)
        if not pending:
            return
        count = pending.total()
        reasons = dict(pending.most_common())
        # Where not all were counted, fewer than this say nothing.
        top = busiest.most(SHOWN, 1 if busiest.exact else count // COUNTERS + 1)
        seconds = round(self._clock.seconds() - self._since)
        by_reason = ", ".join(f"{reason} {number}" for reason, number in reasons.items())
        self._write(
            reasons,
            f": {count} more without a session in {seconds} s: {by_reason};"
            f" {_in_words(top, exact=busiest.exact)}",
            {
                "listener": self._listener,
                "count": count,
                "reasons": reasons,
                "client.addresses": top,
            },
        )

    def _write(self, reasons: Collection[str], what: str, record: dict[str, object]) -> None:
        # The message is ready, and the record has all that is in it, so that a log of objects says
        # everything once.
        message = f"listener {self._listener}{'' if what[0] == ':' else ' '}{what}"
        warn = not _WARNED_OF.isdisjoint(reasons)
        self.log.emit(
            LogLevel.warn if warn else LogLevel.info, "{message}", message=message, record=record
        )


class Busiest:
    """Finds the addresses that occur most, with a few counters (Misra and Gries, 1982).

    An address that makes up more than one in `counters + 1` of all is among them for certain. With
    more addresses than counters, the numbers are lower bounds.

    Args:
        counters: how many addresses to count at most.

    Attributes:
        exact: whether the numbers are exact.
    """

    def __init__(self, counters: int) -> None:
        self.exact = True
        self._counters = counters
        self._counts: dict[str, int] = {}

    def add(self, address: str) -> None:
        """Count an address once more."""
        counts = self._counts
        if address in counts:
            counts[address] += 1
        elif len(counts) < self._counters:
            counts[address] = 1
        else:  # each of them pays for one; what one has been paid for, was paid in before
            self.exact = False
            self._counts = {each: count - 1 for each, count in counts.items() if count > 1}

    def most(self, number: int, least: int = 1) -> dict[str, int]:
        """Return the busiest addresses that came `least` times or more, and how often each came."""
        most = Counter(self._counts).most_common(number)
        return {address: count for address, count in most if count >= least}


def _in_words(top: dict[str, int], *, exact: bool) -> str:
    if not top:
        return "from many addresses"
    least = "" if exact else " or more"
    shown = ", ".join(f"{address} ({count}{least})" for address, count in top.items())
    return f"most from {shown}"
