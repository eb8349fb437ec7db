"""One session in a capture: its tap, and how it begins and ends in the file."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address

from tcpd.capture.frames import Address
from tcpd.capture.track import Lost, Side, Subject, Track
from tcpd.session import Session, address_and_port
from tcpd.taps import add_tap

if TYPE_CHECKING:
    from tcpd.capture.capture import Capture


class Watch:
    """One session in a capture: its tap.

    Args:
        capture: the capture.
        session: the session.
        track: writes it.
        name: the file.
        most: so many of its bytes are written; None for all.
    """

    def __init__(
        self, capture: Capture, session: Session, track: Track, name: str, most: int | None
    ) -> None:
        self.session = session
        self.track = track
        self.name = name
        self.capture = capture
        self._left = most
        self._remove: Callable[[], None] | None = None
        self._half_closed = False

    def start(self) -> bool:
        """Begin to have copies; gives whether there are any to be had."""
        self._remove = add_tap(self.session.transport, self._tapped)
        return self._remove is not None

    def _tapped(self, direction: str, data: bytes) -> None:
        side: Side = "in" if direction == "in" else "out"
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._note_half_close()
        if data:
            self.capture.take_data(self, side, data)
        if self._left == 0:
            self.stop("session_size is reached")

    def _note_half_close(self) -> None:
        """Write that a side has finished while the other goes on, before what comes after it."""
        transport: Any = self.session.transport
        if self._half_closed or not self.capture.running:
            return
        for side, name in (("in", "peer_finished"), ("out", "write_finished")):
            if getattr(transport, name, False):
                self._half_closed = True
                self._finish("in" if side == "in" else "out")

    def _finish(self, side: Side) -> None:
        at, track = self.capture.time_ns(), self.track
        self.capture.take(self.name, 0, lambda lost: track.finish(at, side, lost))

    def mute(self) -> None:
        """Have no more copies."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()

    def stop(self, why: str) -> None:
        """Capture no more of a session that goes on."""
        self.mute()
        at, track = self.capture.time_ns(), self.track
        if self in self.capture.watches:
            self.capture.watches.discard(self)
            self.capture.take(self.name, 0, lambda lost: track.stop(at, why, lost), last=True)

    def ended(self) -> None:
        """Write how the session has ended."""
        self.mute()
        if self not in self.capture.watches:
            return
        self.capture.watches.discard(self)
        at, track, reason = self.capture.time_ns(), self.track, self.session.close_reason
        transport: Any = self.session.transport

        def make(lost: Lost | None) -> bytes:
            if reason == "peer-reset":
                return track.reset(at, "in", reason, lost)
            if getattr(transport, "was_reset", False):
                return track.reset(at, "out", reason, lost)
            return track.close(at, "in" if reason == "peer-closed" else "out", reason, lost)

        self.capture.take(self.name, 0, make, last=True)


# What stands for the addresses of UNIX sockets: of a network that no one has (RFC 5737).
_UNIX_PEER, _UNIX_LOCAL = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
_UNIX_PORT = 65_535
_FIRST_PORT, _PORTS = 1024, 64_000


def subject_of(session: Session) -> Subject:
    """Return what is to be known of a session; of one without IP addresses, with placeholders."""
    peer, local = _address(session.peer), _address(session.local)
    placeholders = peer is None or local is None
    if peer is None or local is None:
        port = _FIRST_PORT + session.number % _PORTS
        peer, local = Address(_UNIX_PEER, port), Address(_UNIX_LOCAL, _UNIX_PORT)
    return Subject(
        who=session.identity,
        peer=peer,
        local=local,
        number=session.number,
        encrypted=getattr(session.transport, "tls", None) is not None,
        placeholders=placeholders,
    )


def _address(address: object) -> Address | None:
    """Return an address as packets have it; None for one that isn't of IP."""
    if not isinstance(address, IPv4Address | IPv6Address):
        return None
    host, port = address_and_port(address)
    try:
        return Address(ip_address(host.partition("%")[0]).packed, port)
    except ValueError:
        return None
