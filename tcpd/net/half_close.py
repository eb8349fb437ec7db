"""Each side's end of stream by itself: one side has no more to say, and the other goes on.

Rules:
- A peer that shuts down its side gets what was written for it before the protocol hears
  `connectionLost`, whether or not it knows of half-close. One that does is told, and goes on as it
  likes.
- What a producer still has for such a peer counts as written for it, for as long as it isn't silent
  for `PRODUCER_GRACE`.
- Our own end comes after all that is queued, once.
- When both sides have shut down theirs, the session is over.
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from tcpd.net.ending import Ending

# A producer that is silent for so long after the peer's end of stream counts as finished. It may
# be another connection that will never speak again, and whose owner only waits for our end.
PRODUCER_GRACE = 10.0


class HalfClose(Ending):
    """The two ends of stream; `StreamTransport` makes a transport of it."""

    # Whether the session ends as soon as all that is to come for the peer is sent.
    _draining = False
    _write_shut_down = False
    _grace_call: Any = None

    @property
    def peer_finished(self) -> bool:
        """Whether the peer has said that it sends no more."""
        return self._peer_finished

    @property
    def write_finished(self) -> bool:
        """Whether we have said that we send no more."""
        return self._write_shut_down

    def loseWriteConnection(self) -> None:
        """Send what is queued, then no more; of a session that is over, nothing."""
        # Once: to ask whether such a socket is writable makes epoll say that it is gone, when the
        # peer has finished as well, even if there is something to read.
        if self.connected and not self._writeDisconnecting:
            super().loseWriteConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer sends no more: tell a protocol that asked for it, else finish what is queued."""
        if not self.connected:  # an attempt to connect that came to nothing
            self.connectionLost(reason)
            return
        self._peer_finished = True
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None:
            self.perform(half_closeable.readConnectionLost)
            if self._both_finished() and self._postLoseConnection():
                self.connectionLost(reason)
        elif self._nothing_to_come() and not self.queued and self._postLoseConnection():
            self.connectionLost(reason)
        else:
            self._draining = True
            self.startWriting()

    def _both_finished(self) -> bool:
        """Whether neither side has more to say, so that nothing would ever end the session."""
        return bool(self.connected and self._peer_finished and self._writeDisconnected)

    def _nothing_to_come(self) -> bool:
        return self.producer is None or self._writeDisconnected

    def _drained(self) -> BaseException | None:
        """What ends a session whose peer has finished, once nothing more is to come for it."""
        if not self.connected or self.queued:
            return None
        if self._nothing_to_come():
            return self._postLoseConnection()
        if self._grace_call is None:
            self._grace_call = self.reactor.callLater(PRODUCER_GRACE, self._grace_over)
        return None

    def _grace_over(self) -> None:
        self._grace_call = None
        silence = self.reactor.seconds() - self.last_write
        if self.queued or silence < PRODUCER_GRACE:
            wait = max(PRODUCER_GRACE - silence, 0.1 * PRODUCER_GRACE)
            self._grace_call = self.reactor.callLater(wait, self._grace_over)
        else:
            self.connectionLost(Failure(CONNECTION_DONE))

    def _postLoseConnection(self) -> BaseException | None:
        """Everything is sent: what the session ends with, or None if a farewell has to wait."""
        return CONNECTION_DONE

    def _closeWriteConnection(self) -> None:
        if self._write_shut_down:  # Twisted's doWrite comes here whenever it is called again
            return
        self._write_shut_down = True
        self._shut_down_write()
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None:
            half_closeable.writeConnectionLost()  # doWrite minds what this raises

    def _shut_down_write(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone; reading will say so

    def loseConnection(self) -> None:
        """Close when everything is sent; never in this call, which a callback may be making."""
        if self.connected and self._writeDisconnected and not self.disconnecting:
            self.disconnecting = 1
            self.stopReading()
            self.reactor.callLater(0, self._close_half_closed)
        else:
            super().loseConnection()

    def _close_half_closed(self) -> None:
        if self.connected and not self._aborting and self._postLoseConnection():
            self.connectionLost(Failure(CONNECTION_DONE))

    def connectionLost(self, reason: Failure) -> None:
        """End the session, and wait for no producer any more."""
        if self._grace_call is not None:
            self._grace_call.cancel()
            self._grace_call = None
        super().connectionLost(reason)
