"""The header of the PROXY protocol, versions 1 and 2, as it is read; sans-I/O.

The protocol is HAProxy's: proxy-protocol.txt, "The PROXY protocol, versions 1 & 2". Rules:

- A header is valid or it isn't: nothing is guessed, repaired or skipped. Version 1 has to be
  spelled exactly as the specification has it; what version 2 leaves unassigned is refused.
- `HeaderParser` takes bytes as they come and never one beyond the header's end. What is wrong is
  said as soon as it can be seen, and it holds `MAX_HEADER` bytes at most.
- Where a header tells no addresses (UNKNOWN, LOCAL, UNSPEC), the connection's own are the true
  ones, as the specification asks.
- A checksum that is there has to be right. What is given twice is refused, lest one reader takes
  the first and another the last.
- An IPv6 address that only maps an IPv4 one (::ffff:192.0.2.1) is that IPv4 address, so that
  networks and limits know it.
- The text of an error is fit for a log: of what the peer sent it shows printable ASCII, or hex.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping
from typing import Literal

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpd.net.crc32c import crc32c
from tcpd.net.proxy_facts import (
    ALPN,
    AUTHORITY,
    CERTIFICATE_BEFORE,
    CERTIFICATE_NOW,
    CLIENT_SSL,
    CRC32C,
    FIXED_SIZE,
    INET,
    INET6,
    MAX_UNIQUE_ID,
    MAX_V1,
    NETNS,
    PROXY,
    SIGNATURE,
    SSL,
    SSL_CIPHER,
    SSL_CN,
    SSL_KEY_ALG,
    SSL_SIG_ALG,
    SSL_VERSION,
    START_OF_V1,
    STREAM,
    UNIQUE_ID,
    UNIX,
    UNIX_PATH_SIZE,
    UNKNOWN_V1,
    Address,
    ProxyFacts,
    ProxyHeaderError,
    ProxySSL,
    split_tlvs,
)

# The specification has no limit but the length field's 64 KiB. What proxies send, a client
# certificate's name and a unique id included, stays below 1 KiB; nginx takes 4 KiB as well.
MAX_HEADER = 4096

# What may be there once, by its name in the specification.
_ONCE = {
    ALPN: "ALPN",
    AUTHORITY: "AUTHORITY",
    CRC32C: "CRC32C",
    UNIQUE_ID: "UNIQUE_ID",
    SSL: "SSL",
    NETNS: "NETNS",
}
_PARTS_OF_SSL = {
    SSL_VERSION: "SSL_VERSION",
    SSL_CN: "SSL_CN",
    SSL_CIPHER: "SSL_CIPHER",
    SSL_SIG_ALG: "SSL_SIG_ALG",
    SSL_KEY_ALG: "SSL_KEY_ALG",
}
_ADDRESSES_SIZE = {INET: 12, INET6: 36, UNIX: 2 * UNIX_PATH_SIZE}
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
# What the spellings are made of. inet_pton(3) then knows which are right, and takes no leading
# zeros, no shortened forms of IPv4 and no scope of IPv6.
_SPELLING = {b"TCP4": re.compile(rb"[0-9.]{7,15}"), b"TCP6": re.compile(rb"[0-9A-Fa-f:.]{2,45}")}
_FAMILY: dict[bytes, socket.AddressFamily] = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}
_SHOWN = 24  # bytes of what the peer sent that an error shows


class HeaderParser:
    """Reads one header from the bytes at the start of a connection.

    Attributes:
        facts: what the header said; None until it is complete.
    """

    __slots__ = ("_buffer", "facts")

    def __init__(self) -> None:
        self.facts: ProxyFacts | None = None
        self._buffer = bytearray()

    @property
    def begun(self) -> bool:
        """Whether part of a header has come."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> int:
        """Take the next bytes of the connection.

        Returns:
            how many of them belong to the header: all of them unless it is complete with these.

        Raises:
            ProxyHeaderError: it is no valid header. The parser is of no more use.
        """
        if self.facts is not None:
            return 0
        buffer = self._buffer
        before = len(buffer)
        buffer += data[: MAX_HEADER - before]
        size = _size_of_v1(buffer) if buffer[:1] == b"P" else _size_of_v2(buffer)
        if size is None or len(buffer) < size:
            return len(data)
        header = bytes(buffer[:size])
        self.facts = _read_v1(header) if header[:1] == b"P" else _read_v2(header)
        buffer.clear()
        return size - before


# -- version 1 ---------------------------------------------------------------------------------


def _size_of_v1(buffer: bytearray) -> int | None:
    """How long the line is, with its CRLF; None if its end hasn't come."""
    if buffer[:6] != START_OF_V1[: len(buffer)]:
        raise _no_header(buffer)
    unknown = buffer.startswith(UNKNOWN_V1 + b" ")  # then anything may stand before the CRLF
    end = buffer.find(b"\r\n" if unknown else b"\n", 0, MAX_V1)
    if end < 0:
        if len(buffer) >= MAX_V1:
            raise ProxyHeaderError(f"a line of version 1 has no CRLF within {MAX_V1} bytes")
        return None
    if unknown:
        return end + 2
    if buffer[end - 1] != 0x0D:
        raise ProxyHeaderError("a line of version 1 ends in LF instead of CRLF")
    return end + 1


def _read_v1(header: bytes) -> ProxyFacts:
    line = header[:-2]
    if line == UNKNOWN_V1 or line.startswith(UNKNOWN_V1 + b" "):
        return ProxyFacts(version=1)
    parts = line.split(b" ")
    protocol = parts[1]
    if protocol not in _FAMILY:
        raise ProxyHeaderError(f"{_shown(protocol)} is none of TCP4, TCP6 and UNKNOWN")
    if len(parts) != 6:
        raise ProxyHeaderError(
            "a line of version 1 has two addresses and two ports, each after one space"
        )
    source, destination = (_host_of_v1(protocol, text) for text in parts[2:4])
    source_port, destination_port = (_port_of_v1(text) for text in parts[4:6])
    return ProxyFacts(
        version=1,
        source=_address(source, source_port),
        destination=_address(destination, destination_port),
    )


def _host_of_v1(protocol: bytes, text: bytes) -> bytes:
    """An address in network byte order."""
    if _SPELLING[protocol].fullmatch(text):
        try:
            return socket.inet_pton(_FAMILY[protocol], text.decode())
        except OSError:
            pass
    kind = "IPv4" if protocol == b"TCP4" else "IPv6"
    raise ProxyHeaderError(f"{_shown(text)} is no {kind} address")


def _port_of_v1(text: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > 0xFFFF:
        raise ProxyHeaderError(f"{_shown(text)} is no port from 0 to 65535 without leading zeros")
    return int(text)


# -- version 2 ---------------------------------------------------------------------------------


def _size_of_v2(buffer: bytearray) -> int | None:
    """How long the header is; None if too little has come to say so."""
    if buffer[:12] != SIGNATURE[: len(buffer)]:
        raise _no_header(buffer)
    if len(buffer) > 12:
        version, command = divmod(buffer[12], 16)
        if version != 2:
            raise ProxyHeaderError(f"there is no version {version} of the binary header")
        if command > 1:
            raise ProxyHeaderError(f"command {command} is neither LOCAL (0) nor PROXY (1)")
    if len(buffer) > 13 and buffer[12] & PROXY:
        family, transport = divmod(buffer[13], 16)
        if family > UNIX:
            raise ProxyHeaderError(f"address family {family} is not assigned")
        if transport > 2:
            raise ProxyHeaderError(f"transport protocol {transport} is not assigned")
    if len(buffer) < FIXED_SIZE:
        return None
    size = FIXED_SIZE + int.from_bytes(buffer[14:16])
    if size > MAX_HEADER:
        raise ProxyHeaderError(f"a header of {size} bytes is longer than the {MAX_HEADER} allowed")
    if size < FIXED_SIZE + _size_of_addresses(buffer):
        raise ProxyHeaderError(f"a header of {size} bytes is too short for its addresses")
    return size


def _size_of_addresses(header: bytes | bytearray) -> int:
    """How many bytes the addresses take; 0 if none are told, or none are to be believed."""
    family, transport = divmod(header[13], 16)
    told = header[12] & PROXY and transport
    return _ADDRESSES_SIZE.get(family, 0) if told else 0


def _read_v2(header: bytes) -> ProxyFacts:
    local = not header[12] & PROXY
    addresses_size = _size_of_addresses(header)
    if addresses_size:
        return _with_extensions(header, FIXED_SIZE + addresses_size, *_addresses_of_v2(header))
    # Where no address is told, one of any size may stand all the same. HAProxy puts none there, and
    # its extensions are welcome: for a client on a UNIX socket it says LOCAL, and what it knows.
    if header[13] == 0 and _are_tlvs(header[FIXED_SIZE:]):
        return _with_extensions(header, FIXED_SIZE, None, None, local=local)
    return ProxyFacts(version=2, local=local)


def _addresses_of_v2(header: bytes) -> tuple[Address, Address]:
    family, transport = divmod(header[13], 16)
    if family == UNIX:
        middle = FIXED_SIZE + UNIX_PATH_SIZE
        return (
            _unix_address(header[FIXED_SIZE:middle]),
            _unix_address(header[middle : middle + UNIX_PATH_SIZE]),
        )
    layout = "!4s4sHH" if family == INET else "!16s16sHH"
    source, destination, *ports = struct.unpack_from(layout, header, FIXED_SIZE)
    kind: Literal["TCP", "UDP"] = "TCP" if transport == STREAM else "UDP"
    return _address(source, ports[0], kind), _address(destination, ports[1], kind)


def _with_extensions(
    header: bytes,
    start: int,
    source: Address | None,
    destination: Address | None,
    *,
    local: bool = False,
) -> ProxyFacts:
    found = _values(header, start, _ONCE)
    unique_id = found.get(UNIQUE_ID)
    if unique_id is not None and len(unique_id) > MAX_UNIQUE_ID:
        raise ProxyHeaderError(f"a UNIQUE_ID of more than {MAX_UNIQUE_ID} bytes")
    return ProxyFacts(
        version=2,
        local=local,
        source=source,
        destination=destination,
        alpn=_text(found.get(ALPN)),
        authority=_text(found.get(AUTHORITY)),
        unique_id=unique_id,
        ssl=_ssl(found[SSL]) if SSL in found else None,
        netns=_text(found.get(NETNS)),
        extensions=header[start:],
    )


def _values(block: bytes, start: int, once: Mapping[int, str]) -> dict[int, bytes]:
    """The value of each extension that may be there once, and the checksum looked at."""
    found: dict[int, bytes] = {}
    for kind, at, value in split_tlvs(block, start):
        if kind not in once:
            continue
        if kind in found:
            raise ProxyHeaderError(f"the extension {once[kind]} is there twice")
        found[kind] = value
        if kind == CRC32C:
            _check(block, at, value)
    return found


def _check(header: bytes, at: int, value: bytes) -> None:
    if len(value) != 4:
        raise ProxyHeaderError("a checksum that is not of 4 bytes")
    if crc32c(header[:at] + bytes(4) + header[at + 4 :]) != int.from_bytes(value):
        raise ProxyHeaderError("the checksum (CRC32C) is wrong")


def _ssl(value: bytes) -> ProxySSL:
    if len(value) < 5:
        raise ProxyHeaderError("the extension SSL is cut short")
    client, verify_result = struct.unpack_from("!BI", value)
    found = _values(value, 5, _PARTS_OF_SSL)
    return ProxySSL(
        used=bool(client & CLIENT_SSL),
        certificate=bool(client & (CERTIFICATE_NOW | CERTIFICATE_BEFORE)),
        certificate_now=bool(client & CERTIFICATE_NOW),
        verify_result=verify_result,
        version=_text(found.get(SSL_VERSION)),
        common_name=_text(found.get(SSL_CN)),
        cipher=_text(found.get(SSL_CIPHER)),
        signature_algorithm=_text(found.get(SSL_SIG_ALG)),
        key_algorithm=_text(found.get(SSL_KEY_ALG)),
    )


def _are_tlvs(block: bytes) -> bool:
    try:
        for _ in split_tlvs(block):
            pass
    except ProxyHeaderError:
        return False
    return True


# -- small parts -------------------------------------------------------------------------------


def _address(packed: bytes, port: int, kind: Literal["TCP", "UDP"] = "TCP") -> Address:
    packed = packed.removeprefix(bytes(10) + b"\xff\xff") if len(packed) == 16 else packed
    if len(packed) == 4:
        return IPv4Address(kind, socket.inet_ntop(socket.AF_INET, packed), port)
    return IPv6Address(kind, socket.inet_ntop(socket.AF_INET6, packed), port)


def _unix_address(block: bytes) -> UNIXAddress:
    # A name of Linux's abstract namespace begins with a NUL; see unix(7).
    name = block.rstrip(b"\0") if block[:1] == b"\0" else block.partition(b"\0")[0]
    return UNIXAddress(name or None)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _no_header(buffer: bytearray) -> ProxyHeaderError:
    if buffer.startswith(b"\x16\x03"):
        return ProxyHeaderError("no PROXY header, but TLS")
    return ProxyHeaderError(f"no PROXY header, but {_shown(buffer)}")


def _shown(data: bytes | bytearray) -> str:
    """What a peer sent, or its beginning: printable ASCII in quotes, and all else in hex."""
    head = bytes(data[:_SHOWN])
    more = "..." if len(data) > _SHOWN else ""
    text = head.decode("latin-1").removesuffix("\r\n").partition("\r\n")[0]
    if text and text.isascii() and text.isprintable() and "\\" not in text:
        return f"'{text}'{more}"
    return f"the bytes {head.hex(' ')}{more}" if head else "nothing"
