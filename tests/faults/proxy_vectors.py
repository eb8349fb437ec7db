"""Headers of the PROXY protocol, versions 1 and 2, and what the specification has receivers do.

They are made here from the specification (HAProxy's proxy-protocol.txt), not by tcpd's own encoder.
"""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REFUSED = None
OWN = "own"
"""The connection's own address, since the header tells none."""

_LONGEST = b"ffff:" * 7 + b"ffff"
CLIENT = ("192.0.2.1", 56324)
CLIENT6 = ("2001:db8::1", 56324)

Verdict = tuple[str, int] | str | None


def crc32c(data: bytes) -> int:
    """Return the CRC-32c of RFC 3720, appendix B.4, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def tlv(kind: int, value: bytes) -> bytes:
    """Return an extension of version 2."""
    return struct.pack(">BH", kind, len(value)) + value


def tcp4(client: tuple[str, int] = CLIENT) -> bytes:
    """Return the addresses of TCP over IPv4."""
    ports = struct.pack(">HH", client[1], 443)
    return socket.inet_aton(client[0]) + socket.inet_aton("198.51.100.2") + ports


def tcp6(client: tuple[str, int] = CLIENT6) -> bytes:
    """Return the addresses of TCP over IPv6."""
    both = [socket.inet_pton(socket.AF_INET6, each) for each in (client[0], "2001:db8::2")]
    return b"".join(both) + struct.pack(">HH", client[1], 443)


def v2(body: bytes, family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    """Return a header of version 2."""
    size = len(body) if length is None else length
    return SIGNATURE + struct.pack(">BBH", command, family, size) + body


def checked(body: bytes, family: int = 0x11, error: int = 0) -> bytes:
    """Return a header of version 2 with a checksum, which is off by `error`."""
    whole = v2(body + tlv(0x03, bytes(4)), family)
    return whole[:-4] + struct.pack(">I", crc32c(whole) ^ error)


def v1(*words: bytes) -> bytes:
    """Return a header of version 1."""
    return b" ".join((b"PROXY", *words)) + b"\r\n"


def ssl(client: int, verify: int, *parts: bytes) -> bytes:
    """Return the extension about the client's TLS."""
    return tlv(0x20, struct.pack(">BI", client, verify) + b"".join(parts))


def v1_vectors() -> dict[str, tuple[bytes, Verdict]]:
    """Return headers of version 1 by name, with the verdict."""
    good = (b"192.0.2.1", b"198.51.100.2", b"56324", b"443")
    good6 = (b"2001:db8::1", b"2001:db8::2", b"56324", b"443")

    def tcp4_with(place: int, word: bytes) -> bytes:
        return v1(b"TCP4", *good[:place], word, *good[place + 1 :])

    found: dict[str, tuple[bytes, Verdict]] = {
        "TCP4": (v1(b"TCP4", *good), CLIENT),
        "TCP6": (v1(b"TCP6", *good6), CLIENT6),
        "TCP6, longest": (
            v1(b"TCP6", _LONGEST, _LONGEST, b"65535", b"65535"),
            (_LONGEST.decode(), 65535),
        ),
        "TCP6, mapped": (v1(b"TCP6", b"::ffff:192.0.2.1", *good6[1:]), CLIENT),
        "ports 0": (v1(b"TCP4", *good[:2], b"0", b"0"), ("192.0.2.1", 0)),
        "port 65535": (tcp4_with(2, b"65535"), ("192.0.2.1", 65535)),
        "UNKNOWN": (v1(b"UNKNOWN"), OWN),
        "UNKNOWN with addresses": (v1(b"UNKNOWN", _LONGEST, _LONGEST, b"65535", b"65535"), OWN),
        "UNKNOWN with words": (v1(b"UNKNOWN", b"what", b"ever"), OWN),
        "TCP4 without addresses": (v1(b"TCP4"), REFUSED),
        "one address": (v1(b"TCP4", good[0]), REFUSED),
        "no ports": (v1(b"TCP4", *good[:2]), REFUSED),
        "one port": (v1(b"TCP4", *good[:3]), REFUSED),
        "a word too many": (v1(b"TCP4", *good, b"x"), REFUSED),
        "a space behind": (v1(b"TCP4", *good, b""), REFUSED),
        "two spaces": (v1(b"TCP4", b"", *good), REFUSED),
        "two spaces first": (b"PROXY  TCP4 " + b" ".join(good) + b"\r\n", REFUSED),
        "tabs": (b"PROXY\tTCP4\t" + b"\t".join(good) + b"\r\n", REFUSED),
        "small letters": (v1(b"tcp4", *good), REFUSED),
        "a small word": (b"proxy TCP4 " + b" ".join(good) + b"\r\n", REFUSED),
        "a space first": (b" " + v1(b"TCP4", *good), REFUSED),
        "no space": (b"PROXYTCP4 " + b" ".join(good) + b"\r\n", REFUSED),
        "UNKNOWN and more": (v1(b"UNKNOWNS"), REFUSED),
        "TCP5": (v1(b"TCP5", *good), REFUSED),
        "UDP4": (v1(b"UDP4", *good), REFUSED),
        "LF alone": (v1(b"TCP4", *good).replace(b"\r", b""), REFUSED),
        "CR alone": (v1(b"TCP4", *good).replace(b"\n", b"x"), REFUSED),
        "no end": (b"PROXY TCP4 " + b" ".join(good) + b" " * 200, REFUSED),
        "UNKNOWN without an end": (b"PROXY UNKNOWN " + b"x" * 200, REFUSED),
        "108 bytes": (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", REFUSED),
        "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", REFUSED),
        "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), REFUSED),
        "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", REFUSED),
        "nothing but a line's end": (b"\r\n", REFUSED),
        "TCP4 with IPv6": (v1(b"TCP4", *good6), REFUSED),
        "TCP6 with IPv4": (v1(b"TCP6", *good), REFUSED),
        "a scope": (v1(b"TCP6", b"fe80::1%lo", *good6[1:]), REFUSED),
        "brackets": (v1(b"TCP6", b"[2001:db8::1]", *good6[1:]), REFUSED),
        "two double colons": (v1(b"TCP6", b"2001::db8::1", *good6[1:]), REFUSED),
        "nine groups": (v1(b"TCP6", b"1:2:3:4:5:6:7:8:9", *good6[1:]), REFUSED),
        "five digits": (v1(b"TCP6", b"2001:0db80::1", *good6[1:]), REFUSED),
    }
    for word in (b"1.2.3", b"1.2.3.4.5", b"256.1.1.1", b"192.000.002.001", b"01.2.3.4", b"0x7f.1"):
        found[f"address {word.decode()}"] = (tcp4_with(0, word), REFUSED)
    for word in (b"localhost", b"3221225985", b"1.2.3.4/8", b"-1.2.3.4", b"1.2.3.4\0", b"\x1b[2J"):
        found[f"address {word!r}"] = (tcp4_with(0, word), REFUSED)
        found[f"destination {word!r}"] = (tcp4_with(1, word), REFUSED)
    for word in (
        b"65536",
        b"99999",
        b"-1",
        b"+1",
        b"0443",
        b"00",
        b"4e3",
        b"0x50",
        b"80.0",
        b"http",
    ):
        found[f"port {word.decode()}"] = (tcp4_with(2, word), REFUSED)
    for word in (b"65536", b"1_000", b"\xd9\xa1", b"8\x000", b"443\r"):
        found[f"destination's port {word!r}"] = (tcp4_with(3, word), REFUSED)
    return found


def v2_vectors() -> dict[str, tuple[bytes, Verdict]]:
    """Return headers of version 2 by name, with the verdict."""
    names = tlv(0x21, b"TLSv1.3") + tlv(0x22, b"client \x1b[2J") + tlv(0x23, b"TLS_AES_128_GCM")
    found: dict[str, tuple[bytes, Verdict]] = {
        "TCP4": (v2(tcp4()), CLIENT),
        "TCP6": (v2(tcp6(), 0x21), CLIENT6),
        "TCP6, mapped": (v2(tcp6(("::ffff:192.0.2.1", 56324)), 0x21), CLIENT),
        "UNSPEC": (v2(b"", 0x00), OWN),
        "UNSPEC with a body": (v2(b"x" * 12, 0x00), OWN),
        "LOCAL": (v2(b"", 0x00, 0x20), OWN),
        "LOCAL with addresses": (v2(tcp4(), 0x11, 0x20), OWN),
        "a checksum": (checked(tcp4()), CLIENT),
        "a checksum, IPv6": (checked(tcp6(), 0x21), CLIENT6),
        "all extensions": (
            checked(
                tcp4()
                + tlv(0x01, b"h2")
                + tlv(0x02, b"example.org")
                + tlv(0x05, bytes(128))
                + ssl(7, 0, names)
                + tlv(0x30, b"blue")
                + tlv(0xEA, b"\1own")
                + tlv(0x04, bytes(50))
            ),
            CLIENT,
        ),
        "padding": (v2(tcp4() + tlv(0x04, b"")), CLIENT),
        "a checksum that is wrong": (checked(tcp4(), error=1), REFUSED),
        "a checksum of nothing": (v2(tcp4() + tlv(0x03, bytes(4))), REFUSED),
        "a short checksum": (v2(tcp4() + tlv(0x03, bytes(3))), REFUSED),
        "two checksums": (checked(tcp4() + tlv(0x03, bytes(4))), REFUSED),
        "an extension cut in its kind": (v2(tcp4() + b"\x04"), REFUSED),
        "an extension cut in its length": (v2(tcp4() + b"\x04\0"), REFUSED),
        "an extension that goes beyond": (v2(tcp4() + b"\x04\0\5abcd"), REFUSED),
        "two authorities": (v2(tcp4() + tlv(0x02, b"a") + tlv(0x02, b"b")), REFUSED),
        "a unique id of 129 bytes": (v2(tcp4() + tlv(0x05, bytes(129))), REFUSED),
        "SSL too short": (v2(tcp4() + tlv(0x20, bytes(4))), REFUSED),
        "SSL cut inside": (v2(tcp4() + ssl(1, 0, b"\x21\0\x09TLS")), REFUSED),
        "TCP4 of 11 bytes": (v2(tcp4()[:11]), REFUSED),
        "TCP4 of none": (v2(b""), REFUSED),
        "TCP6 of 35 bytes": (v2(tcp6()[:35], 0x21), REFUSED),
        "TCP6 with IPv4": (v2(tcp4(), 0x21), REFUSED),
        "UNIX of 215 bytes": (v2(bytes(215), 0x31), REFUSED),
        "a length of 65535": (v2(tcp4() + bytes(60000), length=65535), REFUSED),
    }
    for at in range(len(SIGNATURE)):
        wrong = bytearray(v2(tcp4()))
        wrong[at] ^= 0x01
        found[f"byte {at} of the signature is wrong"] = (bytes(wrong), REFUSED)
    for version in (0, 1, 3, 15):
        found[f"version {version}"] = (v2(tcp4(), command=version << 4 | 1), REFUSED)
    for command in (2, 3, 8, 15):
        found[f"command {command}"] = (v2(tcp4(), command=0x20 | command), REFUSED)
    for family in (4, 5, 15):
        found[f"family {family}"] = (v2(tcp4(), family << 4 | 1), REFUSED)
    for transport in (3, 4, 15):
        found[f"transport {transport}"] = (v2(tcp4(), 0x10 | transport), REFUSED)
    return found
