"""One connection of the client's: what comes in, how it ended, and in words for people.

`Wire` is the protocol; it hands everything to its owner, and tells an ending in order from one
that was cut. Of the three ways a conversation can end, only the owner knows which was meant.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Any, cast
from typing import Protocol as Interface

from twisted.internet import error
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpd.client.target import format_host
from tcpd.escape import escape_text
from tcpd.units import format_duration


class Owner(Interface):
    """Who a connection belongs to."""

    def received(self, data: bytes) -> None:
        """Take what the peer said."""

    def peer_ended(self) -> None:
        """Learn that the peer has said everything (FIN, or close_notify)."""

    def lost(self, cut: str) -> None:
        """Learn that the connection is over; nothing comes after.

        Args:
            cut: why, in words, if it was cut; empty if it ended in order.
        """


@implementer(IHalfCloseableProtocol)
class Wire(Protocol):
    """The client's end of a connection.

    Args:
        owner: who is told what happens.
    """

    transport: Any

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.received = 0
        self.sent = 0
        self.peer_ended = False
        self.half_closed = False

    @property
    def unsent(self) -> int:
        """How many of the bytes to send the kernel has not taken."""
        taken: int = getattr(self.transport, "bytes_out", self.sent)
        return self.sent - taken

    def totals(self, lasted: float) -> str:
        """Return what passed in both directions, for the details; `lasted` is in seconds."""
        return (
            f"sent {self.sent - self.unsent} bytes, received {self.received} bytes "
            f"in {format_duration(lasted)}"
        )

    def send(self, data: bytes) -> None:
        """Send bytes; what has been half-closed sends nothing more."""
        if not self.half_closed:
            self.sent += len(data)
            self.transport.write(data)

    def half_close(self) -> None:
        """Send what is queued, then the end of our side; the peer may still speak."""
        if self.half_closed:
            return
        self.half_closed = True
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Send what is queued, then close."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Count and hand on."""
        self.received += len(data)
        self._owner.received(data)

    def readConnectionLost(self) -> None:
        """Take the peer's end; with ours before it the conversation is over."""
        self.peer_ended = True
        self._owner.peer_ended()

    def writeConnectionLost(self) -> None:
        """Our end is sent: nothing to do, the owner asked for it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the owner how it ended."""
        self._owner.lost(why_cut(cast(BaseException, reason.value)))


def why_cut(reason: BaseException) -> str:
    """Return in words why a connection was cut, or an empty text if it ended in order."""
    if isinstance(reason, error.ConnectionDone):
        return ""
    if isinstance(reason, error.ConnectionAborted):
        return "aborted"
    return plain(reason)


def plain(reason: BaseException) -> str:
    """Return an error of the socket's in plain words, without numbers and class names."""
    if isinstance(reason, ssl.SSLEOFError):
        return "the connection was cut without TLS's own goodbye (truncated)"
    number = _errno(reason)
    if number == errno.ECONNRESET:
        return "connection reset by the peer"
    if number == errno.EPIPE:
        return "the peer has closed and takes nothing more"
    if number:
        return os.strerror(number).lower()
    if isinstance(reason, error.TimeoutError):
        return "timed out"
    if isinstance(reason, error.ConnectionLost):
        return "connection lost"
    return escape_text(str(reason) or type(reason).__name__)


def _errno(reason: BaseException) -> int:
    number = getattr(reason, "osError", None) or getattr(reason, "errno", None)
    if number is None and isinstance(reason, error.ConnectionLost) and reason.args:
        cause = reason.args[0]  # Twisted wraps what recv or send said
        number = getattr(cause, "errno", None)
    return number if isinstance(number, int) else 0


def format_address(address: IAddress) -> str:
    """Return a socket's address as people write it."""
    host = getattr(address, "host", None)
    if host is not None:
        return f"{format_host(host)}:{getattr(address, 'port', 0)}"
    name = getattr(address, "name", None)
    if name is None:
        return "unix socket"
    return f"unix:{escape_text(os.fsdecode(name))}"
