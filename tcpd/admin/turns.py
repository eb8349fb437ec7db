"""Long work, and much work, done in turns, so that sessions are served in between.

Rules:
- All that the admin side does for whoever asks, however many they are, is done one after the other
  and takes `TURN` of the loop's time before it is the others' turn, and not `TURN` for each.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred

T = TypeVar("T")

# Things looked at before the time is looked at again.
LOT = 100
# Seconds until it is the others' turn. What is begun is finished first: mostly within as much
# again, and within two milliseconds where ten thousand sessions are sorted.
TURN = 0.0003


class Share:
    """The admin side's share of one loop's time."""

    def __init__(self) -> None:
        # Those in a hurry, and the others: one of each at a time, so that neither wait for ever.
        self._lines: tuple[deque[Callable[[], object]], ...] = (deque(), deque())
        self._called = False

    def soon(self, reactor: Any, call: Callable[[], object], *, first: bool = False) -> None:
        """Call something when its turn comes.

        Args:
            reactor: the reactor.
            call: what is called. It must not raise.
            first: whether it waits only for others in such a hurry.
        """
        self._lines[0 if first else 1].append(call)
        if not self._called:
            self._called = True
            reactor.callLater(0, self._run, reactor)

    def _run(self, reactor: Any) -> None:
        since = time.perf_counter()
        try:
            while any(self._lines):
                for line in self._lines:
                    if line:
                        line.popleft()()
                if time.perf_counter() - since > TURN:
                    break
        finally:
            self._called = any(self._lines)
            if self._called:
                reactor.callLater(0, self._run, reactor)


# No value may hold its key, or it would live for ever.
_of_reactors: WeakKeyDictionary[Any, Share] = WeakKeyDictionary()


def soon(reactor: Any, call: Callable[[], object], *, first: bool = False) -> None:
    """Call something when it is the admin side's turn on this reactor; see `Share.soon`."""
    share = _of_reactors.get(reactor)
    if share is None:
        share = _of_reactors[reactor] = Share()
    share.soon(reactor, call, first=first)


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
            turn: Deferred[None] = Deferred()
            soon(self._reactor, lambda: turn.callback(None))
            await turn
            self._since = time.perf_counter()

    async def lots(self, things: Sequence[T], size: int = LOT) -> AsyncIterator[Sequence[T]]:
        """Give things in lots, and others their turn in between."""
        for at in range(0, len(things), size):
            if at:
                await self.others()
            yield things[at : at + size]
