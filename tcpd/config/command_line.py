"""The command line's part of a configuration: laid over the file's, with places of its own.

A flag's value goes the same way as a file's, through the same checks; its place in an error is the
flag: `--option size: expected a size such as '64KiB' or '10MB', not 'big'`.
"""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcpd.endpoint import quote
from tcpd.errors import ConfigError
from tcpd.place import Path_, Place, Source, dotted

DEFAULT_PORT = 9999
DEFAULT_LISTENER = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says of a listener; None is what it doesn't say."""

    port: str | None = None
    interface: str | None = None
    listen: tuple[str, ...] = ()
    handler: str | None = None
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The handler's options, with all that each was given."""
    certificate: str | None = None
    key: str | None = None

    def __bool__(self) -> bool:
        return self != Flags()


@dataclass(frozen=True, slots=True)
class Overlay:
    """A source of which some values are the command line's, and the rest a file's.

    Args:
        given: the path of each value that the command line gives, and its flag.
        below: the file, if there is one.
        base: the directory that was the current one when the command line was given.
    """

    given: Mapping[Path_, str]
    below: Source | None
    base: Path

    def where(self, path: Path_) -> str:
        """Return the flag that gave a value, or the place in the file."""
        flag = self._flag(path)
        if flag is not None:
            # A flag's own words come one by one, so an index would tell nobody anything.
            keys = [key for key in path[len(flag) :] if isinstance(key, str)]
            return " ".join(filter(None, [self.given[flag], dotted(keys)]))
        return self.below.where(path) if self.below else "the command line"

    def is_words(self, path: Path_) -> bool:
        """Return whether a value is a word of the command line, which has no types."""
        return self._flag(path) is not None

    def directory(self, path: Path_) -> Path:
        """Return where a relative path starts: where we are for a flag, at the file for its own."""
        if self._flag(path) is not None or self.below is None:
            return self.base
        return Place(self.below, path).directory or self.base

    def _flag(self, path: Path_) -> Path_ | None:
        prefixes = (path[:length] for length in range(len(path), 0, -1))
        return next((prefix for prefix in prefixes if prefix in self.given), None)


def overlay(
    flags: Flags,
    table: Mapping[str, Any] | None,
    source: Source | None,
    base: Path | None = None,
) -> tuple[dict[str, Any], Overlay]:
    """Lay the command line over a file's table.

    Args:
        flags: the command line.
        table: the file's table, or None if there is no file.
        source: the file.
        base: the directory that the flags' relative paths start from; the current one by default.

    Returns:
        The table of both, and the source of its values.

    Raises:
        ConfigError: the flags can't be laid over this file.
    """
    both: dict[str, Any] = copy.deepcopy(dict(table or {}))
    given: dict[Path_, str] = {}
    whole = Overlay(given, source, base or Path.cwd())
    if table is not None and not flags:
        return both, whole
    listeners = both.setdefault("listeners", {})
    name = _name(listeners)
    listener = listeners.setdefault(name, {})
    if not isinstance(listener, dict):
        return both, whole

    def give(flag: str, key: str, value: object) -> None:
        listener[key] = value
        given["listeners", name, key] = flag

    asked = (flags.port, flags.interface)
    if flags.listen or asked != (None, None) or "listen" not in listener:
        listen, flag = _addresses(flags)
        give(flag, "listen", listen)
    if flags.handler is not None and flags.handler != listener.get("handler"):
        listener.pop("options", None)  # they were another handler's
        give("--handler", "handler", flags.handler)
    if "options" not in listener:
        give("--option", "options", {})
    if flags.options and isinstance(listener["options"], dict):
        listener["options"].update({key: _value(words) for key, words in flags.options.items()})
        for key in flags.options:
            given["listeners", name, "options", key] = "--option " + key
    if flags.key is not None and flags.certificate is None:
        raise ConfigError("--tls-key", "a key without a certificate", "add --tls-certificate")
    if flags.certificate is not None:
        tls = {"certificate": flags.certificate, "key": flags.key}
        chosen = {key: value for key, value in tls.items() if value is not None}
        # The file's key belongs to the file's certificate; the rest of its table stays.
        kept = {k: v for k, v in listener.get("tls", {}).items() if k not in tls}
        listener["tls"] = {**kept, **chosen}
        for key in chosen:
            given["listeners", name, "tls", key] = f"--tls-{key}"
    return both, whole


def _value(words: Sequence[str]) -> str | list[str]:
    """Return what an option was given: a text, or all the items of a list given in parts."""
    if len(words) == 1:
        return words[0]
    return [part for word in words for part in word.split(",") if part]


def _name(listeners: Mapping[str, Any]) -> str:
    """Return the listener that the flags are about."""
    if len(listeners) > 1:
        raise ConfigError(
            "the command line",
            f"the file has the listeners {', '.join(listeners)}, and flags can change only one",
            "change the file, or leave the flags out",
        )
    return next(iter(listeners), DEFAULT_LISTENER)


def _addresses(flags: Flags) -> tuple[list[str], str]:
    """Return the endpoints of --listen and of --port, and the flag to name in an error."""
    addresses = list(flags.listen)
    if addresses and flags.port is None and flags.interface is None:
        return addresses, "--listen"
    port = flags.port if flags.port is not None else str(DEFAULT_PORT)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ConfigError(
            "--port", f"{port!r} isn't a valid port", "a port is a number from 0 to 65535"
        )
    interface = flags.interface if flags.interface is not None else "127.0.0.1"
    try:
        version = ipaddress.ip_address(interface).version
    except ValueError:
        raise ConfigError(
            "--interface",
            f"{interface!r} isn't an IP address",
            "127.0.0.1 is this machine, 0.0.0.0 (or ::) every network",
        ) from None
    kind = "tcp" if version == 4 else "tcp6"
    addresses.append(f"{kind}:{port}:interface={quote(interface)}")
    return addresses, "--port"
