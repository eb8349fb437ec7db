"""How long to wait between two tries to connect.

Rules:
- Pauses grow by a factor up to a cap, and are spread at random, so that a thousand clients of a
  server that comes back don't all come at once.
- They begin anew once a connection has lasted for longer than the first pause. A server that
  accepts and closes at once would else be tried without end at the shortest.
"""

from __future__ import annotations

import random

from tcpd.config.schema import Reconnect


class Pauses:
    """The pauses of one connector.

    Args:
        reconnect: what they are to be like; may be changed at any time.
    """

    def __init__(self, reconnect: Reconnect) -> None:
        self.reconnect = reconnect
        self._row = 0  # how many there were in a row

    def begin_anew(self) -> None:
        """Have the next one be the first."""
        self._row = 0

    def next(self, lasted: float | None) -> float:
        """Return the seconds until the next try.

        Args:
            lasted: for how many seconds there was a connection; None if the try has failed.
        """
        if lasted is not None and lasted >= self.reconnect.initial:
            self._row = 0
        self._row += 1
        return pause(self.reconnect, self._row, random.random())  # noqa: S311  (no secret)


def pause(reconnect: Reconnect, attempt: int, chance: float) -> float:
    """Return the seconds to wait before a try; never more than `reconnect.max`.

    Args:
        reconnect: the first pause, its growth, its cap and its spread.
        attempt: how many pauses there are in a row with this one, from 1.
        chance: between 0 and 1; makes the pause longer by up to `jitter`, as a part of it.
    """
    growth = reconnect.factor ** min(attempt - 1, 100)
    wait = min(reconnect.initial * growth, reconnect.max / (1 + reconnect.jitter))
    return wait * (1 + reconnect.jitter * chance)
