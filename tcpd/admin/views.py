"""The daemon as plain data: dicts, lists, texts and numbers, ready for JSON.

Rules:
- Times are seconds since the epoch, and durations seconds. Sizes are bytes, rates bytes a second.
- What isn't known is None; of a rate, until somebody has looked for a second.
- Whatever a peer told is passed on as it is, and escaped by who shows it.
- With many sessions the work is done in turns, and sessions are served in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from tcpd import __version__
from tcpd.admin.census import Census, Figures, take_census
from tcpd.admin.controls import Controls
from tcpd.admin.house import House, find_session, sessions_of
from tcpd.admin.process import process_figures
from tcpd.admin.rates import EVERY, Rate, Rates
from tcpd.admin.turns import Turns
from tcpd.connector import Connector
from tcpd.errors import TcpdError
from tcpd.listener import Listener
from tcpd.registry import list_handlers
from tcpd.session import Session, address_and_port, format_address

View = dict[str, Any]

MOST_SESSIONS = 1000
"""How many sessions are listed at once."""
# Seconds by which the wall clock is off if somebody has set it; less is the time between two looks.
_SET = 1.0
# Of those that are listed: to describe one takes some thirty microseconds.
_LOT = 4


class SortError(TcpdError):
    """Sessions can't be sorted by this."""


class Views:
    """Looks at the daemon.

    Args:
        house: the daemon.
        controls: what has been done to it; they know which listeners drain.

    Attributes:
        capture_of: tells of the capture that a session or listener has: a dict, or None. Who
            captures puts an answer of its own here.
    """

    def __init__(self, house: House, controls: Controls | None = None) -> None:
        self._house = house
        self._controls = controls or Controls(house)
        self._rates = Rates(house)
        # What the wall clock showed when the reactor's showed nothing; once for all sessions.
        self._epoch = -math.inf
        self.capture_of: Callable[[Session | Listener], View | None] = lambda what: None

    def stop(self) -> None:
        """Look no more."""
        self._rates.stop()

    # -- the whole ---------------------------------------------------------------------------

    async def status(self) -> View:
        """Return everything but the single sessions."""
        house, vitals = self._house, self._house.vitals
        self._rates.look()
        census = await take_census(house, Turns(house.reactor))
        last = vitals.last_reload
        return {
            "version": __version__,
            "pid": process_figures().pid,
            "state": house.state,
            "started": vitals.began,
            "uptime": vitals.uptime,
            "sessions": _counted(list(census.figures.values())),
            "loop": {"lag": vitals.lag, "lag_max": vitals.lag_max},
            "process": self.process(),
            "listeners": [self._listener(each, census) for each in house.listeners.values()],
            "connectors": [self._connector(each, census) for each in house.connectors.values()],
            "sinks": self.sinks(),
            "last_reload": None
            if last is None
            else {
                "at": last.at,
                "ok": last.ok,
                ("changes" if last.ok else "errors"): list(last.words),
            },
        }

    def process(self) -> View:
        """Return what the process takes."""
        return asdict(process_figures())

    def sinks(self) -> list[View]:
        """Return how each sink is doing."""
        return [asdict(each) for each in self._house.sinks.status()]

    def handlers(self) -> list[View]:
        """Return the handlers that can be configured by name."""
        return [
            {"name": h.name, "summary": h.summary, "source": h.source, "problem": h.problem}
            for h in sorted(list_handlers(), key=lambda each: each.name)
        ]

    def history(self) -> View:
        """Return the rates of each listener and connector in the last minute, for sparklines.

        Returns:
            `every`: seconds between two; `rates`: by name, `in` and `out`, the oldest first.
        """
        self._rates.look()
        rates = {}
        for name in (*self._house.listeners, *self._house.connectors):
            past = self._rates.history(name)
            rates[name] = {"in": [each.received for each in past], "out": [e.sent for e in past]}
        return {"every": EVERY, "rates": rates}

    def _listener(self, listener: Listener, census: Census) -> View:
        name, serving = listener.serving.origin.name, listener.serving
        figures = census.of(name)
        limit = None if serving.gate is None else serving.gate.limits.sessions
        return {
            "name": name,
            "handler": serving.origin.handler,
            "addresses": [
                format_address(door.port.getHost())
                for door in listener.doors
                if door.port is not None and door.is_open  # one that has broken has no address
            ],
            "state": self._controls.state_of(listener),
            "sessions": {**_counted(figures), "limit": None if limit == "off" else limit},
            "refused": census.arrivals[name].refused if name in census.arrivals else {},
            **self._moved(name, figures),
            "tls": any(door.tls is not None for door in listener.doors),
            "capture": self.capture_of(listener),
        }

    def _connector(self, connector: Connector, census: Census) -> View:
        name, origin = str(connector.name), connector.serving.origin
        session = next(iter(origin.sessions.values()), None)
        figures = census.of(name)
        return {
            "name": name,
            "handler": origin.handler,
            "target": connector.target,
            "state": connector.state,
            "failures": connector.failures,
            "session": None if session is None else session.id,
            "sessions": _counted(figures),
            **self._moved(name, figures),
        }

    def _moved(self, name: str, figures: Sequence[Figures]) -> View:
        closed: dict[str, int] = {}
        for each in figures:
            for reason, count in each.ended.items():
                closed[reason] = closed.get(reason, 0) + count
        return {
            "closed": closed,
            "bytes": {
                "in": sum(each.bytes_in for each in figures),
                "out": sum(each.bytes_out for each in figures),
            },
            "rate": _rate(self._rates.of_listener(name)),
            "handler_failures": sum(each.failures for each in figures),
            "pauses": sum(each.pauses for each in figures),
        }

    # -- sessions ----------------------------------------------------------------------------

    async def sessions(
        self,
        *,
        listener: str = "",
        text: str = "",
        sort: str = "id",
        limit: int = MOST_SESSIONS,
        offset: int = 0,
    ) -> View:
        """Return a page of the open sessions.

        Args:
            listener: those of one listener or connector; empty for all.
            text: those whose id, addresses, listener or handler has this in it, in small letters
                or capitals.
            sort: one of `SORTS`; with a `-` before it, the highest first.
            limit: how many, `MOST_SESSIONS` at most.
            offset: after how many to begin.

        Returns:
            `total`: how many there are; `sessions`: the page.

        Raises:
            SortError: `sort` isn't one of those.
        """
        key = SORTS.get(sort.removeprefix("-"))
        if key is None:
            raise SortError(
                f"sessions can't be sorted by {sort[:40]!r}; known are {', '.join(SORTS)}, each"
                " also with a - before it"
            )
        self._rates.look()
        turns = Turns(self._house.reactor)
        found = sessions_of(self._house, listener)
        if text:
            needle = text.lower()
            everyone, found = found, []
            async for lot in turns.lots(everyone):
                found += [session for session in lot if needle in _as_text(session)]
        # Texts and numbers only, and no pairs of them with sessions: ten thousand of those would
        # have Python look for garbage everywhere, which holds all sessions for 30 milliseconds.
        numbers: list[int] = []
        keys: list[Any] = []
        async for lot in turns.lots(found):
            numbers += [session.number for session in lot]
            keys += [key(session, self._rates) for session in lot]
        order = sorted(range(len(found)), key=numbers.__getitem__)
        await turns.others()
        order.sort(key=keys.__getitem__)
        if sort.startswith("-"):
            order.reverse()
        page = [found[at] for at in order[max(0, offset) :][: max(0, min(limit, MOST_SESSIONS))]]
        views: list[View] = []
        async for some in turns.lots(page, _LOT):
            # Whoever has ended since is not listed; it counts none the less.
            views += [self._session(each) for each in some if not each.close_reason]
        return {"total": len(found), "sessions": views}

    def session(self, session_id: str) -> View | None:
        """Return all that is known of one session; None if there is none such."""
        session = find_session(self._house, session_id)
        if session is None:
            return None
        self._rates.look()
        view = self._session(session)
        transport: Any = session.transport
        tcp_info = getattr(transport, "tcp_info", None)
        tcp = tcp_info() if callable(tcp_info) else None
        return {
            **view,
            "tls": _facts(getattr(transport, "tls", None)),
            "proxy": _facts(session.proxy),
            "tcp": None if tcp is None else asdict(tcp),
        }

    def _session(self, session: Session) -> View:
        transport: Any = session.transport
        now = session.clock.seconds()
        address, port = address_and_port(session.peer)
        hop = getattr(transport, "hop", None)
        return {
            "id": session.id,
            "listener": session.listener,
            "handler": session.handler,
            "role": session.origin.role,
            "client": {"address": address, "port": port},
            "hop": None if hop is None else format_address(hop),
            "local": format_address(session.local),
            "opened": self._wall_time(session.opened, now),
            "age": now - session.opened,
            "idle": _idle(session),
            "bytes": {"in": session.bytes_in, "out": session.bytes_out},
            "rate": _rate(self._rates.of(session)),
            "rtt": _round_trip(transport),
            "queued": transport.queued,
            "tls": getattr(transport, "tls", None) is not None,
            "reading": not getattr(transport, "held", False),
            "capture": self.capture_of(session),
        }

    def _wall_time(self, at: float, now: float) -> float:
        """Return what the wall clock shows at a time of the reactor's clock, in seconds.

        It is the same at each look, until somebody has set the wall clock.
        """
        epoch = time.time() - now
        if abs(epoch - self._epoch) > _SET:
            self._epoch = epoch
        return self._epoch + at


def _idle(session: Session) -> float:
    transport: Any = session.transport
    last: float = max(transport.last_read, transport.last_write)
    return max(0.0, session.clock.seconds() - last)


def _round_trip(transport: Any) -> float | None:
    """Return the kernel's smoothed round trip time; it is asked for those who are shown only."""
    tcp_info = getattr(transport, "tcp_info", None)
    tcp = tcp_info() if callable(tcp_info) else None
    return None if tcp is None else tcp.rtt


def _as_text(session: Session) -> str:
    """Return what a session is looked for by, in small letters."""
    hop = getattr(session.transport, "hop", None)
    words = (
        session.id,
        session.listener,
        session.handler,
        format_address(session.peer),
        "" if hop is None else format_address(hop),
    )
    return " ".join(words).lower()


def _rate_of(session: Session, rates: Rates) -> tuple[float, float]:
    return rates.of(session) or (0.0, 0.0)


SORTS: Mapping[str, Callable[[Session, Rates], Any]] = {
    "id": lambda session, rates: session.number,
    "age": lambda session, rates: -session.opened,
    "idle": lambda session, rates: _idle(session),
    "in": lambda session, rates: session.bytes_in,
    "out": lambda session, rates: session.bytes_out,
    "rate-in": lambda session, rates: _rate_of(session, rates)[0],
    "rate-out": lambda session, rates: _rate_of(session, rates)[1],
    "rate": lambda session, rates: sum(_rate_of(session, rates)),
    "queued": lambda session, rates: getattr(session.transport, "queued", 0),
    "client": lambda session, rates: "{} {:05}".format(*address_and_port(session.peer)),
    "listener": lambda session, rates: session.listener,
    "handler": lambda session, rates: session.handler,
}
"""What sessions can be sorted by."""


def _counted(figures: Sequence[Figures]) -> View:
    return {
        "open": sum(each.open for each in figures),
        "total": sum(each.total for each in figures),
    }


def _rate(rate: Rate | None) -> View:
    if rate is None:
        return {"in": None, "out": None}
    return {"in": rate.received, "out": rate.sent}


def _facts(facts: Any) -> View | None:
    """Return what a dataclass says, with texts for what JSON doesn't know."""
    if not is_dataclass(facts) or isinstance(facts, type):
        return None
    return {key: _plain(value) for key, value in asdict(facts).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return format_address(value)
