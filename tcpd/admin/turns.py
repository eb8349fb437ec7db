"""Long work on many things, done in turns, so that sessions are served in between."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from twisted.internet.task import deferLater

T = TypeVar("T")

# Things looked at before the time is looked at again.
LOT = 250
# Seconds until it is the others' turn. With the lot that is begun it stays below ten milliseconds.
TURN = 0.003


class Turns:
    """Gives the loop to others whenever it has been held for long enough.

    Args:
        reactor: the reactor.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._since = time.perf_counter()

    async def others(self) -> None:
        """Let the others have their turn, if it is time for that."""
        if time.perf_counter() - self._since > TURN:
            await deferLater(self._reactor, 0)
            self._since = time.perf_counter()

    async def lots(self, things: Sequence[T], size: int = LOT) -> AsyncIterator[Sequence[T]]:
        """Give things in lots, and others their turn in between."""
        for at in range(0, len(things), size):
            if at:
                await self.others()
            yield things[at : at + size]
