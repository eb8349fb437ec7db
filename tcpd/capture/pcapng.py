"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng): the section, its interface, its packets.

Each function returns one whole block. All is in network byte order, so that what is copied from
a packet needs no thought. Packets are bare IP (LINKTYPE_RAW), with times in nanoseconds.
"""

from __future__ import annotations

from struct import Struct

SECTION, INTERFACE, PACKET, STATISTICS = 0x0A0D0D0A, 1, 6, 5
BYTE_ORDER = 0x1A2B3C4D
LINKTYPE_RAW = 101

# Options.
COMMENT = 1
_USER_APPLICATION = 4
_NAME, _DESCRIPTION, _RESOLUTION = 2, 3, 9
_FLAGS = 2
_DROPPED = 5

# An option's length is a number of 16 bits.
_LONGEST = 65_535

_OPTION = Struct(">HH")
_ENDS = Struct(">II")
_TAIL = Struct(">I")
_PACKET = Struct(">IIIIIII")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_END_OF_OPTIONS = _OPTION.pack(0, 0)

INBOUND, OUTBOUND = 1, 2
_DIRECTIONS = {
    each: _OPTION.pack(_FLAGS, 4) + each.to_bytes(4, "big") + _END_OF_OPTIONS
    for each in (INBOUND, OUTBOUND)
}


def section(comment: str, application: str) -> bytes:
    """Return the header of a section, whose length isn't said: it ends where the file ends."""
    body = Struct(">IHHq").pack(BYTE_ORDER, 1, 0, -1)
    options = _text(COMMENT, comment) + _text(_USER_APPLICATION, application)
    return _block(SECTION, body + options + _END_OF_OPTIONS)


def interface(name: str, description: str, comment: str) -> bytes:
    """Return an interface, to which the packets after it belong."""
    body = Struct(">HHI").pack(LINKTYPE_RAW, 0, 0)
    options = _text(_NAME, name) + _text(_DESCRIPTION, description) + _text(COMMENT, comment)
    options += _option(_RESOLUTION, b"\x09")  # 10^-9 seconds
    return _block(INTERFACE, body + options + _END_OF_OPTIONS)


def packet(at: int, data: bytes, direction: int, comment: str = "") -> bytes:
    """Return a packet.

    Args:
        at: when, in nanoseconds since 1970.
        data: the packet, from the IP header on.
        direction: `INBOUND` or `OUTBOUND`, as tcpd sees it.
        comment: what to say of it.
    """
    size = len(data)
    options = _DIRECTIONS[direction]
    if comment:
        options = _text(COMMENT, comment) + options
    padding = _PADDING[size & 3]
    total = 32 + size + len(padding) + len(options)
    head = _PACKET.pack(PACKET, total, 0, at >> 32, at & 0xFFFFFFFF, size, size)
    return b"".join((head, data, padding, options, _TAIL.pack(total)))


def statistics(at: int, dropped: int, comment: str) -> bytes:
    """Return how many packets are missing, at the end of a section."""
    body = Struct(">III").pack(0, at >> 32, at & 0xFFFFFFFF)
    options = _text(COMMENT, comment) + _option(_DROPPED, dropped.to_bytes(8, "big"))
    return _block(STATISTICS, body + options + _END_OF_OPTIONS)


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return _ENDS.pack(kind, total) + body + _TAIL.pack(total)


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value + _PADDING[len(value) & 3]


def _text(code: int, text: str) -> bytes:
    return _option(code, text.encode("utf-8", "replace")[:_LONGEST]) if text else b""
