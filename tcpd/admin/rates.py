"""Bytes a second, of each session and each listener; known only while somebody looks.

Rules:
- A sampler reads the counters every `EVERY` seconds. It runs from the first look on, and ends by
  itself when nobody has looked for a while, so that who doesn't look doesn't pay.
- Of sessions where nothing has moved it makes no objects: ten thousand a second would have Python
  look for garbage everywhere ever so often, which holds up all sessions for tens of milliseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpd.admin.census import Census, take_census
from tcpd.admin.house import House
from tcpd.admin.turns import Turns
from tcpd.session import Session

# Seconds from one sample to the next.
EVERY = 1.0
# Seconds after the last look for which it goes on.
LINGERS = 10.0
# How many samples of each listener are kept: a minute's.
KEPT = 60
# Sessions that have ended and whose numbers may be kept, besides as many as are open.
SPARE = 1000


class Rate(NamedTuple):
    """Bytes a second."""

    received: float
    sent: float


_STILL = Rate(0.0, 0.0)


class Rates:
    """Samples the counters while somebody looks.

    Args:
        house: whose counters.
    """

    log = Logger()

    def __init__(self, house: House) -> None:
        self._house = house
        self._until = 0.0
        self._open = 0
        self._call: Any = None
        self._sampling: Deferred[None] | None = None
        self._taken: float | None = None
        # What the counters of each session said when they had last changed, by its number.
        self._received: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        # Of those that have moved something between the last two samples.
        self._rates: dict[int, Rate] | None = None
        self._totals: dict[str, tuple[int, int]] = {}
        self._history: dict[str, deque[Rate]] = {}

    def look(self) -> None:
        """Note that somebody looks; rates are known from the second sample on."""
        self._until = self._house.reactor.seconds() + LINGERS
        if self._call is None and self._sampling is None:
            self._sample()

    def stop(self) -> None:
        """Sample no more, and forget."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        sampling, self._sampling = self._sampling, None
        if sampling is not None:
            sampling.cancel()
        self._forget()

    def of(self, session: Session) -> Rate | None:
        """Return a session's rate; None if it isn't known yet."""
        if self._rates is None:
            return None
        rate = self._rates.get(session.number)
        if rate is None and session.number in self._received:
            return _STILL
        return rate

    def of_listener(self, name: str) -> Rate | None:
        """Return the rate of all sessions of a listener or connector; None if not known yet."""
        history = self._history.get(name)
        return history[-1] if history else None

    def history(self, name: str) -> list[Rate]:
        """Return the last rates of a listener or connector, `EVERY` seconds apart, oldest first."""
        return list(self._history.get(name, ()))

    def _sample(self) -> None:
        self._call = None
        self._sampling = Deferred.fromCoroutine(self._take())
        if self._sampling.called:
            self._sampled(None)
        else:
            self._sampling.addBoth(self._sampled)

    def _sampled(self, result: object) -> None:
        if self._sampling is None:
            return  # stopped
        self._sampling = None
        if self._house.reactor.seconds() < self._until:
            self._call = self._house.reactor.callLater(EVERY, self._sample)
        else:
            self._forget()

    async def _take(self) -> None:
        try:
            await self._take_one()
        except Exception:
            self.log.failure("rates can't be sampled")

    async def _take_one(self) -> None:
        now, before = self._house.reactor.seconds(), self._taken
        seconds = 0.0 if before is None else now - before
        # Those who have ended are dropped now and then, by starting anew with all who are there.
        everyone = before is None or len(self._received) > 2 * self._open + SPARE
        # A transport notes when the turn of the loop began in which something moved, and this
        # sample was begun in the middle of a turn.
        moved_since = -inf if everyone else now - seconds - EVERY
        received: dict[int, int] = {}
        sent: dict[int, int] = {}
        rates: dict[int, Rate] = {}
        count = 0

        def note(lot: Sequence[Session]) -> None:
            nonlocal count
            count += len(lot)
            for session in lot:
                transport: Any = session.transport
                if transport.last_read < moved_since and transport.last_write < moved_since:
                    continue
                number, came, went = session.number, transport.bytes_in, transport.bytes_out
                received[number], sent[number] = came, went
                if before is not None:
                    unknown = (0, 0) if session.opened >= before else (came, went)
                    came -= self._received.get(number, unknown[0])
                    went -= self._sent.get(number, unknown[1])
                    if came or went:
                        rates[number] = Rate(came / seconds, went / seconds)

        census = await take_census(self._house, Turns(self._house.reactor), note)
        self._add_to_history(census, seconds)
        if everyone:
            self._received, self._sent = received, sent
        else:
            self._received.update(received)
            self._sent.update(sent)
        self._rates = None if before is None else rates
        self._taken, self._open = now, count

    def _add_to_history(self, census: Census, seconds: float) -> None:
        totals: dict[str, tuple[int, int]] = {}
        for (name, _), figures in census.figures.items():
            came, went = totals.get(name, (0, 0))
            totals[name] = (came + figures.bytes_in, went + figures.bytes_out)
        if seconds > 0:
            for name, (came, went) in totals.items():
                was = self._totals.get(name, (came, went))
                rate = Rate((came - was[0]) / seconds, (went - was[1]) / seconds)
                self._history.setdefault(name, deque(maxlen=KEPT)).append(rate)
            for name in self._history.keys() - totals.keys():
                del self._history[name]
        self._totals = totals

    def _forget(self) -> None:
        self._taken = self._rates = None
        self._open = 0
        self._received, self._sent, self._totals, self._history = {}, {}, {}, {}
