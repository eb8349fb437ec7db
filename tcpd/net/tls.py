"""TLS settings: certificates, who is trusted, and the contexts made of them, by stdlib `ssl`.

TLS 1.2 at least, with ephemeral keys and AEAD ciphers only, no compression and no renegotiation
(RFC 9325). Every file is read when the settings are made, so a wrong one is found then, by name.
Names are those a client asks for (SNI, RFC 6066); `*.example.org` stands for one label.
"""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcpd.errors import TcpdError
from tcpd.net.tls_socket import RecordSocket

# Forward secrecy and AEAD for TLS 1.2; those of TLS 1.3 are all of that kind.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
# Seconds. Two round trips across the world take one; a peer that needs ten has other troubles.
HANDSHAKE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCertificate:
    """A certificate for clients that ask for one of these names.

    Attributes:
        names: host names, or `*.` and a domain.
        certificate: a PEM file: the certificate, then its chain.
        key: a PEM file with the key; None if the certificate's file holds it too.
    """

    names: tuple[str, ...]
    certificate: Path
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFacts:
    """What the handshake settled.

    Attributes:
        version: as "TLSv1.3".
        cipher: OpenSSL's name of the cipher suite.
        alpn: the protocol agreed on (RFC 7301), or None.
        server_name: the name the client asked for, or None.
        peer_certificate: the peer's certificate in DER, or None if it showed none.
        peer_names: the DNS names, addresses, URIs and e-mail addresses that a verified peer's
            certificate is for, and its common name if it has no others.
    """

    version: str
    cipher: str
    alpn: str | None = None
    server_name: str | None = None
    peer_certificate: bytes | None = field(default=None, repr=False)
    peer_names: tuple[str, ...] = ()


class ServerTLS:
    """How a listener speaks TLS.

    Args:
        certificate: a PEM file: the certificate, then its chain.
        key: a PEM file with the key; None if the certificate's file holds it too.
        client_ca: a PEM file of authorities. With it, a client must show a certificate of theirs.
        alpn: the protocols we speak, the best first.
        sni: further certificates for clients that ask for their names.
        chain: a PEM file with the rest of the certificate's chain, if its own file lacks it.
        handshake_timeout: seconds a peer has for the handshake; None if somebody else sees to it
            that it ends, or nobody.

    Attributes:
        digest: another one when the files were read with another content.

    Raises:
        TcpdError: a file can't be used; the message names it.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path | None = None,
        client_ca: Path | None = None,
        alpn: Sequence[str] = (),
        sni: Iterable[NamedCertificate] = (),
        *,
        chain: Path | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    ) -> None:
        self.certificate = Path(certificate)
        self.chain = None if chain is None else Path(chain)
        self.key = None if key is None else Path(key)
        self.client_ca = None if client_ca is None else Path(client_ca)
        self.alpn = tuple(alpn)
        self.sni = tuple(sni)
        self.handshake_timeout = handshake_timeout
        self._context = self._make_context()
        self.digest = self._hash()

    def reload(self) -> None:
        """Read the files again. Handshakes to come use them; sessions that exist don't notice.

        Raises:
            TcpdError: a file can't be used; the old certificates stay in use.
        """
        self._context = self._make_context()
        self.digest = self._hash()

    def _hash(self) -> bytes:
        files = [self.certificate, self.key, self.chain, self.client_ca]
        files += [path for each in self.sni for path in (each.certificate, each.key)]
        digest = hashlib.sha256()
        for path in files:
            with suppress(OSError):  # a directory of authorities, or gone this very instant
                if path is not None:
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.digest()

    def wrap(self, sock: Any) -> RecordSocket:
        """The TLS side of an accepted socket, which is used up. Nothing is sent or read yet."""
        return RecordSocket.over(self._context, sock, server_side=True)

    def _make_context(self) -> ssl.SSLContext:
        context = self._context_for(self.certificate, self.key, self.chain)
        named = _by_name(
            (entry.names, self._context_for(entry.certificate, entry.key)) for entry in self.sni
        )

        def choose(sock: Any, name: str | None, _context: ssl.SSLContext) -> None:
            if name is None:
                return
            sock.asked_name = name
            name = name.lower().rstrip(".")
            chosen = named.get(name) or named.get("*." + name.partition(".")[2])
            if chosen is not None:
                sock.context = chosen

        context.sni_callback = choose
        return context

    def _context_for(
        self, certificate: Path, key: Path | None, chain: Path | None = None
    ) -> ssl.SSLContext:
        context = _new_context(ssl.PROTOCOL_TLS_SERVER, self.alpn)
        _load_certificate(context, certificate, key)
        if chain is not None:
            _load_chain(context, certificate, key, chain)
        if self.client_ca is not None:
            _load_authorities(context, self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class ClientTLS:
    """How we speak TLS to a server.

    Args:
        server_name: the name the server's certificate must be for, and which we ask for; an IP
            address is verified too, though it isn't sent.
        cafile: a PEM file of authorities to trust; None for the system's.
        verify: False accepts any certificate, which protects against listeners-in only.
        certificate: a PEM file with the certificate to show to the server, or None.
        key: a PEM file with its key; None if the certificate's file holds it too.
        alpn: the protocols we speak, the best first.
        handshake_timeout: seconds the server has for the handshake; None for any time.

    Raises:
        TcpdError: a file can't be used, and the message names it; or a name is missing.
    """

    def __init__(  # noqa: PLR0917  (the first few are the usual ones)
        self,
        server_name: str,
        cafile: Path | None = None,
        verify: bool = True,
        certificate: Path | None = None,
        key: Path | None = None,
        alpn: Sequence[str] = (),
        *,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    ) -> None:
        if verify and not server_name:
            raise TcpdError("server_name: a certificate can't be verified without a name")
        self.server_name = server_name
        self.handshake_timeout = handshake_timeout
        context = _new_context(ssl.PROTOCOL_TLS_CLIENT, tuple(alpn))
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif cafile is not None:
            _load_authorities(context, Path(cafile))
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if certificate is not None:
            _load_certificate(context, Path(certificate), None if key is None else Path(key))
        self._context = context

    def wrap(self, sock: Any) -> RecordSocket:
        """The TLS side of a connected socket, which is used up. Nothing is sent or read yet."""
        return RecordSocket.over(self._context, sock, server_side=False, name=self.server_name)


def facts_of(sock: RecordSocket) -> TLSFacts:
    """What a finished handshake settled."""
    cipher = sock.cipher()
    certificate: bytes | None = None
    names: tuple[str, ...] = ()
    if not sock.server_side or sock.context.verify_mode != ssl.CERT_NONE:
        certificate = sock.getpeercert(binary_form=True)
        names = _names_of(sock.getpeercert() or {})
    return TLSFacts(
        version=sock.version() or "",
        cipher=cipher[0] if cipher else "",
        alpn=sock.selected_alpn_protocol(),
        server_name=sock.asked_name if sock.server_side else sock.server_hostname,
        peer_certificate=certificate,
        peer_names=names,
    )


def _names_of(certificate: Any) -> tuple[str, ...]:
    names = tuple(str(value) for _kind, value in certificate.get("subjectAltName", ()))
    if names:
        return names
    return tuple(
        str(value)
        for part in certificate.get("subject", ())
        for key, value in part
        if key == "commonName"
    )


def _by_name(
    entries: Iterable[tuple[tuple[str, ...], ssl.SSLContext]],
) -> dict[str, ssl.SSLContext]:
    named: dict[str, ssl.SSLContext] = {}
    for names, context in entries:
        for name in names:
            named.setdefault(name.lower().rstrip("."), context)
    return named


def _new_context(side: Any, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if alpn:
        try:
            context.set_alpn_protocols(list(alpn))
        except ssl.SSLError as error:
            raise TcpdError(f"alpn {list(alpn)}: a name has 1 to 255 bytes") from error
    return context


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    _readable(certificate, "certificate")
    if key is not None:
        _readable(key, "key")

    def no_password() -> str:
        raise TcpdError(f"key {key or certificate}: it is encrypted; tcpd needs it in the clear")

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"key {key or certificate}: it doesn't belong to certificate {certificate}"
        elif key is None:
            problem = f"certificate {certificate}: it doesn't hold a certificate and a key in PEM"
        else:
            problem = f"certificate {certificate} and key {key}: one of them isn't valid PEM"
        raise TcpdError(f"{problem} ({error.reason or error})") from error


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path | None, chain: Path) -> None:
    """Load a certificate again, with its chain, which OpenSSL reads from one file only."""
    _readable(chain, "chain")
    with tempfile.NamedTemporaryFile(prefix="tcpd-chain-", suffix=".pem") as both:
        both.write(certificate.read_bytes() + b"\n" + chain.read_bytes())
        both.flush()
        try:
            context.load_cert_chain(both.name, key or certificate)
        except ssl.SSLError as error:
            raise TcpdError(f"chain {chain}: it isn't valid PEM ({error.reason})") from error


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Trust the certificates in a PEM file, or in a directory's `.pem` files that hold any."""
    if path.is_dir():
        files = sorted(path.glob("*.pem"))
    else:
        _readable(path, "authorities")
        files = [path]
    found = False
    for file in files:
        with suppress(OSError):  # an SSLError is one, too
            context.load_verify_locations(file)
            found = True
    if not found:
        place = "a .pem file in it" if path.is_dir() else "it"
        raise TcpdError(f"authorities {path}: no certificate in PEM is in {place}")


def _readable(path: Path, what: str) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise TcpdError(f"{what} {path}: {error.strerror}") from error
