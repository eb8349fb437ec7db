"""Long work, and much work, done in turns, so that sessions are served in between.

Rules:
- All that the admin side does for whoever asks, however many they are, is done one after the other,
  and takes one turn of the loop's time before it is the others' turn, and not one for each.
- A turn is so short that a message which comes amid one hardly waits longer than it does for other
  messages: a tenth of what the loop has just had to do, within `TURN` and `LONGEST`. So who looks
  at a daemon that is busy to the brim has a tenth of it, and an answer in the end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred

T = TypeVar("T")

# Things looked at before the time is looked at again: some thirty microseconds' worth.
LOT = 50
# Seconds until it is the others' turn, if they have little to do. What is begun is finished first:
# mostly within as much again, and within a millisecond where ten thousand sessions are sorted.
TURN = 0.0001
# Seconds that it may become if they have much to do, and how much that is of what they do.
LONGEST = 0.003
SHARE = 0.1


class Share:
    """The admin side's share of one loop's time."""

    def __init__(self) -> None:
        # Those in a hurry, and the others: one of each at a time, so that neither wait for ever.
        self._lines: tuple[deque[Callable[[], object]], ...] = (deque(), deque())
        self._asked: float | None = None  # when the loop was asked for the next turn
        self._others_took = 0.0

    @property
    def turn(self) -> float:
        """Seconds that a turn may take now."""
        return min(LONGEST, max(TURN, SHARE * self._others_took))

    def soon(self, reactor: Any, call: Callable[[], object], *, first: bool = False) -> None:
        """Call something when its turn comes.

        Args:
            reactor: the reactor.
            call: what is called. It must not raise.
            first: whether it waits only for others in such a hurry.
        """
        self._lines[0 if first else 1].append(call)
        if self._asked is None:
            self._ask(reactor)

    def _ask(self, reactor: Any) -> None:
        self._asked = time.perf_counter()
        reactor.callLater(0, self._run, reactor)

    def _run(self, reactor: Any) -> None:
        since = time.perf_counter()
        self._others_took = since - (self._asked or since)
        try:
            while any(self._lines):
                for line in self._lines:
                    if line:
                        line.popleft()()
                if time.perf_counter() - since > self.turn:
                    break
        finally:
            self._asked = None
            if any(self._lines):
                self._ask(reactor)
            else:
                self._others_took = 0.0


# No value may hold its key, or it would live for ever.
_of_reactors: WeakKeyDictionary[Any, Share] = WeakKeyDictionary()


def share_of(reactor: Any) -> Share:
    """Return the admin side's share of this reactor's time."""
    share = _of_reactors.get(reactor)
    if share is None:
        share = _of_reactors[reactor] = Share()
    return share


def soon(reactor: Any, call: Callable[[], object], *, first: bool = False) -> None:
    """Call something when it is the admin side's turn on this reactor; see `Share.soon`."""
    share_of(reactor).soon(reactor, call, first=first)


class Turns:
    """Gives the loop to others whenever it has been held for long enough.

    Args:
        reactor: the reactor.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._share = share_of(reactor)
        self._since = time.perf_counter()

    async def others(self) -> None:
        """Let the others have their turn, if it is time for that."""
        if time.perf_counter() - self._since > self._share.turn:
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
