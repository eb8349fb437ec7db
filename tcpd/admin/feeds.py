"""What fills streams: events as they happen, the bytes of a session, snapshots for the page.

Rules:
- For a reader who takes nothing a feed keeps a bounded amount. What comes beyond it is dropped and
  counted, and the count stands where it would have been; nobody who reads slowly costs more.
- An event is subscribed to while somebody reads it, and a session tapped, and no longer.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.admin.house import House
from tcpd.admin.recent import Recent
from tcpd.admin.stream import KEEP_ALIVE, Stream
from tcpd.admin.views import View, Views
from tcpd.event_names import EventPattern, handler_event_name
from tcpd.events import Event, HandlerEvent, SessionEvent, event_classes
from tcpd.session import Session
from tcpd.sinks.record import Record
from tcpd.taps import add_tap

# Seconds between two looks at what nobody tells of: that a session has ended.
LOOK = 0.1
# Events that are kept for a reader who takes none, and what they may take in bytes.
EVENTS = 1000
EVENTS_SIZE = 4 * 2**20
# Bytes of a session that are kept likewise.
TAPPED = 2**20
# Pieces of them: a session that moves them byte by byte shall not fill the memory with objects.
PIECES = 5000
# Bytes of one piece that is sent, for none shall be much more than what a connection takes at once.
PIECE = 64 * 1024
# Seconds between two snapshots for the page, and events in one.
SNAPSHOT = 1.0
SNAPSHOT_EVENTS = 100


class Events:
    """Gathers the events that somebody wants.

    Args:
        house: where they pass, and become records: the same that sinks get.
        pattern: which, by name.
        listener: those about this listener or connector only; empty for all.
        most: how many are kept until they are taken.
        newest: when there are more, the oldest are dropped, not those that come.
        recent: where to find what has happened before.
        before: how many of those come first.

    Attributes:
        wake: called when there is something to take.
    """

    def __init__(
        self,
        house: House,
        pattern: EventPattern,
        listener: str = "",
        most: int = EVENTS,
        *,
        newest: bool = False,
        recent: Recent | None = None,
        before: int = 0,
    ) -> None:
        self.wake: Callable[[], None] | None = None
        self._pattern = pattern
        self._listener = listener
        self._most = most
        self._newest = newest
        self._record_of = house.sinks.record_of
        # A number stands for so many that are missing.
        self._kept: deque[Record | int] = deque()
        if recent is not None:
            self._kept += recent.last(min(before, most), self._wants)
        self._size = sum(each.size for each in self._kept if isinstance(each, Record))
        self._unsubscribe = [
            house.bus.subscribe(kind, self._note)
            for kind in event_classes()
            if kind is not HandlerEvent and pattern.matches(kind.event_name)
        ]
        if not pattern.is_only_ours:
            self._unsubscribe.append(house.bus.subscribe(HandlerEvent, self._note_handlers_own))

    def __len__(self) -> int:
        return len(self._kept)

    def stop(self) -> None:
        """Gather no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._kept.clear()

    def take(self) -> Record | int | None:
        """Return the oldest that is kept, which is then kept no more.

        Returns:
            The record of an event; or how many are missing here; None if there is nothing.
        """
        if not self._kept:
            return None
        record = self._kept.popleft()
        if isinstance(record, Record):
            self._size -= record.size
        return record

    def send_to(self, stream: Stream, name: str = "") -> None:
        """Send what is kept, as long as the reader takes it, as events of this name."""
        while stream.ready and (record := self.take()) is not None:
            if isinstance(record, Record):
                stream.send_encoded(record.line.encode("ascii"), name)
            else:
                stream.send({"lost": record}, "lost")

    def _wants(self, record: Record) -> bool:
        of_place = not self._listener or _place_of(record.event) == self._listener
        return of_place and self._pattern.matches(record.name)

    def _note_handlers_own(self, event: HandlerEvent) -> None:
        if self._pattern.matches(handler_event_name(event.name)):
            self._note(event)

    def _note(self, event: Event) -> None:
        if self._listener and _place_of(event) != self._listener:
            return
        kept = self._kept
        while self._newest and kept and (len(kept) > self._most or self._size >= EVENTS_SIZE):
            if not self._drop_oldest():
                break
        if self._newest or (len(kept) < self._most and self._size < EVENTS_SIZE):
            record = self._record_of(event)
            kept.append(record)
            self._size += record.size
        elif kept and isinstance(kept[-1], int):
            kept[-1] += 1
        else:
            kept.append(1)
        if self.wake is not None:
            self.wake()

    def _drop_oldest(self) -> bool:
        """Drop the oldest event, which the notice at the beginning then counts."""
        kept = self._kept
        first = kept.popleft()
        lost = first if isinstance(first, int) else 0
        dropped = kept.popleft() if lost and kept else first
        if not isinstance(dropped, int):
            self._size -= dropped.size
            lost += 1
        kept.appendleft(lost)
        return not isinstance(dropped, int)


def _place_of(event: Event) -> str:
    """Return the listener or connector that an event is about, or nothing."""
    if isinstance(event, SessionEvent):
        return event.identity.listener
    return getattr(event, "listener", "") or getattr(event, "connector", "")


class EventFeed:
    """Events as they happen.

    Args:
        events: gathers them.
    """

    every = KEEP_ALIVE

    def __init__(self, events: Events) -> None:
        self._events = events

    @property
    def has_more(self) -> bool:
        """Whether there is more to say."""
        return bool(self._events)

    def begin(self, wake: Callable[[], None]) -> None:
        """Say it as soon as something happens."""
        self._events.wake = wake

    def fill(self, stream: Stream) -> None:
        """Send what has happened."""
        self._events.send_to(stream)

    def stop(self) -> None:
        """Let go."""
        self._events.stop()


class TapFeed:
    """The bytes of a session as they pass.

    Args:
        session: whose; its transport can be tapped.
    """

    every = LOOK

    def __init__(self, session: Session) -> None:
        self._session = session
        # The direction, the time, the bytes, and how many are missing before them.
        self._pieces: deque[tuple[str, float, bytes, int]] = deque()
        self._size = 0
        self._lost = 0
        self._wake: Callable[[], None] | None = None
        self._remove = add_tap(session.transport, self._heed)

    @property
    def possible(self) -> bool:
        """Whether this session can be tapped."""
        return self._remove is not None

    @property
    def has_more(self) -> bool:
        """Whether there is more to say."""
        return bool(self._pieces or self._lost)

    def begin(self, wake: Callable[[], None]) -> None:
        """Say it as soon as something passes."""
        self._wake = wake

    def _heed(self, direction: str, data: bytes) -> None:
        now = time.time()
        for at in range(0, len(data), PIECE):
            room = TAPPED - self._size
            if room <= 0 or len(self._pieces) >= PIECES:
                self._lost += len(data) - at
                break
            piece = data[at : at + min(PIECE, room)]
            self._pieces.append((direction, now, piece, self._lost))
            self._size += len(piece)
            self._lost = min(PIECE, len(data) - at) - len(piece)
        if self._wake is not None:
            self._wake()

    def fill(self, stream: Stream) -> None:
        """Send what has passed, and the end if that is it."""
        while self._pieces and stream.ready:
            direction, at, data, lost = self._pieces.popleft()
            self._size -= len(data)
            _send_piece(stream, direction, at, data, lost)
        if self._pieces or not stream.ready:
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            _send_piece(stream, "", time.time(), b"", lost)
        if self._session.close_reason:
            stream.close(self._session.close_reason)

    def stop(self) -> None:
        """Let go of the session."""
        if self._remove is not None:
            self._remove()
        self._pieces.clear()


def _send_piece(stream: Stream, direction: str, at: float, data: bytes, lost: int) -> None:
    # As JSON, by hand: to have these texts looked through takes longer than all the rest.
    head = b'{"direction":"%s","time":%r,"data":"' % (direction.encode("ascii"), at)
    stream.send_encoded(b'%s%s","lost":%d}' % (head, base64.b64encode(data), lost))


class PageFeed:
    """A snapshot a second: the status, the first of the sessions, and the events since the last.

    Args:
        views: what is looked at.
        events: gathers the events.
        query: which sessions, as `Views.sessions` takes it.
    """

    log = Logger()
    every = SNAPSHOT

    def __init__(self, views: Views, events: Events, query: dict[str, Any]) -> None:
        self._views = views
        self._events = events
        self._query = query
        self._looking: Deferred[View] | None = None
        self._begun = False

    @property
    def has_more(self) -> bool:
        """Whether there is more to say before the next snapshot: never."""
        return False

    def begin(self, wake: Callable[[], None]) -> None:
        """Begin; whatever happens waits for the next snapshot."""

    def fill(self, stream: Stream) -> None:
        """Begin to look, unless it is still being looked; it is sent when all has been seen."""
        if self._looking is not None:
            return
        if not self._begun:
            self._begun = True
            stream.send(self._views.history(), "history")
        self._looking = looking = Deferred.fromCoroutine(self._look())
        looking.addCallbacks(lambda view: self._send(stream, view), self._failed, (), {}, (stream,))

    async def _look(self) -> View:
        status = await self._views.status()
        return {"status": status, "sessions": await self._views.sessions(**self._query)}

    def _send(self, stream: Stream, view: View) -> None:
        self._looking = None
        if not stream.ready:
            return
        stream.send(view, "snapshot")
        self._events.send_to(stream, "event")

    def _failed(self, failure: Failure, stream: Stream) -> None:
        self._looking = None
        if not failure.check(CancelledError):
            self.log.failure("a snapshot for the page fails", failure=failure)
            stream.close("the daemon could not go on with it; its log says why")

    def stop(self) -> None:
        """Let go."""
        self._events.stop()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
