"""How long to wait before a connection is tried again.

Pure: a delay goes in nowhere and comes out of `next_delay`. Delays double from a half second to a
maximum; each is shortened by up to a tenth, at random, so that many clients that lost one server
don't come back in step. A connection that stood longer than the delay before it starts the row
anew; one that fell at once doesn't, or a server that accepts and hangs up would be hammered.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

INITIAL = 0.5
"""Seconds before the first new try."""
FACTOR = 2.0
JITTER = 0.1


@dataclass(slots=True, kw_only=True)
class Backoff:
    """A row of growing delays.

    Attributes:
        maximum: the longest delay, in seconds.
        chance: gives a number from 0 to 1, for the jitter.
    """

    maximum: float = 30.0
    chance: Callable[[], float] = random.random
    _delay: float = field(default=0.0, init=False)

    def next_delay(self) -> float:
        """Return the seconds to wait before the next try."""
        grown = self._delay * FACTOR if self._delay else INITIAL
        self._delay = min(grown, self.maximum)
        return self._delay * (1.0 - JITTER * self.chance())

    def stood(self, seconds: float) -> None:
        """Tell that a connection came about and lasted so long."""
        if seconds > self._delay:
            self._delay = 0.0
