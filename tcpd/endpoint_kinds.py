"""The kinds of endpoint that tcpd knows, with the arguments of each and what may stand in them.

A check takes an argument's text and returns what is expected in its place, or an empty text if it
is right. The names, their order and their defaults are Twisted's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tcpd.errors import did_you_mean
from tcpd.escape import escape_text

# sun_path has 108 bytes, and Linux wants its closing NUL (unix(7)).
MAX_SOCKET_PATH = 107
# What listen(2) takes is an int; Linux caps it at somaxconn by itself.
MAX_BACKLOG = 2**31 - 1

COLON_HINT = r"a colon that belongs to an argument is written '\:'"

Check = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The arguments of a kind of endpoint.

    Attributes:
        checks: the check of each, those first that may stand without their name.
        places: how many may stand without their name.
        required: those that have to be there.
        together: a check of all of them.
        refused: those that Twisted knows and tcpd doesn't obey, with the reason.
    """

    checks: Mapping[str, Check]
    places: int
    required: tuple[str, ...]
    together: Callable[[Mapping[str, str]], str] = lambda options: ""
    refused: Mapping[str, str] = field(default_factory=dict)

    def read(self, args: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Return all arguments by their names.

        Raises:
            ValueError: one is wrong, unknown, missing, or there twice.
        """
        named = [name for name, _ in pairs]
        names = list(self.checks)[: self.places]
        if len(args) == 1 and names[:2] == ["host", "port"] and "host" in named:
            names = ["port"]  # tcp:host=www.example:80
        if len(args) > len(names):
            extra = args[len(names)]
            raise ValueError(f"{shown(extra)} is one argument too many; {COLON_HINT}")
        options: dict[str, str] = {}
        for name, value in [*zip(names, args, strict=False), *pairs]:
            if name in self.refused:
                raise ValueError(f"{name}: {self.refused[name]}")
            if name not in self.checks:
                hint = did_you_mean(name, self.checks) or f"known here: {', '.join(self.checks)}"
                raise ValueError(f"unknown argument {shown(name)}; {hint}")
            if name in options:
                raise ValueError(f"{name} is given twice; {COLON_HINT}")
            expected = self.checks[name](value)
            if expected:
                raise ValueError(f"{name}: expected {expected}, not {shown(value)}")
            options[name] = value
        for name in self.required:
            if name not in options:
                raise ValueError(f"{name} is missing")
        if problem := self.together(options):
            raise ValueError(problem)
        return options


def shown(text: str) -> str:
    """Return a text in quotes, printable and bounded, for an error."""
    # A backslash is shown as it was written: in an endpoint string most of them are escapes.
    return "'" + escape_text(text, limit=100).replace("\\\\", "\\") + "'"


def _port(text: str) -> str:
    if text.isascii() and text.isdigit() and int(text[:9]) <= 65535 and len(text) <= 5:
        return ""
    return "a port from 0 to 65535"


def _client_port(text: str) -> str:
    return "a port from 1 to 65535" if _port(text) or int(text) == 0 else ""


def _ip_address(text: str) -> str:
    if text == "":
        return ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        local = " (127.0.0.1 for localhost)" if text == "localhost" else ""
        return f"an IP address{local}"
    return ""


def _number(least: int, greatest: int = MAX_BACKLOG) -> Callable[[str], str]:
    def check(text: str) -> str:
        fits = text.isascii() and text.isdigit() and least <= int(text[:11]) <= greatest
        return "" if fits else f"a whole number from {least}"

    return check


def _mode(text: str) -> str:
    fits = re.fullmatch(r"(?:0o)?[0-7]{1,4}", text) and int(text, 8) <= 0o777
    return "" if fits else "an octal mode such as 660"


def _zero_or_one(text: str) -> str:
    return "" if text in ("0", "1") else "0 or 1"


def _socket_path(text: str) -> str:
    if not text:
        return "a path"
    if len(text.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH:
        return f"a path of {MAX_SOCKET_PATH} bytes at most"
    return ""


def _file(text: str) -> str:
    return "" if text and "\0" not in text else "a path"


def _name(text: str) -> str:
    return "" if text and text.isprintable() else "a name"


def _host(text: str) -> str:
    if text[:1] == "[":
        return "a host name or IP address, the latter without brackets"
    fits = 0 < len(text) <= 253 and text.isprintable() and not set(text) & set(" /[]@")
    return "" if fits else "a host name or IP address"


def _family(text: str) -> str:
    return "" if text in ("INET", "INET6", "UNIX") else "INET, INET6 or UNIX"


def _one_of_index_and_name(options: Mapping[str, str]) -> str:
    return "" if ("index" in options) != ("name" in options) else "it takes either index or name"


def _key_with(certificate: str) -> Callable[[Mapping[str, str]], str]:
    def check(options: Mapping[str, str]) -> str:
        alone = "privateKey" in options and certificate not in options
        return f"privateKey is of no use without {certificate}" if alone else ""

    return check


_BACKLOG = _number(0)
_TIMEOUT = _number(1)

SERVERS = {
    "tcp": Kind(
        checks={"port": _port, "interface": _ip_address, "backlog": _BACKLOG},
        places=3,
        required=("port",),
    ),
    "tcp6": Kind(
        checks={"port": _port, "backlog": _BACKLOG, "interface": _ip_address},
        places=3,
        required=("port",),
    ),
    "ssl": Kind(
        checks={
            "port": _port,
            "privateKey": _file,
            "certKey": _file,
            "interface": _ip_address,
            "backlog": _BACKLOG,
            "extraCertChain": _file,
        },
        # Twisted's fourth place is sslmethod's, so that only the first three can do without a name.
        places=3,
        required=("port",),
        refused={
            "sslmethod": "tcpd's TLS speaks 1.2 and newer; leave it out",
            "dhParameters": "tcpd's TLS needs none; leave it out",
        },
    ),
    "unix": Kind(
        checks={
            "address": _socket_path,
            "mode": _mode,
            "backlog": _BACKLOG,
            "lockfile": _zero_or_one,
        },
        places=4,
        required=("address",),
    ),
    "systemd": Kind(
        checks={"domain": _family, "index": _number(0), "name": _name},
        places=3,
        required=("domain",),
        together=_one_of_index_and_name,
    ),
}
_CONNECTION = {
    "host": _host,
    "port": _client_port,
    "timeout": _TIMEOUT,
    "bindAddress": _ip_address,
}
CLIENTS = {
    "tcp": Kind(checks=_CONNECTION, places=2, required=("host", "port")),
    "ssl": Kind(
        checks={
            **_CONNECTION,
            "hostname": _host,
            "certKey": _file,
            "privateKey": _file,
            "caCertsDir": _file,
        },
        places=2,
        required=("host", "port"),
        together=_key_with("certKey"),
    ),
    "tls": Kind(
        checks={
            **_CONNECTION,
            "certificate": _file,
            "privateKey": _file,
            "trustRoots": _file,
            "endpoint": _name,
        },
        places=8,
        required=("host", "port"),
        together=_key_with("certificate"),
    ),
    "unix": Kind(
        checks={"path": _socket_path, "lockfile": _zero_or_one, "timeout": _TIMEOUT},
        places=1,
        required=("path",),
    ),
}
