"""A token bucket for each address, in bounded memory.

A bucket is one number: the time at which it will be full again. Whoever takes a token moves that
time on by what a token takes to come back, and may do so while less than the whole burst is
missing. Nothing ticks; a bucket whose time has come is full, and needn't be remembered.

Buckets are kept in two generations. Who comes is found in either and moves to the young one. When
every bucket of the old one must have filled up, or the young one holds `GENERATION`, the old one is
dropped and the young one takes its place. So:

- Nothing is lost but full buckets, unless more than `GENERATION` addresses come while a bucket
  fills up; and memory is bounded, whatever comes.
- Who keeps trying stays remembered: each try, refused or not, moves the bucket to the young
  generation. To have his own empty bucket forgotten, a flooder has to keep away while at least
  `GENERATION` other addresses come: a flood which is worth more to him than that one bucket.
- The work for one address doesn't grow with their number.
"""

from __future__ import annotations

# Both generations of a listener are some 15 MB with it, and know 100,000 addresses.
GENERATION = 65536
# Sums of times aren't exact; a token that is all but there counts.
_ALMOST = 1e-3


class Rates:
    """The buckets of all addresses.

    Args:
        rate: how many tokens come back a second.
        burst: how many tokens a full bucket has.
        now: the time, in seconds, as for `take`.
    """

    __slots__ = ("_fill", "_old", "_room", "_token", "_turned", "_young")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._young: dict[int, float] = {}
        self._old: dict[int, float] = {}
        self._turned = now
        self._set(rate, burst)

    def _set(self, rate: float, burst: int) -> None:
        # All in seconds: until a token is back, until an empty bucket is full, and what may be
        # missing for a token still to be there.
        self._token = 1.0 / rate
        self._fill = burst * self._token
        self._room = (burst - 1 + _ALMOST) * self._token

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def configure(self, rate: float, burst: int, now: float) -> None:
        """Change the rate and the burst; each bucket goes on with as many tokens missing."""
        before = self._token
        self._set(rate, burst)
        scale = self._token / before
        for each in (self._young, self._old):
            for key, full_at in each.items():
                each[key] = now + min((full_at - now) * scale, self._fill)
        self._turned = now

    def take(self, key: int, now: float) -> bool:
        """Take a token from the bucket of an address.

        Args:
            key: the address.
            now: seconds of a clock that doesn't go back.

        Returns:
            Whether there was one.
        """
        young = self._young
        if len(young) >= GENERATION or now - self._turned >= self._fill:
            self._old, self._young = young, {}
            self._turned = now
            young = self._young
        full_at = young.get(key)
        if full_at is None:
            full_at = self._old.pop(key, now)
        full_at = max(full_at, now)
        there = full_at - now <= self._room
        young[key] = full_at + self._token if there else full_at
        return there
