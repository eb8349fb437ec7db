"""`discard`: every byte is read and dropped, and nothing is answered (RFC 863).

The connection lasts until the peer closes it, or a deadline of the listener does.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.protocol import Factory, Protocol


class DiscardProtocol(Protocol):
    """Forgets what it receives."""

    def dataReceived(self, data: bytes) -> None:
        """Drop the bytes."""


@dataclass
class Discard(Factory[DiscardProtocol]):
    """Read everything and answer nothing (RFC 863)."""

    noisy = False
    protocol = DiscardProtocol
