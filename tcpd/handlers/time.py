"""`time`: the time as four bytes, then the connection closes (RFC 868).

The number is big-endian and counts the seconds since 1900-01-01 00:00 UTC. It has 32 bits: on
2036-02-07 at 06:28:16 UTC it begins again at 0, and a client has to know in which era it lives.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, Protocol

# 70 years, 17 of them leap years, as RFC 868 gives it.
SECONDS_FROM_1900_TO_1970 = 2_208_988_800


def encode_time(seconds: float) -> bytes:
    """Return the four bytes for a time in seconds since 1970."""
    return struct.pack(">I", (int(seconds // 1) + SECONDS_FROM_1900_TO_1970) % 2**32)


class TimeProtocol(Protocol):
    """Says the time and closes.

    Args:
        now: gives the seconds since 1970.
    """

    transport: ITransport

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(encode_time(self._now()))
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Drop what the peer says meanwhile."""


@dataclass
class Time(Factory[TimeProtocol]):
    """Send the time as a 32-bit number and close (RFC 868)."""

    now: Callable[[], float] = field(default=time.time, init=False, repr=False, compare=False)
    """Gives the seconds since 1970; no option, but a test may replace it."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> TimeProtocol:
        """Return the protocol of one connection."""
        return TimeProtocol(self.now)
