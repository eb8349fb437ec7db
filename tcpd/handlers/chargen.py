"""`chargen`: lines of a rotating pattern, as fast as the peer reads them (RFC 864).

The transport asks for each block when it has sent the one before, so a peer that doesn't read costs
one block of memory, and one that reads fast never keeps the loop from its other sessions. What the
peer says is dropped, and its shutting down its own side changes nothing: it has only to listen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPullProducer,
)
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from tcpd.fields import Range
from tcpd.interfaces import IDrainable
from tcpd.units import ByteSize

_CHARACTERS = bytes(range(0x20, 0x7F))
_LINE = 72


def pattern_line(number: int) -> bytes:
    """Return one line of the pattern, CRLF included; line 0 begins with a space."""
    start = number % len(_CHARACTERS)
    return (_CHARACTERS * 2)[start : start + _LINE] + b"\r\n"


# The pattern repeats after 95 lines (7030 bytes). A block is a whole number of repetitions, so that
# each begins where the one before ended, and as near to 64 KiB as that allows.
BLOCK = b"".join(pattern_line(number) for number in range(len(_CHARACTERS))) * 9


@implementer(IHalfCloseableProtocol, IPullProducer, IDrainable)
class ChargenProtocol(Protocol):
    """Writes the pattern whenever its transport wants more.

    Args:
        limit: how many bytes to send before closing; None for no end.
    """

    transport: Any  # ITransport and IConsumer both

    def __init__(self, limit: int | None = None) -> None:
        self._left = limit

    def connectionMade(self) -> None:
        """Begin."""
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Write the next block, or what is left of the limit, and then close."""
        if self._left is None:
            self.transport.write(BLOCK)
            return
        block = BLOCK[: self._left]
        self._left -= len(block)
        if block:
            self.transport.write(block)
        if not self._left:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        """The connection is over; there is nothing to tidy up."""

    def drain(self) -> None:
        """Stop, as tcpd does: the pattern itself has no end."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Drop what the peer says."""

    def readConnectionLost(self) -> None:
        """The peer has said everything; that is no reason to stop sending."""

    def writeConnectionLost(self) -> None:
        """Nobody shuts down our side alone, so there is nothing to do."""


@dataclass
class Chargen(Factory[ChargenProtocol]):
    """Send lines of rotating ASCII characters without end (RFC 864)."""

    limit: Annotated[ByteSize, Range(1)] | None = None
    """Close after this many bytes; without it the peer decides when to stop."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ChargenProtocol:
        """Return the protocol of one connection."""
        return ChargenProtocol(self.limit)
