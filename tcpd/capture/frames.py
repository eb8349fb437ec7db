"""TCP/IP packets made up around the bytes of a session, as if they had been seen on the wire.

Rules:
- Sequence and acknowledgement numbers follow from the bytes; checksums are right.
- A packet holds no more than fits into one: what a read brought at once becomes several.
- Whoever gets many bytes without saying anything acknowledges them now and then, so that nobody
  ever has more on the way than fits into the other's window.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

SEGMENT = 65_160
"""The most bytes in a packet: 45 segments of Ethernet, which a card hands over as one. It leaves
room for the headers of either IP in the 65,535 bytes that a packet can have."""
# How much is received without an acknowledgement of its own.
_UNACKNOWLEDGED = 262_144
# 65,535 << 8: as far as 16 MiB; a window in a SYN isn't scaled (RFC 7323).
_WINDOW, _SCALE = 65_535, 8
_SYN_OPTIONS = Struct(">BBHBBBBBBBB").pack(2, 4, SEGMENT, 4, 2, 1, 3, 3, _SCALE, 1, 1)

_TTL = 64
_TCP = 6
_DONT_FRAGMENT = 0x4000
_IP4 = Struct(">BBHHHBBH4s4s")
_IP6 = Struct(">IHBB16s16s")
_HEADER = Struct(">HHIIBBHHH")


@dataclass(frozen=True, slots=True)
class Address:
    """An end of a connection.

    Attributes:
        host: 4 or 16 bytes.
        port: 0 to 65535.
    """

    host: bytes
    port: int


class End:
    """One end of a connection, and what it has sent so far.

    Attributes:
        seq: the sequence number of its next byte.
        finished: whether it has said that there is no more.
        unacknowledged: how many bytes it has sent since the other end last said anything.
        allowed: how many those may become.
    """

    __slots__ = (
        "_base",
        "_hosts",
        "_ip",
        "_ports",
        "_v6",
        "allowed",
        "finished",
        "other",
        "seq",
        "unacknowledged",
    )

    other: End

    def __init__(self, mine: Address, theirs: Address, seq: int) -> None:
        self.seq = seq & 0xFFFFFFFF
        self.finished = False
        self.unacknowledged = 0
        self.allowed = _UNACKNOWLEDGED
        self._ports = (mine.port, theirs.port)
        self._v6 = len(mine.host) == 16
        self._ip = mine.host, theirs.host
        # What is the same in the checksums of all its packets: RFC 9293, 3.1.
        self._hosts = _sum(mine.host + theirs.host)
        self._base = self._hosts + _TCP + mine.port + theirs.port

    def packet(self, flags: int, data: bytes | memoryview = b"", options: bytes = b"") -> bytes:
        """Return a packet from this end; what it sends has then been sent."""
        ack = self.other.seq if flags & ACK else 0
        offset = (20 + len(options)) << 2
        length = 20 + len(options) + len(data)
        words = (offset << 8) | flags
        size = len(data)
        # A number of 32 bits is, modulo 65,535, the sum of its words.
        total = self._base + length + self.seq + ack + words + _WINDOW
        total += _sum(options) + _sum(data)
        head = _HEADER.pack(*self._ports, self.seq, ack, offset, flags, _WINDOW, -total % 0xFFFF, 0)
        self.seq = (self.seq + size + (flags & SYN and 1) + (flags & FIN and 1)) & 0xFFFFFFFF
        if flags & ACK:
            self.other.unacknowledged = 0
            self.other.allowed = _UNACKNOWLEDGED
        self.unacknowledged += size
        return b"".join((self._ip_header(length), head, options, data))

    def _ip_header(self, length: int) -> bytes:
        mine, theirs = self._ip
        if self._v6:
            return _IP6.pack(0x60000000, length, _TCP, _TTL, mine, theirs)
        length += 20
        words = 0x4500 + length + _DONT_FRAGMENT + (_TTL << 8) + _TCP
        checksum = -(words + self._hosts) % 0xFFFF
        return _IP4.pack(0x45, 0, length, 0, _DONT_FRAGMENT, _TTL, _TCP, checksum, mine, theirs)


class Connection:
    """A made-up TCP connection.

    Each method returns packets, with whether it is the peer that sends them.

    Args:
        peer: the other side.
        local: ours.
        peer_began: whether it is the peer that has connected.
        number: tells this connection from others between the same ends.
    """

    def __init__(self, peer: Address, local: Address, *, peer_began: bool, number: int) -> None:
        # Where it begins differs, or a connection would look like a repetition of an earlier one.
        seq = (number * 0x10001) & 0x3FFFFFFF
        peer, local = _same_kind(peer, local)
        self.peer = End(peer, local, seq)
        self.local = End(local, peer, seq ^ 0x20000000)
        self.peer.other, self.local.other = self.local, self.peer
        self._peer_began = peer_began

    def handshake(self) -> list[tuple[bool, bytes]]:
        """Return the three packets that a connection begins with."""
        first, second = (self.peer, self.local) if self._peer_began else (self.local, self.peer)
        packets = [
            (first is self.peer, first.packet(SYN, options=_SYN_OPTIONS)),
            (second is self.peer, second.packet(SYN | ACK, options=_SYN_OPTIONS)),
            (first is self.peer, first.packet(ACK)),
        ]
        # Of the second's window it knows only what was in a SYN, and is not to fill it.
        first.allowed = _WINDOW - 1
        return packets

    def amid(self, received: int, sent: int) -> list[tuple[bool, bytes]]:
        """Begin amid a connection, after so many bytes from the peer and to it.

        The packet is of who has connected, whom readers take for the client: they have no SYN.
        """
        self.peer.seq = (self.peer.seq + 1 + received) & 0xFFFFFFFF
        self.local.seq = (self.local.seq + 1 + sent) & 0xFFFFFFFF
        first = self.peer if self._peer_began else self.local
        return [(self._peer_began, first.packet(ACK))]

    def data(self, data: bytes, *, from_peer: bool) -> list[tuple[bool, bytes]]:
        """Return the packets for some bytes."""
        end = self.peer if from_peer else self.local
        if len(data) <= SEGMENT and end.unacknowledged + len(data) <= end.allowed:
            return [(from_peer, end.packet(PSH | ACK, data))]
        packets = []
        view = memoryview(data)
        for start in range(0, len(data), SEGMENT):
            piece = view[start : start + SEGMENT]
            if end.unacknowledged + len(piece) > end.allowed:
                packets.append((not from_peer, end.other.packet(ACK)))
            last = start + SEGMENT >= len(data)
            packets.append((from_peer, end.packet(PSH | ACK if last else ACK, piece)))
        return packets

    def skip(self, size: int, *, from_peer: bool) -> None:
        """Note bytes of which there are no packets; what follows them shows that some miss."""
        end = self.peer if from_peer else self.local
        end.seq = (end.seq + size) & 0xFFFFFFFF

    def finish(self, *, from_peer: bool) -> list[tuple[bool, bytes]]:
        """Return what says that one end sends no more: nothing, if it has said so."""
        end = self.peer if from_peer else self.local
        if end.finished:
            return []
        end.finished = True
        return [(from_peer, end.packet(FIN | ACK)), (not from_peer, end.other.packet(ACK))]

    def reset(self, *, by_peer: bool) -> list[tuple[bool, bytes]]:
        """Return the packet with which an end breaks the connection off."""
        end = self.peer if by_peer else self.local
        return [(by_peer, end.packet(RST | ACK))]


def _sum(data: bytes | memoryview) -> int:
    """Return the sum of the words of 16 bits, modulo 65,535; what is odd gets a zero byte.

    The checksum of TCP and IP is this sum in one's complement (RFC 1071), and a number is its
    digits' sum modulo one less than their base.
    """
    number = int.from_bytes(data, "big")
    return ((number << 8) if len(data) & 1 else number) % 0xFFFF


def _same_kind(one: Address, other: Address) -> tuple[Address, Address]:
    """Return two addresses of one kind: beside IPv6, IPv4 is written as IPv6 has it."""
    if len(one.host) == len(other.host):
        return one, other
    return _as_v6(one), _as_v6(other)


def _as_v6(address: Address) -> Address:
    if len(address.host) == 16:
        return address
    return Address(bytes(10) + b"\xff\xff" + address.host, address.port)
