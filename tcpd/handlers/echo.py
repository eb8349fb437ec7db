"""`echo`: every byte comes back, in order (RFC 862).

A peer that shuts down its side still gets all it sent; then the connection closes.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IHalfCloseableProtocol, ITransport
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class EchoProtocol(Protocol):
    """Writes what it receives."""

    transport: ITransport

    def dataReceived(self, data: bytes) -> None:
        """Send the bytes back."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """The peer has said everything: close when the last byte is on its way back."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nobody shuts down our side alone, so there is nothing to do."""


@dataclass
class Echo(Factory[EchoProtocol]):
    """Send everything back as it came (RFC 862)."""

    noisy = False
    protocol = EchoProtocol
