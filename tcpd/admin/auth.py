"""Who may do what on the admin side.

Rules:
- `READ` is to look at status, sessions, metrics and events; `CHANGE` is everything that acts, and
  the bytes of a session, for those may hold anything.
- On a UNIX socket, root and the daemon's own user may do anything; whoever else the file's mode
  lets in may look.
- On a TCP port of this machine everybody may look. If the admin side has any address that other
  machines can reach, nobody may without the token, wherever they come in.
- Who has the token may do anything. A wrong token is refused whatever could be had without one.
- A browser comes with the name of the site that it thinks it is on (`Host`), and with that of the
  page that asks (`Origin`): the first has to be ours and the second the same, lest any page on the
  web could ask in its reader's name, by a name of its own that it has point here (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpd.admin.answers import Problem
from tcpd.session import address_and_port

# struct ucred, see unix(7): the process, the user, the group.
_UCRED = struct.Struct("3i")
# A host and perhaps a port, see RFC 9110, section 7.2.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,255})(?::(\d{1,5}))?")
_FETCHED_FROM_ELSEWHERE = frozenset(("cross-site", "same-site"))


class Right(IntEnum):
    """What somebody may do, the more the higher."""

    NOTHING = 0
    READ = 1
    CHANGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of a connection to the admin side."""

    way: Literal["unix", "local", "network"]
    """How it came: by a UNIX socket, from this machine to an address of its own, or else."""
    name: str
    """Who it is, for the log."""
    host: str = ""
    """Our own address that it came to; empty for a UNIX socket."""
    user: int | None = None
    """Its user's number, if the kernel has said so."""
    secure: bool = False
    """Whether it speaks TLS."""

    @property
    def is_ours(self) -> bool:
        """Whether the kernel says that it is root or our own user."""
        return self.way == "unix" and self.user in (0, os.geteuid())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for everybody, as it is configured."""

    token: str | None = None
    """The token; None if there is none."""
    hosts: Collection[str] = ()
    """Further names of ours, in small letters."""
    open_to_others: bool = False
    """Whether any address can be reached from other machines."""


class Denied(Problem):
    """Somebody may not do what was asked for; the status is 401 if a token would help, else 403."""

    def __init__(self, status: int, problem: str, hint: str = "") -> None:
        asks = {b"WWW-Authenticate": b'Bearer realm="tcpd"'} if status == 401 else {}
        super().__init__(status, problem, hint, asks)


class WrongToken(Denied):
    """Somebody has shown a token that isn't ours."""


def peer_of(transport: Any) -> Peer:
    """Return who is at the other end of a connection, as the kernel says."""
    peer, host = transport.getPeer(), transport.getHost()
    secure = getattr(transport, "tls", None) is not None
    if isinstance(peer, UNIXAddress) or isinstance(host, UNIXAddress):
        user = _user_of(transport)
        name = "a UNIX socket" if user is None else f"user {user}"
        return Peer(way="unix", name=name, user=user, secure=secure)
    came_from, _ = address_and_port(peer)
    came_to, _ = address_and_port(host)
    ours = isinstance(host, IPv4Address | IPv6Address)
    local = ours and _is_loopback(came_to) and _is_loopback(came_from)
    return Peer(way="local" if local else "network", name=came_from, host=came_to, secure=secure)


def _user_of(transport: Any) -> int | None:
    """Return the user at the other end of a UNIX socket, at the time that it connected."""
    try:
        sock: socket.socket = transport.getHandle()
        said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except (AttributeError, OSError):
        return None
    _process, user, _group = _UCRED.unpack(said)
    return int(user) if user >= 0 else None


def rights_of(peer: Peer, rules: Rules, authorization: str | None) -> Right:
    """Return what somebody may do.

    Args:
        peer: who it is.
        rules: what is configured.
        authorization: the header `Authorization`; None if there is none.

    Raises:
        WrongToken: it shows a token that isn't ours.
        Denied: it shows something else than a token, or there is none.
    """
    if authorization is not None:
        return _right_of_bearer(rules, authorization)
    if peer.way == "unix":
        return Right.CHANGE if peer.is_ours else Right.READ
    if peer.way == "local" and not rules.open_to_others:
        return Right.READ
    return Right.NOTHING


def _right_of_bearer(rules: Rules, authorization: str) -> Right:
    scheme, _, given = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        hint = "send 'Authorization: Bearer TOKEN'"
        raise Denied(401, "this kind of authorization isn't known here", hint)
    if rules.token is None:
        hint = "set 'token_file' in [admin], or use the UNIX socket"
        raise Denied(403, "there is no token that could be right", hint)
    # In a time that doesn't tell how much of it is right.
    if not hmac.compare_digest(given.strip().encode("utf-8", "replace"), rules.token.encode()):
        raise WrongToken(401, "the token is wrong", "it is in the file that 'token_file' names")
    return Right.CHANGE


def require(wanted: Right, peer: Peer, rules: Rules, authorization: str | None) -> None:
    """Let somebody do something, or not.

    Raises:
        Denied: it may not.
    """
    if rights_of(peer, rules, authorization) >= wanted:
        return
    if peer.way == "unix":
        problem = "only root and tcpd's own user may do this here"
        hint = "use sudo" if rules.token is None else "use sudo, or show the token"
        raise Denied(403, problem, hint)
    if rules.token is None:
        hint = "set 'token_file' in [admin], or use the UNIX socket"
        raise Denied(403, "nobody may do this over TCP, as there is no token", hint)
    raise Denied(401, "this needs the token", "send 'Authorization: Bearer TOKEN'")


def check_site(
    peer: Peer,
    rules: Rules,
    *,
    host: str | None,
    origin: str | None = None,
    fetched_from: str | None = None,
    fetch_mode: str | None = None,
) -> None:
    """Let in who knows us by a name of ours, and pages of ours only.

    Args:
        peer: who it is.
        rules: what is configured.
        host: the header `Host`.
        origin: the header `Origin`, see RFC 6454; None if there is none.
        fetched_from: `Sec-Fetch-Site`, which browsers send: where the page is that asks.
        fetch_mode: `Sec-Fetch-Mode`, likewise: `navigate` is a link that somebody follows.

    Raises:
        Denied: it comes by another name, or from a page of another site.
    """
    match = _HOST.fullmatch(host) if host is not None else None
    if match is None:
        raise Denied(403, "the header Host is missing, or no host", "send 'Host: localhost'")
    name = match[1].strip("[]").lower().rstrip(".")
    if not _is_ours(name, peer, rules):
        hint = "call it localhost or by its address, or add the name to 'hosts' in [admin]"
        raise Denied(403, "it isn't known by this name (header Host)", hint)
    scheme = "https" if peer.secure else "http"
    if origin is not None and not _same(origin, scheme, match[0]):
        raise Denied(403, "a page of another site asks for this (header Origin)")
    if fetched_from in _FETCHED_FROM_ELSEWHERE and fetch_mode != "navigate":
        raise Denied(403, "a page of another site asks for this (header Sec-Fetch-Site)")


def _is_ours(name: str, peer: Peer, rules: Rules) -> bool:
    return name in ("localhost", peer.host) or name in rules.hosts or _is_loopback(name)


def _same(origin: str, scheme: str, host: str) -> bool:
    port = ":443" if scheme == "https" else ":80"
    ours = f"{scheme}://{host}".lower().removesuffix(port)
    return origin.lower().removesuffix(port) == ours


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
