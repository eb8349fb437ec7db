"""A session over a transport that isn't ours: the endpoints of other packages, as `haproxy:`.

tcpd's own transports count and guard by themselves and need nothing of this. Here a relay does it
in their place: it is the handler's transport and passes everything on to the real one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure


class Relay:
    """The transport that a handler sees; whatever isn't counted here is the real transport's.

    Attributes:
        protocol: the handler's protocol.
        observer: the session.
        bytes_in: how many bytes came in.
        bytes_out: how many bytes were written.
        close_cause: why the session ended.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.protocol: Any = None
        self.observer: Any = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.close_cause = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.bytes_out += len(data)
        self._transport.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Close, after what was written has been sent."""
        self.close_cause = self.close_cause or "handler-closed"
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self.abort_because("handler-aborted")

    def abort_because(self, cause: str) -> None:
        """Close at once, for a reason that the session's record will give."""
        self.close_cause = self.close_cause or cause
        # Not every transport can abort; closing is the next best.
        getattr(self._transport, "abortConnection", self._transport.loseConnection)()

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the handler."""
        self.bytes_in += len(data)
        try:
            self.protocol.dataReceived(data)
        except Exception:
            self._failed()

    def connection_lost(self, reason: Failure) -> None:
        """Tell the handler, then the session, that the connection is over."""
        if not self.close_cause:
            self.close_cause = "peer-closed" if reason.check(ConnectionDone) else "lost"
        if self.protocol is not None:
            try:
                self.protocol.connectionLost(reason)
            except Exception:
                self.observer.handler_failed(Failure())
        self.observer.transport_closed(reason)

    def _failed(self) -> None:
        self.observer.handler_failed(Failure())
        self.abort_because("handler-failed")
