"""Bytes a second, of each session and each listener; known only while somebody looks.

A sampler reads all counters every `EVERY` seconds. It runs from the first look on, and ends by
itself when nobody has looked for a while, so that who doesn't look doesn't pay.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpd.admin.census import take_census
from tcpd.admin.house import House
from tcpd.admin.turns import Turns
from tcpd.session import Session

# Seconds from one sample to the next.
EVERY = 1.0
# Seconds after the last look for which it goes on.
LINGERS = 10.0
# How many samples of each listener are kept: a minute's.
KEPT = 60


class Rate(NamedTuple):
    """Bytes a second."""

    received: float
    sent: float


class Rates:
    """Samples the counters while somebody looks.

    Args:
        house: whose counters.
    """

    log = Logger()

    def __init__(self, house: House) -> None:
        self._house = house
        self._until = 0.0
        self._call: Any = None
        self._sampling: Deferred[None] | None = None
        self._taken: float | None = None
        self._before: dict[int, tuple[int, int]] = {}
        self._rates: dict[int, Rate] = {}
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
        return self._rates.get(session.number)

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
        now = self._house.reactor.seconds()
        seconds = 0.0 if self._taken is None else now - self._taken
        before = self._before
        after: dict[int, tuple[int, int]] = {}
        rates: dict[int, Rate] = {}
        still = Rate(0.0, 0.0)

        def note(session: Session, received: int, sent: int) -> None:
            number = session.number
            after[number] = both = (received, sent)
            was = before.get(number)
            if was == both:
                rates[number] = still
            elif was is not None and seconds > 0:
                rates[number] = Rate(
                    (received - was[0]) / seconds,
                    (sent - was[1]) / seconds,
                )

        census = await take_census(self._house, Turns(self._house.reactor), note)
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
        self._taken, self._before, self._rates, self._totals = now, after, rates, totals

    def _forget(self) -> None:
        self._taken = None
        self._before, self._rates, self._totals, self._history = {}, {}, {}, {}
