"""Server-Sent Events: an answer without end, see the HTML standard, 9.2.

Rules:
- A reader who is slower than what happens is not waited for and not queued for: while the
  connection takes nothing more, nothing is made for it. What it misses is counted by whoever feeds
  the stream, and told to it in its place.
- A reader who keeps up hears of what happens at once; as much as the connection takes at a time,
  and when it is the admin side's turn.
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
from tcpd.admin.turns import soon

# Seconds without a word until a comment is sent.
KEEP_ALIVE = 15.0
# Milliseconds after which a reader should connect again.
RETRY = 1000


class Feed(Protocol):
    """What fills a stream."""

    every: float
    """Seconds between two calls of `fill`, if nothing else asks for one."""

    @property
    def has_more(self) -> bool:
        """Whether there is more to say at once, when the reader takes it."""

    def begin(self, wake: Callable[[], None], /) -> None:
        """Begin; `wake` asks for a call of `fill`, and may be called often."""

    def fill(self, stream: Stream, /) -> None:
        """Send what there is to say, while the stream is ready; called while it is."""

    def stop(self) -> None:
        """Let go of everything: the reader is gone. Called once."""


@implementer(IPushProducer)
class Stream:
    """A stream of events to one reader.

    Args:
        request: the request that it answers.
        clock: the reactor.
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
        self._waits = False  # for its turn to be filled
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
        self._feed.begin(self._wake)
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
        if self._feed.has_more:
            self._wake()

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
        self._wake()

    def _wake(self) -> None:
        if self.ready and not self._waits:
            self._waits = True
            soon(self._clock, self._fill)

    def _fill(self) -> None:
        self._waits = False
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
