"""The format `pcapng`: a session as packets of a TCP connection."""

from __future__ import annotations

from tcpd import __version__
from tcpd.capture import pcapng
from tcpd.capture.frames import Connection
from tcpd.capture.track import Lost, Side, Subject

SYNTHETIC = (
    "These packets are synthetic: tcpd has made them of the bytes of its sessions, as its handlers"
    " read and wrote them. Bytes, addresses and times are true; headers, sequence numbers,"
    " acknowledgements, handshakes and ends of connections are made up. What TLS encrypted is in"
    " the clear. Sessions over UNIX sockets have placeholder addresses of 192.0.2.0/24."
)


class Packets:
    """Writes pcapng files."""

    def header(self, name: str) -> bytes:
        """Return a section and its interface."""
        about = f"sessions of {name}, synthetic packets"
        return pcapng.section(SYNTHETIC, f"tcpd {__version__}") + pcapng.interface(
            "tcpd", about, SYNTHETIC
        )

    def track(self, subject: Subject) -> PacketTrack:
        """Return what writes one session."""
        return PacketTrack(subject)

    def trailer(self, at: int, lost: Lost) -> bytes:
        """Return the statistics, which count what is missing."""
        return pcapng.statistics(at, lost.pieces, _words(lost))


class PacketTrack:
    """Writes one session as packets.

    Args:
        subject: the session.
    """

    __slots__ = ("_connection", "_subject")

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._connection = Connection(
            subject.peer,
            subject.local,
            peer_began=subject.who.role == "listener",
            number=subject.number,
        )

    def begin(self, at: int, lost: Lost | None) -> bytes:
        """Return the handshake."""
        return self._blocks(at, self._connection.handshake(), lost, self._about())

    def amid(self, at: int, received: int, sent: int, lost: Lost | None) -> bytes:
        """Return a bare acknowledgement, which says where the session was."""
        packets = self._connection.amid(received, sent)
        words = f"{self._about()}; captured after {received} bytes in and {sent} bytes out"
        return self._blocks(at, packets, lost, words)

    def data(self, at: int, side: Side, data: bytes, lost: Lost | None) -> bytes:
        """Return packets with bytes."""
        packets = self._connection.data(data, from_peer=side == "in")
        if lost is None and len(packets) == 1:
            inbound = pcapng.INBOUND if packets[0][0] else pcapng.OUTBOUND
            return pcapng.packet(at, packets[0][1], inbound)
        return self._blocks(at, packets, lost)

    def skip(self, side: Side, size: int) -> None:
        """Leave a gap."""
        self._connection.skip(size, from_peer=side == "in")

    def finish(self, at: int, side: Side, lost: Lost | None) -> bytes:
        """Return one side's FIN, unless there was one."""
        return self._blocks(at, self._connection.finish(from_peer=side == "in"), lost)

    def close(self, at: int, first: Side, reason: str, lost: Lost | None) -> bytes:
        """Return the FINs that are missing."""
        packets = self._connection.finish(from_peer=first == "in")
        packets += self._connection.finish(from_peer=first != "in")
        return self._blocks(at, packets, lost, f"closed: {reason}")

    def reset(self, at: int, by: Side, reason: str, lost: Lost | None) -> bytes:
        """Return an RST."""
        packets = self._connection.reset(by_peer=by == "in")
        return self._blocks(at, packets, lost, f"closed: {reason}")

    def stop(self, at: int, why: str, lost: Lost | None) -> bytes:
        """Return a bare acknowledgement, which says why no more comes."""
        packets = [(False, self._connection.local.packet(16))]
        return self._blocks(at, packets, lost, why)

    def _about(self) -> str:
        who = self._subject.who
        words = [f"session {who.session_id}", f"{who.role} {who.listener}"]
        if self._subject.encrypted:
            words.append("TLS, shown in the clear")
        if self._subject.placeholders:
            words.append("a UNIX socket, with placeholder addresses")
        return ", ".join(words)

    def _blocks(
        self, at: int, packets: list[tuple[bool, bytes]], lost: Lost | None, comment: str = ""
    ) -> bytes:
        blocks = []
        if lost is not None:
            comment = f"{comment}; {_words(lost)}" if comment else _words(lost)
        for from_peer, data in packets:
            direction = pcapng.INBOUND if from_peer else pcapng.OUTBOUND
            blocks.append(pcapng.packet(at, data, direction, comment))
            comment = ""
        return b"".join(blocks)


def _words(lost: Lost) -> str:
    return f"tcpd has lost {lost} before this"
