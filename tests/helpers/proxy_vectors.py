"""PROXY headers that are right and what they say, and headers that are wrong and why."""

import struct

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 5000, 443)
V6 = (
    bytes.fromhex("20010db8000000000000000000000001")
    + bytes.fromhex("20010db8000000000000000000000002")
    + struct.pack("!HH", 5000, 443)
)
MAPPED = (
    bytes(10) + b"\xff\xff" + V4[:4] + bytes(10) + b"\xff\xff" + V4[4:8] + V4[8:]
)  # the same as V4, by way of IPv6
UNIX = b"/run/client.sock".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")
SOURCE, DESTINATION = IPv4Address("TCP", "192.0.2.1", 5000), IPv4Address("TCP", "198.51.100.2", 443)
SOURCE6 = IPv6Address("TCP", "2001:db8::1", 5000)
DESTINATION6 = IPv6Address("TCP", "2001:db8::2", 443)
# As HAProxy 2.6 sent them.
HAPROXY_LOCAL = bytes.fromhex("0d0a0d0a000d0a515549540a2000000e030004e363c5f905000469642d35")
HAPROXY_SSL = bytes.fromhex(
    "0d0a0d0a000d0a515549540a211100907f0000017f000001b9be801503000482821352"
    "0100046563686f02000d66726f6e742e6578616d706c6505000d37463030303030313a"
    "423942452000530700000000210007544c5376312e3322000a436c69656e74204f6e65"
    "2500075253413230343824001165636473612d776974682d534841323536230016544c"
    "535f4145535f3235365f47434d5f534841333834"
)


def v2(block=V4, *, kind=0x11, command=0x21, size=None):
    """A binary header, right or wrong."""
    length = len(block) if size is None else size
    return SIGNATURE + struct.pack("!BBH", command, kind, length) + block


def tlv(kind, value, size=None):
    return struct.pack("!BH", kind, len(value) if size is None else size) + value


def ssl(*parts, client=1, verify=0):
    return tlv(0x20, struct.pack("!BI", client, verify) + b"".join(parts))


# What: the bytes, the source, the destination.
VALID = {
    "v1 IPv4": (
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n",
        SOURCE,
        DESTINATION,
    ),
    "v1 longest IPv4": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        IPv4Address("TCP", "255.255.255.255", 65535),
        IPv4Address("TCP", "255.255.255.255", 65535),
    ),
    "v1 zeros": (
        b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
        IPv4Address("TCP", "0.0.0.0", 0),
        IPv4Address("TCP", "0.0.0.0", 0),
    ),
    "v1 IPv6": (
        b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 5000 443\r\n",
        SOURCE6,
        DESTINATION6,
    ),
    "v1 longest IPv6": (
        b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n",
        IPv6Address("TCP", ":".join(["ffff"] * 8), 65535),
        IPv6Address("TCP", ":".join(["ffff"] * 8), 65535),
    ),
    "v1 IPv6 with leading zeros within a group": (
        b"PROXY TCP6 2001:0db8::0001 2001:0db8::0002 5000 443\r\n",
        SOURCE6,
        DESTINATION6,
    ),
    "v1 mapped": (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6402 5000 443\r\n",
        SOURCE,
        DESTINATION,
    ),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None, None),
    "v1 unknown with addresses": (
        b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
        None,
        None,
    ),
    "v1 unknown with anything": (b"PROXY UNKNOWN \x1b\0\r\xff\n\r\r\n", None, None),
    "v1 unknown, longest": (b"PROXY UNKNOWN ".ljust(105, b"x") + b"\r\n", None, None),
    "v2 IPv4": (v2(), SOURCE, DESTINATION),
    "v2 IPv6": (v2(V6, kind=0x21), SOURCE6, DESTINATION6),
    "v2 mapped": (v2(MAPPED, kind=0x21), SOURCE, DESTINATION),
    "v2 UDP": (
        v2(kind=0x12),
        IPv4Address("UDP", "192.0.2.1", 5000),
        IPv4Address("UDP", "198.51.100.2", 443),
    ),
    "v2 UDP over IPv6": (
        v2(V6, kind=0x22),
        IPv6Address("UDP", "2001:db8::1", 5000),
        IPv6Address("UDP", "2001:db8::2", 443),
    ),
    "v2 UNIX": (
        v2(UNIX, kind=0x31),
        UNIXAddress(b"/run/client.sock"),
        UNIXAddress(b"\0abstract"),
    ),
    "v2 UNIX datagram": (
        v2(UNIX, kind=0x32),
        UNIXAddress(b"/run/client.sock"),
        UNIXAddress(b"\0abstract"),
    ),
    "v2 UNIX without names": (
        v2(bytes(216), kind=0x31),
        UNIXAddress(None),
        UNIXAddress(None),
    ),
    "v2 UNIX, name of full length": (
        v2(b"/" * 216, kind=0x31),
        UNIXAddress(b"/" * 108),
        UNIXAddress(b"/" * 108),
    ),
    "v2 UNIX, what follows the name's end": (
        v2(b"/a\0b".ljust(108, b"c") + bytes(108), kind=0x31),
        UNIXAddress(b"/a"),
        UNIXAddress(None),
    ),
    "v2 LOCAL": (v2(b"", kind=0, command=0x20), None, None),
    "v2 LOCAL with addresses": (v2(command=0x20), None, None),
    "v2 LOCAL with what nobody knows": (v2(b"anything", kind=0xFF, command=0x20), None, None),
    "v2 UNSPEC": (v2(b"", kind=0), None, None),
    "v2 UNSPEC with an address": (v2(b"\x7f" * 30, kind=0), None, None),
    "v2 UNSPEC family of a stream": (v2(b"", kind=0x01), None, None),
    "v2 UNSPEC transport of IPv4": (v2(kind=0x10), None, None),
    "v2 with an extension nobody knows": (v2(V4 + tlv(0xEA, b"x")), SOURCE, DESTINATION),
    "v2 with two of an unknown kind": (v2(V4 + tlv(0xEA, b"x") * 2), SOURCE, DESTINATION),
    "v2 with padding": (v2(V4 + tlv(4, b"") * 2 + tlv(4, b"pad")), SOURCE, DESTINATION),
    "v2 longest": (v2(V4 + tlv(4, bytes(4096 - 16 - 12 - 3))), SOURCE, DESTINATION),
    "v2 LOCAL of HAProxy, with extensions": (HAPROXY_LOCAL, None, None),
    "v2 of HAProxy, with all extensions": (
        HAPROXY_SSL,
        IPv4Address("TCP", "127.0.0.1", 47550),
        IPv4Address("TCP", "127.0.0.1", 32789),
    ),
}

# What: the bytes, and a word of why they are refused.
INVALID = {
    "nothing of the kind": (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header, but 'GET / HTTP/1.1'"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", "no PROXY header, but TLS"),
    "binary": (b"\x1b[2J\xff", "no PROXY header, but the bytes 1b 5b"),
    "an empty line": (b"\r\nEHLO", "no PROXY header"),
    "small letters": (b"proxy TCP4 192.0.2.1 198.51.100.2 5000 443\r\n", "no PROXY header"),
    "v1 tab": (b"PROXY\tTCP4 192.0.2.1 198.51.100.2 5000 443\r\n", "no PROXY header"),
    "v1 nothing": (b"PROXY \r\n", "none of TCP4"),
    "v1 no protocol": (b"PROXY\r\n", "no PROXY header"),
    "v1 protocol": (b"PROXY TCP5 192.0.2.1 198.51.100.2 5000 443\r\n", "'TCP5' is none of"),
    "v1 UDP4": (b"PROXY UDP4 192.0.2.1 198.51.100.2 5000 443\r\n", "'UDP4' is none of"),
    "v1 small protocol": (b"PROXY tcp4 192.0.2.1 198.51.100.2 5000 443\r\n", "'tcp4' is none of"),
    "v1 UNKNOWNS": (b"PROXY UNKNOWNS\r\n", "'UNKNOWNS' is none of"),
    "v1 UNKNOWN, CR CR LF": (b"PROXY UNKNOWN\r\r\n", "is none of"),
    "v1 UNKNOWN, LF": (b"PROXY UNKNOWN\n", "LF instead of CRLF"),
    "v1 no addresses": (b"PROXY TCP4\r\n", "two addresses and two ports"),
    "v1 one port": (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n", "two addresses and two ports"),
    "v1 three ports": (
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443 1\r\n",
        "two addresses and two ports",
    ),
    "v1 two spaces": (
        b"PROXY TCP4  192.0.2.1 198.51.100.2 5000 443\r\n",
        "two addresses and two ports",
    ),
    "v1 space at the end": (
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443 \r\n",
        "two addresses and two ports",
    ),
    "v1 two spaces at the start": (b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n", "none of TCP4"),
    "v1 LF": (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\n", "LF instead of CRLF"),
    "v1 CR": (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\rGET / HTTP/1.1\r\n", "two addresses"),
    "v1 CR CR LF": (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\r\n", "is no port"),
    "v1 NUL": (b"PROXY TCP4 192.0.2.1\x00 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 ESC": (b"PROXY TCP4 192.0.2.1\x1b[2J 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 C1": (b"PROXY TCP4 192.0.2.1\x9b2J 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 other digits": (
        "PROXY TCP4 192.0.2.\u0661 198.51.100.2 5000 443\r\n".encode(),
        "is no IPv4 address",
    ),
    "v1 host name": (b"PROXY TCP4 localhost 198.51.100.2 5000 443\r\n", "'localhost' is no IPv4"),
    "v1 three numbers": (b"PROXY TCP4 192.0.1 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 one number": (b"PROXY TCP4 3221225985 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 hex": (b"PROXY TCP4 0xc0.0.2.1 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 octal": (b"PROXY TCP4 192.0.02.1 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 256": (b"PROXY TCP4 256.0.2.1 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 IPv6 in TCP4": (b"PROXY TCP4 2001:db8::1 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 IPv4 in TCP6": (b"PROXY TCP6 192.0.2.1 2001:db8::2 5000 443\r\n", "is no IPv6 address"),
    "v1 destination": (b"PROXY TCP4 192.0.2.1 198.51.100 5000 443\r\n", "is no IPv4 address"),
    "v1 mask": (b"PROXY TCP4 192.0.2.1/8 198.51.100.2 5000 443\r\n", "is no IPv4 address"),
    "v1 brackets": (b"PROXY TCP6 [2001:db8::1] 2001:db8::2 5000 443\r\n", "is no IPv6 address"),
    "v1 scope": (b"PROXY TCP6 fe80::1%eth0 2001:db8::2 5000 443\r\n", "is no IPv6 address"),
    "v1 two double colons": (b"PROXY TCP6 2001::db8::1 2001:db8::2 1 2\r\n", "is no IPv6 address"),
    "v1 nine groups": (b"PROXY TCP6 1:2:3:4:5:6:7:8:9 2001:db8::2 1 2\r\n", "is no IPv6 address"),
    "v1 seven groups": (b"PROXY TCP6 1:2:3:4:5:6:7 2001:db8::2 1 2\r\n", "is no IPv6 address"),
    "v1 five digits": (b"PROXY TCP6 2001:00db8::1 2001:db8::2 1 2\r\n", "is no IPv6 address"),
    "v1 mapped octal": (b"PROXY TCP6 ::ffff:192.0.02.1 2001:db8::2 1 2\r\n", "is no IPv6 address"),
    "v1 port 65536": (b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "'65536' is no port"),
    "v1 port 99999": (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 99999\r\n", "'99999' is no port"),
    "v1 port -1": (b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", "'-1' is no port"),
    "v1 port +1": (b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", "'+1' is no port"),
    "v1 port 080": (b"PROXY TCP4 192.0.2.1 198.51.100.2 080 443\r\n", "'080' is no port"),
    "v1 port 00": (b"PROXY TCP4 192.0.2.1 198.51.100.2 00 443\r\n", "'00' is no port"),
    "v1 port 1_0": (b"PROXY TCP4 192.0.2.1 198.51.100.2 1_0 443\r\n", "'1_0' is no port"),
    "v1 port 0x50": (b"PROXY TCP4 192.0.2.1 198.51.100.2 0x50 443\r\n", "'0x50' is no port"),
    "v1 port http": (b"PROXY TCP4 192.0.2.1 198.51.100.2 http 443\r\n", "'http' is no port"),
    "v1 no port": (b"PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n", "nothing is no port"),
    "v1 too long": (b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n", "no CRLF within 107 bytes"),
    "v1 without end": (b"PROXY TCP4 " + b"1" * 1000, "no CRLF within 107 bytes"),
    "v1 unknown without end": (b"PROXY UNKNOWN " + b"\n" * 1000, "no CRLF within 107 bytes"),
    "v2 signature": (b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" + V4, "no PROXY header"),
    "v2 version 0": (v2(command=0x01), "no version 0"),
    "v2 version 1": (v2(command=0x11), "no version 1"),
    "v2 version 3": (v2(command=0x31), "no version 3"),
    "v2 command": (v2(command=0x22), "command 2"),
    "v2 command 15": (v2(command=0x2F), "command 15"),
    "v2 family": (v2(kind=0x41), "family 4 is not assigned"),
    "v2 family 15": (v2(kind=0xF1), "family 15 is not assigned"),
    "v2 transport": (v2(kind=0x13), "transport protocol 3 is not assigned"),
    "v2 transport of UNSPEC": (v2(b"", kind=0x0F), "transport protocol 15 is not assigned"),
    "v2 too short for IPv4": (v2(V4[:11]), "too short for its addresses"),
    "v2 empty": (v2(b""), "too short for its addresses"),
    "v2 too short for IPv6": (v2(V6[:35], kind=0x21), "too short for its addresses"),
    "v2 too short for UNIX": (v2(UNIX[:215], kind=0x31), "too short for its addresses"),
    "v2 too long": (v2(V4 + tlv(4, bytes(4096 - 16 - 12 - 2))), "longer than the 4096"),
    "v2 longest length": (v2(size=0xFFFF), "longer than the 4096"),
    "v2 LOCAL, too long": (v2(b"", kind=0, command=0x20, size=0xFFFF), "longer than the 4096"),
    "v2 TLV without length": (v2(V4 + b"\x04\x00"), "cut short"),
    "v2 TLV type alone": (v2(V4 + b"\x04"), "cut short"),
    "v2 TLV too long": (v2(V4 + tlv(4, b"ab", size=3)), "longer than the header"),
    "v2 TLV of 64 KiB": (v2(V4 + tlv(2, b"ab", size=0xFFFF)), "longer than the header"),
    "v2 TLV after a good one": (v2(V4 + tlv(2, b"ab") + b"\x02\0\x09"), "longer than the header"),
    "v2 checksum": (v2(V4 + tlv(3, b"\xde\xad\xbe\xef")), "checksum (CRC32C) is wrong"),
    "v2 checksum of zeros": (v2(V4 + tlv(3, bytes(4))), "checksum (CRC32C) is wrong"),
    "v2 checksum of three bytes": (v2(V4 + tlv(3, bytes(3))), "not of 4 bytes"),
    "v2 checksum of eight bytes": (v2(V4 + tlv(3, bytes(8))), "not of 4 bytes"),
    "v2 two authorities": (v2(V4 + tlv(2, b"a") + tlv(2, b"b")), "AUTHORITY is there twice"),
    "v2 two ALPN": (v2(V4 + tlv(1, b"a") * 2), "ALPN is there twice"),
    "v2 long unique id": (v2(V4 + tlv(5, bytes(129))), "UNIQUE_ID of more than 128"),
    "v2 short SSL": (v2(V4 + tlv(0x20, bytes(4))), "SSL is cut short"),
    "v2 SSL, TLV without length": (v2(V4 + ssl(b"\x21\0")), "cut short"),
    "v2 SSL, TLV too long": (v2(V4 + ssl(tlv(0x21, b"TLSv1.3", size=8))), "longer than"),
    "v2 SSL, two names": (v2(V4 + ssl(tlv(0x22, b"a"), tlv(0x22, b"b"))), "SSL_CN is there twice"),
}
