"""What fills streams: events as they happen, the bytes of a session, snapshots for the page.

Rules:
- Between two fills a feed keeps a bounded amount. What comes beyond it is dropped, counted, and
  told with what comes next; nobody who reads slowly costs more than that.
- An event is subscribed to while somebody reads it, and a session tapped, and no longer.
"""

from __future__ import annotations

import base64
import itertools
import socket
import time
from collections import deque
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.admin.stream import Stream
from tcpd.admin.views import View, Views
from tcpd.event_names import EventPattern, handler_event_name
from tcpd.events import Bus, Event, HandlerEvent, SessionEvent, event_classes
from tcpd.session import RUN, Session
from tcpd.sinks.record import Record, Source
from tcpd.taps import add_tap

# Seconds between two fills. It is what a person takes for at once, and costs next to nothing.
SOON = 0.1
# Events that are kept from one fill to the next, and what they may take in bytes.
EVENTS = 1000
EVENTS_SIZE = 4 * 2**20
# Bytes of a session that are kept from one fill to the next: 2.5 MB a second is more than anybody
# can read, and what it takes to encode them holds the loop for a millisecond.
TAPPED = 256 * 1024
# Pieces of them: a session that moves them byte by byte shall not fill the memory with objects.
PIECES = 2000
# Seconds between two snapshots for the page, and events in one.
SNAPSHOT = 1.0
SNAPSHOT_EVENTS = 100


class Events:
    """Gathers the events that somebody wants.

    Args:
        bus: where they pass.
        pattern: which, by name.
        listener: those about this listener or connector only; empty for all.
        most: how many are kept until they are taken.
    """

    def __init__(
        self, bus: Bus, pattern: EventPattern, listener: str = "", most: int = EVENTS
    ) -> None:
        self._pattern = pattern
        self._listener = listener
        self._most = most
        self._numbers = itertools.count(1)
        self._source = Source(host=socket.gethostname(), run=RUN)
        self._kept: deque[Record] = deque()
        self._size = 0
        self.lost = 0
        self._unsubscribe = [
            bus.subscribe(kind, self._note)
            for kind in event_classes()
            if kind is not HandlerEvent and pattern.matches(kind.event_name)
        ]
        if not pattern.is_only_ours:
            self._unsubscribe.append(bus.subscribe(HandlerEvent, self._note_handlers_own))

    def stop(self) -> None:
        """Gather no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._kept.clear()

    def take(self) -> Record | None:
        """Return the oldest that is kept, which is then kept no more; None if there is none."""
        if not self._kept:
            return None
        record = self._kept.popleft()
        self._size -= record.size
        return record

    def take_lost(self) -> int:
        """Return how many were dropped since this was asked last."""
        lost, self.lost = self.lost, 0
        return lost

    def _note_handlers_own(self, event: HandlerEvent) -> None:
        if self._pattern.matches(handler_event_name(event.name)):
            self._note(event)

    def _note(self, event: Event) -> None:
        if self._listener and _place_of(event) != self._listener:
            return
        if len(self._kept) >= self._most or self._size >= EVENTS_SIZE:
            self.lost += 1
            return
        record = Record(event, time.time_ns(), next(self._numbers), self._source)
        self._kept.append(record)
        self._size += record.size


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

    every = SOON

    def __init__(self, events: Events) -> None:
        self._events = events

    def fill(self, stream: Stream) -> None:
        """Send what has happened."""
        while stream.ready and (record := self._events.take()) is not None:
            stream.send_encoded(record.line.encode("ascii"))
        if stream.ready and (lost := self._events.take_lost()):
            stream.send({"lost": lost}, "lost")

    def stop(self) -> None:
        """Let go."""
        self._events.stop()


class TapFeed:
    """The bytes of a session as they pass.

    Args:
        session: whose; its transport can be tapped.
    """

    every = SOON

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pieces: deque[tuple[str, float, bytes]] = deque()
        self._size = 0
        self._lost = 0
        self._remove = add_tap(session.transport, self._heed)

    @property
    def possible(self) -> bool:
        """Whether this session can be tapped."""
        return self._remove is not None

    def _heed(self, direction: str, data: bytes) -> None:
        room = TAPPED - self._size
        if room <= 0 or len(self._pieces) >= PIECES:
            self._lost += len(data)
            return
        self._lost += max(0, len(data) - room)
        piece = data[:room]
        self._pieces.append((direction, time.time(), piece))
        self._size += len(piece)

    def fill(self, stream: Stream) -> None:
        """Send what has passed, and the end if that is it."""
        while self._pieces and stream.ready:
            direction, at, data = self._pieces.popleft()
            self._size -= len(data)
            text = base64.b64encode(data).decode("ascii")
            stream.send({"direction": direction, "time": at, "data": text, "lost": 0})
        if self._pieces or not stream.ready:
            return
        if self._lost:
            # It is missing behind what came before; where exactly nobody could say.
            lost, self._lost = self._lost, 0
            stream.send({"direction": "", "time": time.time(), "data": "", "lost": lost})
        if self._session.close_reason:
            stream.close(self._session.close_reason)

    def stop(self) -> None:
        """Let go of the session."""
        if self._remove is not None:
            self._remove()
        self._pieces.clear()


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
        # The latest matter: what nobody could read goes by.
        while stream.ready and (record := self._events.take()) is not None:
            stream.send_encoded(record.line.encode("ascii"), "event")
        if stream.ready and (lost := self._events.take_lost()):
            stream.send({"lost": lost}, "lost")

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
