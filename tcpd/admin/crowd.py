"""The connections of the admin side: how many there may be, and who goes where there are too many.

Rules:
- Each address has its own, and a UNIX socket two lots of them: those of root and of tcpd's own
  user, and those of all others. Nobody can take the places of another lot.
- Where all places of a lot are taken, who has waited longest for nothing goes: a connection that
  is kept open for a next request, or whose first one isn't there yet. A newcomer is turned away
  only if all others are being answered.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from twisted.logger import Logger

# Connections of one lot: each page has two or three.
MOST = 128
# Seconds in which it isn't said twice that there are too many.
SILENCE = 60.0


class Member(Protocol):
    """A connection."""

    lot: Hashable
    """Which lot it belongs to."""

    def give_way(self) -> None:
        """End: another needs the place."""


class Crowd:
    """All connections."""

    log = Logger()

    def __init__(self) -> None:
        # Those of each lot, and of them who waits, the longest first.
        self._lots: dict[Hashable, tuple[set[Member], dict[Member, None]]] = {}
        self._said = float("-inf")

    def join(self, member: Member, now: float) -> bool:
        """Take in a connection; gives whether there was a place.

        Args:
            member: the connection, which waits for its first request.
            now: the time, in seconds of the reactor's clock.
        """
        everyone, waiting = self._lots.setdefault(member.lot, (set(), {}))
        if len(everyone) >= MOST:
            if now - self._said > SILENCE:
                self._said = now
                text = "the admin side has {most} connections of one kind; the oldest idle give way"
                self.log.warn(text, most=MOST)
            oldest = next(iter(waiting), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.give_way()
            everyone, waiting = self._lots.setdefault(member.lot, (set(), {}))
        everyone.add(member)
        waiting[member] = None
        return True

    def waits(self, member: Member) -> None:
        """Note that a connection waits for a request from now on."""
        everyone, waiting = self._lots.get(member.lot, (set(), {}))
        if member in everyone:
            waiting.pop(member, None)
            waiting[member] = None

    def works(self, member: Member) -> None:
        """Note that a connection has asked for something, and is being answered."""
        if member.lot in self._lots:
            self._lots[member.lot][1].pop(member, None)

    def leave(self, member: Member) -> None:
        """Note that a connection is over."""
        if member.lot not in self._lots:
            return
        everyone, waiting = self._lots[member.lot]
        everyone.discard(member)
        waiting.pop(member, None)
        if not everyone:
            del self._lots[member.lot]
