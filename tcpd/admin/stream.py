"""Server-Sent Events: an answer without end, see the HTML standard, 9.2.

Rules:
- A reader who is slower than what happens is not waited for and not queued for: while the
  connection takes nothing more, nothing is made for it. What it misses is counted by whoever feeds
  the stream, and told to it later.
- A stream that has nothing to say says so from time to time, so that a connection that has died is
  found out, and no deadline for idle ones ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from tcpd.admin.answers import HEADERS, encode

# Seconds without a word until a comment is sent.
KEEP_ALIVE = 15.0
# Milliseconds after which a reader should connect again.
RETRY = 1000


class Feed(Protocol):
    """What fills a stream."""

    every: float
    """Seconds between two calls of `fill`."""

    def fill(self, stream: Stream, /) -> None:
        """Send what there is to say; called regularly while the reader keeps up."""

    def stop(self) -> None:
        """Let go of everything: the reader is gone. Called once."""


@implementer(IPushProducer)
class Stream:
    """A stream of events to one reader.

    Args:
        request: the request that it answers.
        clock: the reactor's clock.
        feed: what fills it.
        ended: called once when it is over.
    """

    log = Logger()

    def __init__(
        self, request: Any, clock: Any, feed: Feed, ended: Callable[[Stream], object]
    ) -> None:
        self._request = request
        self._clock = clock
        self._feed = feed
        self._ended = ended
        self._paused = False
        self._over = False
        self._call: Any = None
        self._last = clock.seconds()

    def start(self) -> None:
        """Send the head of the answer, and begin to fill."""
        request = self._request
        for name, value in HEADERS.items():
            request.responseHeaders.setRawHeaders(name, [value])
        request.responseHeaders.setRawHeaders(b"Content-Type", [b"text/event-stream"])
        # nginx, for one, would gather what has to arrive at once.
        request.responseHeaders.setRawHeaders(b"X-Accel-Buffering", [b"no"])
        request.notifyFinish().addErrback(lambda _: self._gone())
        request.registerProducer(self, True)
        request.write(b"retry: %d\n\n" % RETRY)
        self._tick()

    @property
    def ready(self) -> bool:
        """Whether the reader takes more."""
        return not (self._paused or self._over)

    def send(self, view: Any, event: str = "") -> None:
        """Send an event.

        Args:
            view: what it says, as plain data.
            event: what it is called; `message` if nothing is said.
        """
        self.send_encoded(encode(view), event)

    def send_encoded(self, data: bytes, event: str = "") -> None:
        """Send an event whose data are JSON already, on one line."""
        if self._over:
            return
        head = b"event: %s\n" % event.encode("ascii") if event else b""
        self._last = self._clock.seconds()
        self._request.write(b"%sdata: %s\n\n" % (head, data))

    def close(self, reason: str = "") -> None:
        """End it politely; `reason` is told in an event `end`."""
        if self._over:
            return
        if reason:
            self.send({"reason": reason}, "end")
        self._end()
        self._request.unregisterProducer()
        self._request.finish()

    def pauseProducing(self) -> None:
        """The reader takes no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The reader takes more."""
        self._paused = False

    def stopProducing(self) -> None:
        """The connection is over."""
        self._gone()

    def _gone(self) -> None:
        if not self._over:
            self._end()

    def _end(self) -> None:
        self._over = True
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        self._feed.stop()
        self._ended(self)

    def _tick(self) -> None:
        self._call = self._clock.callLater(self._feed.every, self._tick)
        if not self.ready:
            return
        try:
            self._feed.fill(self)
        except Exception:
            self.log.failure("a stream of the admin side fails")
            self.close("the daemon could not go on with it; its log says why")
            return
        if self.ready and self._clock.seconds() - self._last >= KEEP_ALIVE:
            self._last = self._clock.seconds()
            self._request.write(b":\n\n")
