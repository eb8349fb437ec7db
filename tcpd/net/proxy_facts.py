"""What the header of the PROXY protocol says, as values, and the numbers it is written with.

The protocol is HAProxy's: proxy-protocol.txt, "The PROXY protocol, versions 1 & 2".
`tcpd.net.proxy_header` reads headers and `tcpd.net.proxy_encode` writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpd.errors import TcpdError

Address = IPv4Address | IPv6Address | UNIXAddress

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
START_OF_V1 = b"PROXY "
UNKNOWN_V1 = b"PROXY UNKNOWN"
# The longest line that the specification allows, with its CRLF.
MAX_V1 = 107
FIXED_SIZE = 16  # what stands before the addresses of version 2
UNIX_PATH_SIZE = 108
MAX_UNIQUE_ID = 128

LOCAL, PROXY = 0, 1
UNSPEC, INET, INET6, UNIX = range(4)
STREAM, DGRAM = 1, 2

# The types of extensions (TLVs), and of those within SSL.
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
SSL_VERSION, SSL_CN, SSL_CIPHER, SSL_SIG_ALG, SSL_KEY_ALG = 0x21, 0x22, 0x23, 0x24, 0x25
# The bits of SSL's first byte.
CLIENT_SSL, CERTIFICATE_NOW, CERTIFICATE_BEFORE = 0x01, 0x02, 0x04


class ProxyHeaderError(TcpdError):
    """What came is no valid PROXY header; the text says why, and is fit for a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySSL:
    """What a proxy says of its client's TLS. Names are the client's: escape them before you log.

    Attributes:
        used: whether the client connected with TLS.
        certificate: whether the client showed a certificate, on this connection or earlier in its
            TLS session.
        certificate_now: whether it showed it on this connection.
        verified: whether it showed one and the proxy found it valid.
        verify_result: the proxy's result of verifying it; 0 is success, and also what is said when
            there was none.
        version: of TLS, as "TLSv1.3"; None if it wasn't told, as with all that follows.
        common_name: from the client's certificate.
        cipher: the cipher suite.
        signature_algorithm: with which the proxy's own certificate is signed.
        key_algorithm: of the key of the proxy's own certificate.
    """

    used: bool
    certificate: bool
    certificate_now: bool
    verify_result: int
    version: str | None = None
    common_name: str | None = None
    cipher: str | None = None
    signature_algorithm: str | None = None
    key_algorithm: str | None = None

    @property
    def verified(self) -> bool:
        """Whether the client showed a certificate that the proxy found valid."""
        return self.certificate and self.verify_result == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFacts:
    r"""What a PROXY header said. Texts come from the client: escape them before you log them.

    In a text, bytes that are no UTF-8 stand as `\xNN`; `tlvs` has them as they came.

    Attributes:
        version: 1 or 2.
        local: whether the proxy speaks for itself (LOCAL), as in a health check.
        source: the client's address; None if the header told none.
        destination: the address that the client connected to, likewise.
        alpn: the protocol that the client and the proxy agreed on (RFC 7301), or None.
        authority: the host name that the client asked for (SNI), or None.
        unique_id: the proxy's name of the connection, opaque bytes, or None.
        ssl: about the client's TLS, or None.
        netns: the proxy's network namespace, or None.
        extensions: all that version 2 appended to the addresses, as it came.
    """

    version: Literal[1, 2]
    local: bool = False
    source: Address | None = None
    destination: Address | None = None
    alpn: str | None = None
    authority: str | None = None
    unique_id: bytes | None = None
    ssl: ProxySSL | None = None
    netns: str | None = None
    extensions: bytes = field(default=b"", repr=False)

    @property
    def tlvs(self) -> tuple[tuple[int, bytes], ...]:
        """The type and the value of each extension, in the order they came."""
        return tuple((kind, value) for kind, _, value in split_tlvs(self.extensions))


def split_tlvs(block: bytes, start: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Take type-length-value triples apart: the type, where the value begins, the value.

    Raises:
        ProxyHeaderError: the last one is cut short.
    """
    while start < len(block):
        at = start + 3
        if at > len(block):
            raise ProxyHeaderError("an extension (TLV) is cut short")
        kind, size = struct.unpack_from("!BH", block, start)
        start = at + size
        if start > len(block):
            raise ProxyHeaderError("an extension (TLV) is longer than the header")
        yield kind, at, block[at:start]
