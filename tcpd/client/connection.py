"""One connection of the client's: what comes in, how it ended, and in words for people.

`Wire` is the protocol; it hands everything to its owner, and tells an ending in order from one
that was cut. Of the three ways a conversation can end, only the owner knows which was meant.
"""

from __future__ import annotations

import os
from typing import Any
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
        self._closing = False

    @property
    def unsent(self) -> int:
        """How many of the bytes to send the kernel has not taken."""
        taken: int = self.transport.bytes_out
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
        self._closing = True
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
        # A UNIX socket whose peer has closed hangs up on us too, before we can close in order.
        all_said = self.peer_ended and self._closing and not self.unsent
        in_order = all_said or reason.check(error.ConnectionDone) is not None
        self._owner.lost("" if in_order else self._why_cut())

    def _why_cut(self) -> str:
        cause = self.transport.close_cause
        if cause == "lost" and self.transport.tls is not None:
            return "cut without TLS's own goodbye (close_notify); what came may not be all"
        return _CUT.get(cause, "the connection was lost")


_CUT = {
    "peer-reset": "connection reset by the peer",
    "tls-failed": "the peer broke TLS off; perhaps it demands a certificate (--cert)",
    "handler-aborted": "aborted",
}


def format_address(address: IAddress) -> str:
    """Return a socket's address as people write it."""
    host = getattr(address, "host", None)
    if host is not None:
        return f"{format_host(host)}:{getattr(address, 'port', 0)}"
    name = getattr(address, "name", None)
    if name is None:
        return "unix socket"
    return f"unix:{escape_text(os.fsdecode(name))}"
