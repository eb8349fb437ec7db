"""`daytime`: the date and time for people, on one line, then the connection closes (RFC 867).

The RFC leaves the form open; this is the first one it suggests, always in English and in UTC:
`Tuesday, February 22, 1982 17:37:43-UTC`, ended by CRLF.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, Protocol

# Not strftime's %A and %B: those follow the locale of the process.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def format_daytime(seconds: float) -> bytes:
    """Return the line for a time in seconds since 1970."""
    at = time.gmtime(seconds)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}-UTC"
    return f"{day}, {month} {at.tm_mday}, {at.tm_year} {clock}\r\n".encode("ascii")


class DaytimeProtocol(Protocol):
    """Says the time and closes.

    Args:
        now: gives the seconds since 1970.
    """

    transport: ITransport

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(format_daytime(self._now()))
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Drop what the peer says meanwhile."""


@dataclass
class Daytime(Factory[DaytimeProtocol]):
    """Say the date and time in words and close (RFC 867)."""

    now: Callable[[], float] = field(default=time.time, init=False, repr=False, compare=False)
    """Gives the seconds since 1970; no option, but a test may replace it."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> DaytimeProtocol:
        """Return the protocol of one connection."""
        return DaytimeProtocol(self.now)
