r"""Twisted's endpoint strings, read and checked before anything is opened.

`tcp:9999:interface=127.0.0.1`, `unix:/run/x.sock:mode=660`, `tcp:host.example:7000`: parts between
colons, a backslash before a colon (or anything else) that belongs to a part, `name=value` for a
named argument. See `twisted.internet.endpoints.serverFromString` and `clientFromString`, which
make the endpoint from the same string afterwards.

Rules:
- What is accepted here of the kinds we know, Twisted accepts too, with the same meaning.
- The other way round a few things are refused that Twisted lets pass and that can't be meant: ports
  out of range, an argument given twice, a name where an IP address has to stand.
- A kind that we don't know may be a plugin's: it is passed on as it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from tcpd.endpoint_kinds import CLIENTS, SERVERS, Kind, shown
from tcpd.escape import escape_text

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSArguments:
    """What an endpoint string says about TLS, under the same names for every kind.

    Attributes:
        certificate: a PEM file with our certificate.
        key: a PEM file with its key; the same file if the string names only one.
        chain: a PEM file with the certificates between ours and the root (server only).
        authorities: a directory of PEM files with the authorities to trust (client only).
        server_name: whom the server has to prove to be; None asks for no proof (client only).
    """

    certificate: Path | None = None
    key: Path | None = None
    chain: Path | None = None
    authorities: Path | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint string, taken apart.

    Attributes:
        text: the whole string, for Twisted.
        kind: what kind of endpoint: `tcp`, `unix`, or a plugin's.
        args: the arguments without a name, as they were written.
        options: the arguments by their names; of a kind we know, those without a name too.
        known: whether we know the kind, and have checked the arguments.
    """

    described: ClassVar[str] = "an endpoint such as 'tcp:9999'"

    text: str
    kind: str
    args: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    known: bool = False

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return an endpoint string taken apart and checked.

        Raises:
            ValueError: it is wrong; the text says how, and what would be right.
        """
        raise TypeError("parse a ServerEndpoint or a ClientEndpoint")

    @property
    def is_tls(self) -> bool:
        """Whether the endpoint brings TLS of its own."""
        return self.kind in ("ssl", "tls")

    @property
    def port(self) -> int | None:
        """The port, if it has one; 0 lets the kernel choose."""
        return int(self.options["port"]) if self.known and "port" in self.options else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEndpoint(Endpoint):
    """Where to listen."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return a server's endpoint string taken apart and checked."""
        return _parse(cls, value, SERVERS)

    @property
    def interface(self) -> str:
        """The IP address to listen on, in its shortest form; empty for every one of IPv4."""
        default = "::" if self.kind == "tcp6" else ""
        given = self.options.get("interface", default)
        return str(ipaddress.ip_address(given)) if given else ""

    @property
    def tls(self) -> TLSArguments | None:
        """What an `ssl:` string says about TLS; None for every other kind."""
        if self.kind != "ssl" or not self.known:
            return None
        key = self.options.get("privateKey", "server.pem")  # Twisted's default
        chain = self.options.get("extraCertChain")
        return TLSArguments(
            certificate=Path(self.options.get("certKey", key)),
            key=Path(key),
            chain=Path(chain) if chain else None,
        )

    @property
    def address(self) -> str:
        """Where it listens, in short, for people: `127.0.0.1:9999`, `*:80`, `unix:/run/x.sock`."""
        if not self.known:
            return escape_text(self.text, limit=100)
        if self.kind == "unix":
            return "unix:" + escape_text(self.options["address"])
        if self.kind == "systemd":
            return "systemd:" + escape_text(self.options.get("name") or self.options["index"])
        return _host_and_port(self.interface or "*", self.options["port"])

    @property
    def socket(self) -> tuple[str, ...]:
        """What the kernel is asked to open; two strings that differ only otherwise have the same.

        `tcp:80` and `ssl:80:privateKey=k.pem` are one socket, with and without TLS.
        """
        if not self.known:
            return (self.text,)
        if self.port is not None:
            options = self.options.get("backlog", "")
            return ("tcp", self.interface or "0.0.0.0", str(self.port), options)
        return (self.kind, *(f"{key}={value}" for key, value in sorted(self.options.items())))

    def clashes_with(self, other: ServerEndpoint) -> bool:
        """Return whether the two can't both be open, since they are the same place."""
        if not (self.known and other.known):
            return self.text == other.text
        if self.port is None or other.port is None:
            places = [{**each.options, "kind": each.kind} for each in (self, other)]
            keys = ("kind", "address", "index", "name")
            mine, theirs = [{key: place.get(key) for key in keys} for place in places]
            return mine == theirs
        if self.port != other.port or self.port == 0:
            return False
        mine_at, theirs_at = self.interface, other.interface
        if mine_at == theirs_at or "::" in (mine_at, theirs_at):  # tcpd's `::` takes IPv4 too
            return True
        both_v4 = ":" not in mine_at + theirs_at
        return both_v4 and any(at in ("", "0.0.0.0") for at in (mine_at, theirs_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEndpoint(Endpoint):
    """Where to connect to."""

    described: ClassVar[str] = "an endpoint such as 'tcp:host:7000'"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return a client's endpoint string taken apart and checked."""
        return _parse(cls, value, CLIENTS)

    @property
    def host(self) -> str | None:
        """The name or IP address to connect to, if it has one."""
        return self.options.get("host") if self.known else None

    @property
    def tls(self) -> TLSArguments | None:
        """What an `ssl:` or `tls:` string says about TLS; None for every other kind."""
        if not (self.is_tls and self.known):
            return None
        tls = self.kind == "tls"
        certificate = self.options.get("certificate" if tls else "certKey")
        key = self.options.get("privateKey", certificate)
        authorities = self.options.get("trustRoots" if tls else "caCertsDir")
        return TLSArguments(
            certificate=Path(certificate) if certificate else None,
            key=Path(key) if key and certificate else None,
            authorities=Path(authorities) if authorities else None,
            server_name=self.options.get("host" if tls else "hostname"),
        )

    @property
    def address(self) -> str:
        """Where it connects to, in short, for people: `host:7000`, `unix:/run/x.sock`."""
        if not self.known:
            return escape_text(self.text, limit=100)
        if self.kind == "unix":
            return "unix:" + escape_text(self.options["path"])
        return _host_and_port(self.options["host"], self.options["port"])


def split(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the parts without a name, and the pairs of name and value, as Twisted splits them."""
    args: list[str] = []
    pairs: list[tuple[str, str]] = []
    name: str | None = None
    part = ""
    characters = iter(text)
    for character in characters:
        if character == ":":
            _finish(args, pairs, name, part)
            name, part = None, ""
        elif character == "=" and name is None:
            name, part = part, ""
        elif character == "\\":
            following = next(characters, None)
            if following is None:
                raise ValueError("a single backslash at its end; write '\\\\' for a backslash")
            part += following
        else:
            part += character
    _finish(args, pairs, name, part)
    return args, pairs


def quote(argument: str) -> str:
    r"""Return an argument as it stands in an endpoint string: `::1` as `\:\:1`."""
    return re.sub(r"([\\:=])", r"\\\1", argument)


def _finish(args: list[str], pairs: list[tuple[str, str]], name: str | None, part: str) -> None:
    if name is None:
        args.append(part)
    else:
        pairs.append((name, part))


E = TypeVar("E", bound=Endpoint)


def _parse(cls: type[E], value: object, kinds: Mapping[str, Kind]) -> E:
    if not isinstance(value, str):
        raise ValueError(f"expected {cls.described}")
    try:
        args, pairs = split(value)
        if not args or not _KIND.fullmatch(args[0]):
            raise ValueError(_no_kind(value, kinds is SERVERS))
        # Twisted, too, takes a client's kind in any case, but of the servers' not these three.
        name = args.pop(0)
        if kinds is CLIENTS or name.lower() not in ("tcp", "ssl", "unix"):
            name = name.lower()
        elif name != name.lower():
            raise ValueError(f"write {name.lower()!r} in lower case")
        kind = kinds.get(name)
        options = kind.read(args, pairs) if kind else dict(pairs)
    except ValueError as error:
        raise ValueError(f"{shown(value)} isn't a valid endpoint: {error}") from None
    return cls(text=value, kind=name, args=tuple(args), options=options, known=kind is not None)


def _no_kind(text: str, server: bool) -> str:
    """Return what is wrong with a string that begins with no kind: a bare port or address."""
    if not text:
        return "it is empty"
    if not text.isprintable() or len(text) > 100:  # nothing to repeat in a hint
        return "it doesn't begin with a kind such as 'tcp:'"
    if not server:
        return f"it doesn't begin with a kind; write 'tcp:{text}'"
    if text.isascii() and text.isdigit():
        return f"it doesn't begin with a kind; write 'tcp:{text}'"
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    try:
        kind = "tcp6" if ipaddress.ip_address(host).version == 6 else "tcp"
    except ValueError:
        return "it doesn't begin with a kind such as 'tcp:'"
    return f"it doesn't begin with a kind; write '{kind}:{port}:interface={quote(host)}'"


def _host_and_port(host: str, port: str) -> str:
    host = escape_text(host)
    return f"[{host}]:{int(port)}" if ":" in host else f"{host}:{int(port)}"
