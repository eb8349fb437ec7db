"""From the acceptance of a connection to its session: what a port does with each in between."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any, ClassVar

from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.net.acceptor import Acceptor
from tcpd.net.proxy_stage import HeaderStage
from tcpd.net.sockets import ServerTransport
from tcpd.net.tls import ServerTLS

# Why a connection may end before its session, and what failed then.
_FAILED_BEFORE = {"tls-failed": "TLS", "proxy-invalid": "a PROXY header"}


class Reception:
    """The part of a port that sees connections through to their sessions.

    Attributes:
        tls: with it, every connection is TLS from its first byte, or from the header on.
        header_expected: whether every connection begins with a PROXY header.
    """

    log: ClassVar[Logger] = Logger()

    tls: ServerTLS | None = None
    header_expected = False
    factory: Any
    _acceptor: Acceptor | None

    def receive(self, transport: ServerTransport) -> None:
        """Have a connection get through its header or its handshake, before its session.

        What is asked of it is settled now, whatever becomes of the port meanwhile.
        """
        transport.tls_settings = self.tls
        if self.header_expected:
            HeaderStage(transport)
        else:
            transport.enter("handshake")
        if self._acceptor is not None and not transport.perform(self._acceptor.arriving, transport):
            return
        if not self.header_expected and hasattr(transport, "socket"):
            transport.begin()

    def readmits(self, transport: ServerTransport) -> bool:
        """Whether a peer may come in, now that its PROXY header has been read."""
        if self._acceptor is None:
            return True
        try:
            return self._acceptor.identified(transport)
        except Exception:
            self.log.failure("{port}: an acceptor failed", port=self)
            transport.connectionLost(Failure())
            return False

    def open_session(self, transport: ServerTransport) -> bool:
        """Give an open connection its protocol; with TLS, once the handshake is done.

        Returns:
            False if the factory or the handler failed at it, and the connection is closed.
        """
        if self._acceptor is not None:
            return transport.perform(self._acceptor.accept, transport)
        if transport.protocol is not None:
            return transport.perform(transport.protocol.makeConnection, transport)
        return transport.perform(self._build, transport)

    def _build(self, transport: ServerTransport) -> None:
        protocol = self.factory.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.loseConnection()
        else:
            transport.protocol = protocol
            protocol.makeConnection(transport)

    def session_abandoned(self, transport: ServerTransport, reason: Failure) -> None:
        """A connection ended before its session began; told to an acceptor, else logged."""
        if self._acceptor is not None:
            try:
                self._acceptor.abandoned(transport, reason)
            except Exception:
                self.log.failure("{port}: an acceptor failed", port=self)
        elif transport.close_cause in _FAILED_BEFORE:
            self.log.info(
                "{port}: {what} from {peer} failed: {problem}",
                port=self,
                what=_FAILED_BEFORE[transport.close_cause],
                peer=transport.getPeer(),
                problem=reason.getErrorMessage(),
            )
