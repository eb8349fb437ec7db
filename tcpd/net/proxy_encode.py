"""The header of the PROXY protocol, versions 1 and 2, as it is written; sans-I/O.

- Without both addresses, or with two of kinds that can't stand in one header, it says that nothing
  is known: UNKNOWN in version 1, LOCAL in version 2. Both are valid to every receiver.
- An IPv4 address beside an IPv6 one is written as IPv6 (::ffff:192.0.2.1, RFC 4291, 2.5.5.2).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from twisted.internet.address import UNIXAddress

from tcpd.net.crc32c import crc32c
from tcpd.net.proxy_facts import (
    CRC32C,
    DGRAM,
    INET,
    INET6,
    LOCAL,
    PROXY,
    SIGNATURE,
    STREAM,
    UNIX,
    UNIX_PATH_SIZE,
    UNKNOWN_V1,
    UNSPEC,
    Address,
)

_MAPPED = bytes(10) + b"\xff\xff"


def encode_v1(source: Address | None, destination: Address | None) -> bytes:
    """Return a header of version 1: one line of at most 107 bytes.

    Args:
        source: the client's address; None if there is none to tell.
        destination: the address that the client connected to, likewise.

    Raises:
        ValueError: a host is no IP address, or a port is out of range.
    """
    hosts, family = _hosts(source, destination)
    if source is None or destination is None or not hosts or _transport(source) == DGRAM:
        return UNKNOWN_V1 + b"\r\n"
    own = socket.AF_INET if family == INET else socket.AF_INET6
    words = [
        "TCP4" if family == INET else "TCP6",
        *(socket.inet_ntop(own, host) for host in hosts),
        *(str(port) for port in _ports(source, destination)),
    ]
    return b"PROXY " + " ".join(words).encode() + b"\r\n"


def encode_v2(
    source: Address | None,
    destination: Address | None,
    tlvs: Iterable[tuple[int, bytes]] = (),
    *,
    checksum: bool = False,
) -> bytes:
    """Return a header of version 2.

    Args:
        source: the client's address; None if there is none to tell.
        destination: the address that the client connected to, likewise.
        tlvs: the types and values of extensions.
        checksum: whether to add a CRC-32c; a receiver that knows it then refuses a broken header.

    Raises:
        ValueError: a host is no IP address, a port is out of range, or a path or an extension is
            too long.
    """
    if isinstance(source, UNIXAddress) and isinstance(destination, UNIXAddress):
        kind = (UNIX << 4) | STREAM
        block = _path(source) + _path(destination)
    else:
        hosts, family = _hosts(source, destination)
        kind, block = UNSPEC, b""
        if source is not None and destination is not None and hosts:
            kind = (family << 4) | _transport(source)
            block = b"".join(hosts) + struct.pack("!HH", *_ports(source, destination))
    for number, value in tlvs:
        if len(value) > 0xFFFF or not 0 <= number <= 0xFF:
            raise ValueError("an extension has a type of 0 to 255 and at most 65535 bytes")
        block += struct.pack("!BH", number, len(value)) + value
    if checksum:
        block += struct.pack("!BHI", CRC32C, 4, 0)
    if len(block) > 0xFFFF:
        raise ValueError("the extensions are too long for a header")
    command = PROXY if kind else LOCAL
    header = SIGNATURE + struct.pack("!BBH", 0x20 | command, kind, len(block)) + block
    return header[:-4] + struct.pack("!I", crc32c(header)) if checksum else header


def _hosts(source: Address | None, destination: Address | None) -> tuple[list[bytes], int]:
    """Both hosts in network byte order, of one family, and the family; nothing without both."""
    hosts = []
    for address in (source, destination):
        if address is None or isinstance(address, UNIXAddress):
            return [], UNSPEC
        host = address.host.partition("%")[0]  # a scope means nothing on another machine
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            hosts.append(socket.inet_pton(family, host))
        except OSError:
            raise ValueError(f"{host!r} is no IP address") from None
    if len(hosts[0]) == len(hosts[1]):
        return hosts, INET if len(hosts[0]) == 4 else INET6
    return [_MAPPED + host if len(host) == 4 else host for host in hosts], INET6


def _ports(*addresses: Address) -> list[int]:
    ports = [address.port for address in addresses if not isinstance(address, UNIXAddress)]
    if not all(0 <= port <= 0xFFFF for port in ports):
        raise ValueError("a port is a number from 0 to 65535")
    return ports


def _transport(address: Address) -> int:
    return DGRAM if getattr(address, "type", "TCP") == "UDP" else STREAM


def _path(address: UNIXAddress) -> bytes:
    name: bytes = address.name or b""
    if len(name) > UNIX_PATH_SIZE:
        raise ValueError(f"a socket's name has at most {UNIX_PATH_SIZE} bytes")
    return name.ljust(UNIX_PATH_SIZE, b"\0")
