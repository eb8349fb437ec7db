"""A session over a transport that isn't ours: the endpoints of other packages, as `haproxy:`.

tcpd's own transports count and guard by themselves and need nothing of this. Here a relay does it
in their place: it is the handler's transport and passes everything on to the real one.

Rules:
- The handler can't tell a relay from tcpd's own transports, so far as the real one allows it.
- Whatever the handler's callbacks raise ends this session alone, with one report.
- After the end, and after a failure, the handler hears nothing more but that it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy


class Relay:
    """The transport that a handler sees; whatever isn't counted here is the real transport's.

    Args:
        transport: the real transport, connected.
        clock: for the times of the last read and write.

    Attributes:
        protocol: the handler's protocol.
        observer: the session.
        bytes_in: how many bytes came in.
        bytes_out: how many bytes were written.
        last_read: when bytes last came in, in seconds of the clock.
        last_write: when bytes were last written, likewise.
        close_cause: why the session ended.
        pauses: how often reading has waited for the peer; that is the real transport's matter.
        tls: what the real transport knows of TLS; None for most.
    """

    def __init__(self, transport: Any, clock: IReactorTime) -> None:
        self._transport = transport
        self._clock = clock
        self._ended = False
        self._peer = transport.getPeer()
        self._host = transport.getHost()
        self.protocol: Any = None
        self.observer: Any = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.last_read = self.last_write = clock.seconds()
        self.close_cause = ""
        self.pauses = 0
        self.tls = getattr(transport, "tls", None)
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def getPeer(self) -> Any:
        """Return the peer's address; after the end, the last one that was known."""
        self._peer = self._address("getPeer", self._peer)
        return self._peer

    def getHost(self) -> Any:
        """Return our own address; after the end, the last one that was known."""
        self._host = self._address("getHost", self._host)
        return self._host

    def _address(self, which: str, known: object) -> object:
        try:
            return getattr(self._transport, which)()
        except (AttributeError, OSError):  # Twisted's own have no socket any more
            return known

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.bytes_out += len(data)
        self.last_write = self._clock.seconds()
        self._transport.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Close, after what was written has been sent."""
        self._blame("handler-closed")
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self.abort_because("handler-aborted")

    def abort_because(self, cause: str) -> None:
        """Close at once, for a reason that the session's record will give."""
        self._blame(cause)
        self._ended = True
        # Not every transport can abort; closing is the next best.
        abort = getattr(self._transport, "abortConnection", None)
        (abort or self._transport.loseConnection)()

    def close_because(self, cause: str) -> None:
        """Close as `loseConnection` does, for a reason that the session's record will give."""
        self._blame(cause)
        self._transport.loseConnection()

    @property
    def queued(self) -> int:
        """How many bytes wait for the peer; 0 if the real transport can't say."""
        return getattr(self._transport, "queued", 0)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the handler."""
        if self._ended:
            return
        if not self.bytes_in:
            self._look_at_peer()
        self.bytes_in += len(data)
        self.last_read = self._clock.seconds()
        self.perform(self.protocol.dataReceived, data)

    def read_connection_lost(self) -> None:
        """The peer sends no more: tell a handler that asked for it, else finish what is queued."""
        if self._ended:
            return
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is None:
            self._blame("peer-closed")
            self._transport.loseConnection()
        else:
            self.perform(half_closeable.readConnectionLost)

    def write_connection_lost(self) -> None:
        """Our side is shut down: tell a handler that asked for it."""
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None and not self._ended:
            self.perform(half_closeable.writeConnectionLost)

    def connection_lost(self, reason: Failure) -> None:
        """Tell the handler, then the session, that the connection is over."""
        self._ended = True
        # One of ours may be below another package's; it knows best.
        self._blame(getattr(self._transport, "close_cause", ""))
        if getattr(self._transport, "disconnecting", False):
            self._blame("handler-closed")  # or whoever else on our side holds the real transport
        self._blame("peer-closed" if reason.check(ConnectionDone) else "lost")
        if not self.bytes_in:
            self._look_at_peer()
        if self.protocol is not None:
            try:
                self.protocol.connectionLost(reason)
            except BaseException:
                self.observer.handler_failed(Failure())
        self.observer.transport_closed(reason)

    def perform(self, step: Callable[..., object], *arguments: object) -> None:
        """Run a callback of the handler's; what it raises ends the session."""
        try:
            step(*arguments)
        except BaseException:
            self.observer.handler_failed(Failure())
            self.abort_because("handler-failed")

    def _look_at_peer(self) -> None:
        """See whether a proxy has told who the peer really is, since the session began."""
        before = self._peer
        if self.getPeer() != before:
            self.observer.addresses_changed()

    def _blame(self, cause: str) -> None:
        """The first cause is the one that counts."""
        self.close_cause = self.close_cause or cause
