"""Reads pcapng files of TCP/IP packets, apart from what writes them, and holds them to the rules.

Sources: draft-ietf-opsawg-pcapng, RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@dataclass
class Packet:
    """A packet of TCP."""

    at: int
    inbound: bool
    comment: str
    source: str
    target: str
    ports: tuple[int, int]
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    data: bytes

    @property
    def sender(self) -> tuple[str, int]:
        return self.source, self.ports[0]

    @property
    def receiver(self) -> tuple[str, int]:
        return self.target, self.ports[1]


@dataclass
class File:
    """A pcapng file."""

    sections: list[dict[int, Any]] = field(default_factory=list)
    interfaces: list[dict[int, Any]] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    dropped: int = 0


def read(data: bytes) -> File:
    """Return what is in a file; fails at whatever breaks a rule."""
    file = File()
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(">II", data, place)
        assert size % 4 == 0
        assert size >= 12
        assert struct.unpack_from(">I", data, place + size - 4) == (size,)
        body = data[place + 8 : place + size - 4]
        if kind == 0x0A0D0D0A:
            assert struct.unpack_from(">IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
            file.sections.append(_options(body[16:]))
        elif kind == 1:
            assert struct.unpack_from(">HHI", body) == (101, 0, 0)
            file.interfaces.append(_options(body[8:]))
            assert file.interfaces[-1][9] == b"\x09"
        elif kind == 6:
            interface, high, low, captured, original = struct.unpack_from(">IIIII", body)
            assert interface == 0
            assert captured == original
            assert len(file.interfaces) == len(file.sections)
            end = 20 + captured
            options = _options(body[end + -captured % 4 :])
            assert not any(body[end : end + -captured % 4])
            packet = _packet(body[20:end])
            packet.at = high << 32 | low
            packet.inbound = {1: True, 2: False}[int.from_bytes(options[2], "big")]
            packet.comment = options.get(1, b"").decode()
            file.packets.append(packet)
        else:
            assert kind == 5
            file.dropped = int.from_bytes(_options(body[12:])[5], "big")
        place += size
    return file


def _options(data: bytes) -> dict[int, bytes]:
    options = {}
    place = 0
    while True:
        code, size = struct.unpack_from(">HH", data, place)
        value = data[place + 4 : place + 4 + size]
        place += 4 + size + -size % 4
        if code == 0:
            assert size == 0
            assert place == len(data)
            return options
        options[code] = value


def checksum(data: bytes) -> int:
    """Return the sum of RFC 1071, word by word; 0 if the checksum in it is right."""
    data += b"\0" * (len(data) % 2)
    total = sum(word for (word,) in struct.iter_unpack(">H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _packet(data: bytes) -> Packet:
    if data[0] >> 4 == 4:
        assert data[0] == 0x45
        assert struct.unpack_from(">H", data, 2) == (len(data),)
        assert data[9] == 6
        assert checksum(data[:20]) == 0
        hosts, segment = data[12:20], data[20:]
        pseudo = hosts + struct.pack(">HH", 6, len(segment))
    else:
        assert data[0] >> 4 == 6
        assert data[6] == 6
        hosts, segment = data[8:40], data[40:]
        assert struct.unpack_from(">H", data, 4) == (len(segment),)
        pseudo = hosts + struct.pack(">II", len(segment), 6)
    assert checksum(pseudo + segment) == 0
    half = len(hosts) // 2
    source, target = (str(ipaddress.ip_address(each)) for each in (hosts[:half], hosts[half:]))
    port, other, seq, ack, offset, flags, window = struct.unpack_from(">HHIIBBH", segment)
    start = offset >> 4 << 2
    return Packet(
        0, False, "", source, target, (port, other), seq, ack, flags, window,
        segment[20:start], segment[start:],
    )  # fmt: skip


@dataclass
class Conversation:
    """A connection, put together from its packets."""

    began: tuple[str, int]
    """Who sent the first packet."""
    other: tuple[str, int]
    packets: list[Packet]
    sent: dict[tuple[str, int], bytes]
    """The bytes of each side."""
    finished: list[tuple[str, int]]
    """Who has said that there is no more, in order."""
    reset: tuple[str, int] | None = None


def conversations(packets: list[Packet]) -> list[Conversation]:
    """Put packets together; fails where numbers don't follow, or a side acknowledges too much."""
    return [_follow(each) for each in _apart(packets)]


def _apart(packets: list[Packet]) -> Iterator[list[Packet]]:
    open_: dict[frozenset[tuple[str, int]], list[Packet]] = {}
    for packet in packets:
        key = frozenset((packet.sender, packet.receiver))
        if packet.flags & (SYN | ACK) == SYN and key in open_:
            yield open_.pop(key)
        open_.setdefault(key, []).append(packet)
    yield from open_.values()


def _follow(packets: list[Packet]) -> Conversation:
    first = packets[0]
    found = Conversation(first.sender, first.receiver, packets, {}, [])
    following: dict[tuple[str, int], int] = {}
    at = 0
    for packet in packets:
        assert packet.at >= at
        at = packet.at
        me, them = packet.sender, packet.receiver
        assert me not in found.finished or not packet.data
        assert found.reset is None
        assert packet.seq == following.setdefault(me, packet.seq), "numbers don't follow"
        found.sent[me] = found.sent.get(me, b"") + packet.data
        extra = bool(packet.flags & SYN) + bool(packet.flags & FIN)
        following[me] = (packet.seq + len(packet.data) + extra) & 0xFFFFFFFF
        if packet.flags & ACK:
            assert packet.ack == following.setdefault(them, packet.ack), "acknowledges wrongly"
        if packet.flags & FIN:
            found.finished.append(me)
        if packet.flags & RST:
            found.reset = me
    return found
