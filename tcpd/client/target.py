r"""Where the client is to connect to: what the user typed, parsed.

Sans-I/O: nothing is resolved here, and no file is looked at. The forms are

- `HOST PORT`, `HOST:PORT`, `[IPv6]:PORT`,
- `unix:/path`,
- Twisted's client endpoint strings `tcp:…`, `unix:…`, `tls:…` and `ssl:…` with positional or
  `key=value` arguments, `\\:` for a colon that separates nothing.

What is wrong raises `UsageError`, one line that says what would be right.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from tcpd.errors import TcpdError, did_you_mean
from tcpd.escape import escape_text

_KEYS = {
    "tcp": ("host", "port", "timeout", "bindAddress"),
    "tls": ("host", "port", "timeout", "bindAddress"),
    "ssl": ("host", "port", "timeout", "bindAddress"),
    "unix": ("path", "timeout"),
}
_MAX_PATH = 107  # sun_path holds 108 bytes with the NUL at its end, unix(7)


class UsageError(TcpdError):
    """What was typed can't be meant; the text is one line for the person who typed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect to.

    Attributes:
        host: a host name or an IP address without brackets; empty for a UNIX socket.
        port: the TCP port, 0 for a UNIX socket.
        path: the UNIX socket's path, empty for TCP.
        tls: whether the form itself asked for TLS (`tls:…`).
        timeout: how many seconds the form gives the connecting, or None where it says nothing.
        bind_address: the local address to connect from, or None for the kernel's choice.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    timeout: float | None = None
    bind_address: str | None = None

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"{format_host(self.host)}:{self.port}"


def format_host(host: str) -> str:
    """Return a host as it stands before `:port`: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_target(words: Sequence[str]) -> Target:
    """Return the target that one or two words of the command line name.

    Raises:
        UsageError: they name none.
    """
    if len(words) == 2:
        host, port = words
        if host.partition(":")[0] in _KEYS and ":" in host:
            raise UsageError(f"{host!r} is a whole address already; leave {port!r} out")
        return Target(host=_host(host), port=_port(port))
    if len(words) != 1:
        raise UsageError("where to? give HOST PORT, HOST:PORT, [IPv6]:PORT or unix:/path")
    word = words[0]
    kind, colon, rest = word.partition(":")
    if colon and kind in _KEYS:
        return _endpoint(word, kind, rest)
    return _host_and_port(word)


def _host_and_port(word: str) -> Target:
    if word.startswith("["):
        address, bracket, port = word[1:].partition("]")
        if not bracket or not port.startswith(":"):
            raise UsageError(f"{word!r}: an IPv6 address with a port is written [::1]:9999")
        return Target(host=_host(f"[{address}]"), port=_port(port[1:]))
    host, colon, port = word.rpartition(":")
    if not colon:
        shown = escape_text(word, limit=100)
        raise UsageError(f"{word!r} has no port; write {shown} PORT or {shown}:PORT")
    if ":" in host:
        kind = host.partition(":")[0]
        if not _is_ipv6(host) and not _is_ipv6(word):
            near = did_you_mean(kind, _KEYS)
            raise UsageError(
                f"{word!r} isn't an address: no endpoint is called {kind!r}; "
                + (near or "known are tcp, tls and unix")
            )
        raise UsageError(f"{word!r}: an IPv6 address with a port is written [::1]:9999")
    return Target(host=_host(host), port=_port(port))


def _endpoint(word: str, kind: str, rest: str) -> Target:
    known = _KEYS[kind]
    values: dict[str, str] = {}
    positional = 0
    for field in _split(rest):
        key, equals, value = field
        if kind == "unix" and "/" in key:  # a path with an equals sign in it
            key, equals, value = f"{key}{equals}{value}", "", ""
        if not equals:
            if positional >= len(known):
                raise UsageError(f"{word!r} has too many parts; known are {', '.join(known)}")
            key, value = known[positional], key
            positional += 1
        elif key not in known:
            hint = did_you_mean(key, known) or f"known are {', '.join(known)}"
            raise UsageError(f"{word!r}: {kind}: takes no {key!r}; {hint}")
        if key in values:
            raise UsageError(f"{word!r} gives {key!r} twice")
        values[key] = value
    timeout = _timeout(word, values["timeout"]) if "timeout" in values else None
    if kind == "unix":
        return Target(path=_path(values.get("path", "")), timeout=timeout)
    if not values.get("host") or "port" not in values:
        raise UsageError(f"{word!r} needs a host and a port: {kind}:127.0.0.1:9999")
    return Target(
        host=_host(values["host"]),
        port=_port(values["port"]),
        tls=kind != "tcp",
        timeout=timeout,
        bind_address=values.get("bindAddress"),
    )


def _split(text: str) -> list[tuple[str, str, str]]:
    """Return the `(key or value, "=" or "", value)` parts of an endpoint's arguments."""
    parts: list[tuple[str, str, str]] = []
    head, equals, current = "", "", ""
    escaped = False
    for character in text:
        if escaped:
            current += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ":":
            parts.append((head, equals, current) if equals else (current, "", ""))
            head, equals, current = "", "", ""
        elif character == "=" and not equals:
            head, equals, current = current, "=", ""
        else:
            current += character
    parts.append((head, equals, current) if equals else (current, "", ""))
    return parts


def _host(text: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if text != host or ":" in host:
        if not _is_ipv6(host):
            raise UsageError(f"{text!r} isn't an IPv6 address")
        return host
    if not host:
        raise UsageError("the host is empty; give a name or an address")
    if not host.isprintable() or any(character in "/ @[]" for character in host):
        raise UsageError(f"{text!r} isn't a host name or address")
    return host


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text[:6]) <= 65535 and len(text) <= 5:
        return int(text)
    raise UsageError(f"{text!r} isn't a valid port; a port is a number from 1 to 65535")


def _path(text: str) -> str:
    if not text:
        raise UsageError("'unix:' needs a path: unix:/run/tcpd/echo.sock")
    length = len(text.encode("utf-8", "surrogateescape"))
    if length > _MAX_PATH:
        raise UsageError(f"the socket's path has {length} bytes; at most {_MAX_PATH} are possible")
    if "\0" in text:
        raise UsageError("the socket's path has a NUL in it")
    return text


def _timeout(word: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{word!r}: the timeout is a number of seconds, greater than 0")
    return seconds
