"""The last events, for who begins to look after something has happened.

Rules:
- They are kept while there is an admin side: so many, and in so many bytes.
- What is kept is the record that sinks and streams get, which is put into words only for who reads
  it. Of a session it holds the names and numbers, and nothing that would keep it alive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tcpd.admin.house import House
from tcpd.events import Event, HandlerEvent, event_classes
from tcpd.sinks.record import Record

MOST = 100
"""How many events are kept."""
# What they may take in bytes: as one of a handler's may take 32 KiB, it could be much more.
SIZE = 2**20


class Recent:
    """Keeps the last events.

    Args:
        house: where they pass.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._kept: deque[Record] = deque()
        self._size = 0
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Keep what happens from now on; does nothing if that is done already."""
        if not self._unsubscribe:
            bus = self._house.bus
            self._unsubscribe = [
                bus.subscribe(kind, self._note_handlers_own if kind is HandlerEvent else self._note)
                for kind in (*event_classes(), HandlerEvent)
            ]

    def stop(self) -> None:
        """Keep no more than what there is."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    def forget(self) -> None:
        """Stop, and keep nothing."""
        self.stop()
        self._kept.clear()
        self._size = 0

    def last(self, count: int, wanted: Callable[[Record], bool]) -> list[Record]:
        """Return the last of those that are wanted, the oldest first."""
        if count <= 0:
            return []
        return [each for each in self._kept if wanted(each)][-count:]

    def _note(self, event: Event) -> None:
        self._keep(self._house.sinks.record_of(event))

    def _note_handlers_own(self, event: HandlerEvent) -> None:
        self._keep(self._house.sinks.record_of(event).on_its_own())

    def _keep(self, record: Record) -> None:
        kept = self._kept
        kept.append(record)
        self._size += record.size
        while len(kept) > MOST or self._size > SIZE:
            self._size -= kept.popleft().size
