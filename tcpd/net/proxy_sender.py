"""The header that our own connections begin with, where their receiver expects one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from twisted.internet.address import IPv4Address, IPv6Address

from tcpd.net.proxy_encode import encode_v1, encode_v2

Version = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSender:
    """Says who we are at the start of a connection that we dialled, before TLS.

    It tells the connection's own addresses, as its receiver would see them. Where there are none,
    as on a UNIX socket, it says so: UNKNOWN in version 1, LOCAL in version 2.

    Attributes:
        version: of the header.
        source: an address to give for our own; None for our own.
    """

    version: Version
    source: IPv4Address | IPv6Address | None = None

    def header(self, transport: Any) -> bytes:
        """Return the header for a transport that has just connected."""
        source, destination = self.source or transport.getHost(), transport.getPeer()
        if not isinstance(destination, IPv4Address | IPv6Address):
            destination = None
            if self.source is not None:  # none is known, but there is a spelling for that
                any_host = "::" if ":" in self.source.host else "0.0.0.0"
                destination = type(self.source)("TCP", any_host, 0)
        if not isinstance(source, IPv4Address | IPv6Address) or destination is None:
            source = destination = None
        encode = encode_v1 if self.version == "v1" else encode_v2
        return encode(source, destination)
