"""What a port asks and tells the factory that it accepts connections for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from tcpd.net.sockets import ServerTransport


class Place(Protocol):
    """What a connection holds for as long as it lasts."""

    def leave(self) -> object:
        """The connection is over. It may be told twice, and must not raise."""


@runtime_checkable
class Acceptor(Protocol):
    """A factory that decides about a connection itself: tcpd's own listeners."""

    def admits(self, address: IAddress, /) -> Place | None:
        """Give a peer a place, or None if it is to be closed; asked before anything is built.

        `transport.place` is left when the descriptor is closed, whatever becomes of it before.
        """

    def accept_failed(self, reason: str, /) -> None:
        """Accepting failed: `starved` of descriptors or memory, or a connection had `failed`."""

    def arriving(self, transport: ServerTransport, /) -> None:
        """An admitted connection isn't open at once: it has a PROXY header or a handshake to do.

        `transport.stage` says what it waits for, and `stage_since` since when; nobody but the
        acceptor minds how long. `accept` or `abandoned` follows, or an `identified` that says no.
        """

    def identified(self, transport: ServerTransport, /) -> bool:
        """Whether a peer may come in whose PROXY header is there; if not, it is closed.

        `transport.getPeer()` is the client's address now, and `transport.proxy` all that was told.
        If it told no address (`transport.proxy.source` is None), the peer is the proxy itself.
        """

    def accept(self, transport: ServerTransport, /) -> None:
        """Take an open connection: set `transport.protocol` and call its `makeConnection`.

        With a PROXY header or TLS this comes after both. What it raises aborts the connection.
        """

    def abandoned(self, transport: ServerTransport, reason: Failure, /) -> None:
        """A connection that was admitted ended, and nobody else will be told.

        Its PROXY header or its handshake failed, or `accept` raised before it had set
        `transport.observer`. `transport.close_cause` says how it ended, `transport.stage` what it
        waited for; `transport.getPeer()` still answers.
        """
