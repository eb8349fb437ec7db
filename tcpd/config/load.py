"""A TOML table becomes a configuration, or the list of everything that is wrong with it.

Rules:
- All mistakes are told at once, in the order of their lines.
- What can be known without opening a port is known here: endpoints, handlers and their options,
  files that have to be there.
- It knows nothing of Twisted. Handlers are made by a callable that is passed in
  (`tcpd.registry.build_handler`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tcpd.config.schema import (
    DEFAULT_HANDLER,
    ClientTLSConfig,
    Config,
    ConnectorConfig,
    ListenerConfig,
    LogConfig,
    ServerTLSConfig,
)
from tcpd.endpoint import ClientEndpoint, ServerEndpoint
from tcpd.endpoint_kinds import CLIENTS, SERVERS
from tcpd.errors import ConfigError, ConfigErrors, did_you_mean
from tcpd.escape import escape_text
from tcpd.fields import Place, Source, build, dotted, keys_of
from tcpd.toml_file import TomlFile

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# The endpoints to which the net layer adds TLS by itself; what another does with it isn't ours.
_CAN_HAVE_TLS = ("tcp", "tcp6", "unix", "systemd")

Served = TypeVar("Served", ListenerConfig, ConnectorConfig)


class BuildHandler(Protocol):
    """A function that makes handlers; `tcpd.registry.build_handler` is one."""

    def __call__(
        self,
        name: str,
        options: Mapping[str, Any],
        name_at: Place,
        options_at: Place,
        /,
        *,
        problems: list[ConfigError],
        base: Path | None = None,
    ) -> Any:
        """Return the factory of a handler, or None after adding to `problems` what is wrong.

        Args:
            name: the handler's name.
            options: its options, unchecked.
            name_at: where its name stands.
            options_at: where its options stand.
            problems: gains an entry for every mistake.
            base: the directory that a relative file is looked up in.
        """


class InstalledKinds(Protocol):
    """A function that knows the kinds of endpoint that plugins bring along."""

    def __call__(self, *, server: bool) -> Collection[str]:
        """Return the names of those to listen on, or of those to connect to."""


def load(
    path: Path, build_handler: BuildHandler, installed_kinds: InstalledKinds | None = None
) -> Config:
    """Return the configuration in a file.

    Args:
        path: the TOML file; relative paths in it start from its directory.
        build_handler: makes handlers.
        installed_kinds: knows the endpoints that plugins bring along; without it, an endpoint of a
            kind that tcpd doesn't know itself is left for Twisted to judge.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    file = TomlFile.read(path)
    return build_config(file.table, file, build_handler, installed_kinds)


def build_config(
    table: Mapping[str, Any],
    source: Source,
    build_handler: BuildHandler,
    installed_kinds: InstalledKinds | None = None,
) -> Config:
    """Return the configuration in a table.

    Args:
        table: the table.
        source: where its values come from.
        build_handler: makes handlers.
        installed_kinds: as for `load`.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    loader = _Loader(Place(source), build_handler, installed_kinds)
    config = loader.config(table)
    if loader.problems:
        raise ConfigErrors(loader.in_order())
    return config


class _Loader:
    def __init__(
        self, root: Place, build_handler: BuildHandler, installed_kinds: InstalledKinds | None
    ) -> None:
        self.root = root
        self.build_handler = build_handler
        self.installed_kinds = installed_kinds
        self.problems: list[ConfigError] = []
        self.addresses: list[tuple[Place, ServerEndpoint]] = []

    def config(self, table: Mapping[str, Any]) -> Config:
        keys = keys_of(Config)
        for key in table:
            if key not in keys:
                hint = did_you_mean(key, keys) or f"known here: {', '.join(keys)}"
                self.problems.append((self.root / key).error("unknown key", hint))
        listeners = self.section(table, "listeners", self.listener)
        connectors = self.section(table, "connectors", self.connector)
        log = build(LogConfig, table.get("log", {}), self.root / "log", self.problems)
        for name in connectors.keys() & listeners.keys():
            place = self.root / "connectors" / name
            self.problems.append(place.error("a listener has this name", "choose another"))
        self.check_clashes()
        if not (table.get("listeners") or table.get("connectors")):
            hint = "add a [listeners.NAME] with a 'listen', or a [connectors.NAME] with a 'connect'"
            self.problems.append(self.root.error("there is nothing to run in it", hint))
        return Config(
            listeners={name: each for name, each in listeners.items() if each},
            connectors={name: each for name, each in connectors.items() if each},
            log=log or LogConfig(),
        )

    def section(
        self,
        table: Mapping[str, Any],
        key: str,
        read: Callable[[object, Place], Served | None],
    ) -> dict[str, Served | None]:
        """Return a table of named tables, each read; None stands for one that is wrong."""
        section = table.get(key, {})
        place = self.root / key
        if not isinstance(section, Mapping):
            hint = f"write [{key}.NAME]"
            self.problems.append(place.error("expected a table of named tables", hint))
            return {}
        return {name: self.named(name, each, place / name, read) for name, each in section.items()}

    def named(
        self,
        name: str,
        table: object,
        place: Place,
        read: Callable[[object, Place], Served | None],
    ) -> Served | None:
        if not _NAME.fullmatch(name):
            hint = "a name has 1 to 64 of the characters A-Z a-z 0-9 _ . -"
            self.problems.append(place.error("this can't be a name", hint))
        return read(table, place)

    def listener(self, table: object, place: Place) -> ListenerConfig | None:
        """Return a listener, or None with its problems noted."""
        listener = build(ListenerConfig, table, place, self.problems)
        # Looked up even if another key is wrong, so that all mistakes are found.
        factory = self.handler(table, place)
        if listener is None:
            return None
        at = place / "listen"
        in_a_list = isinstance(_get(table, "listen"), list)
        places = [at / index if in_a_list else at for index in range(len(listener.listen))]
        self.addresses += zip(places, listener.listen, strict=True)
        for at, endpoint in zip(places, listener.listen, strict=True):
            self.check_kind(endpoint, at)
            if listener.tls is not None:
                self.check_tls(endpoint, at)
        if listener.tls is not None:
            self.check_files(listener.tls, place / "tls")
        return None if factory is None else dataclasses.replace(listener, factory=factory)

    def connector(self, table: object, place: Place) -> ConnectorConfig | None:
        """Return a connector, or None with its problems noted."""
        connector = build(ConnectorConfig, table, place, self.problems)
        factory = self.handler(table, place)
        if connector is None:
            return None
        endpoint, tls = connector.connect, connector.tls
        self.check_kind(endpoint, place / "connect")
        if tls is not None:
            self.check_tls(endpoint, place / "connect")
            if endpoint.kind == "unix" and tls.verify and not tls.server_name:
                hint = "add 'server_name', or 'verify = false'"
                problem = "a UNIX socket has no host name that the server could prove"
                self.problems.append((place / "tls").error(problem, hint))
            self.check_files(tls, place / "tls")
        return None if factory is None else dataclasses.replace(connector, factory=factory)

    def handler(self, table: object, place: Place) -> Any:
        """Return the factory of a listener or connector, made of its options; None if it can't."""
        name, options = _get(table, "handler", DEFAULT_HANDLER), _get(table, "options", {})
        if not (isinstance(name, str) and isinstance(options, Mapping)):
            return None  # noted already
        at = place / "handler"
        return self.build_handler(
            name,
            options,
            at,
            place / "options",
            problems=self.problems,
            base=at.directory,
        )

    def check_kind(self, endpoint: ServerEndpoint | ClientEndpoint, place: Place) -> None:
        """Note an endpoint of a kind that nobody knows."""
        if endpoint.known or self.installed_kinds is None:
            return
        server = isinstance(endpoint, ServerEndpoint)
        installed = self.installed_kinds(server=server)
        if endpoint.kind not in installed:
            kinds = [*(SERVERS if server else CLIENTS), *sorted(installed)]
            there_is = f"there is {', '.join(dict.fromkeys(kinds))}"
            hint = did_you_mean(endpoint.kind, kinds) or there_is
            problem = f"no kind of endpoint is called {endpoint.kind!r}"
            self.problems.append(place.error(problem, hint))

    def check_tls(self, endpoint: ServerEndpoint | ClientEndpoint, place: Place) -> None:
        """Note an endpoint that can't have the `tls` table beside it."""
        if endpoint.kind in _CAN_HAVE_TLS:
            return
        if endpoint.is_tls:
            problem = f"{endpoint.kind}: brings TLS of its own, and there is a 'tls' table too"
            self.problems.append(place.error(problem, "write 'tcp:', or leave the table out"))
        else:
            problem = f"tcpd can't add TLS to an endpoint of the kind {endpoint.kind!r}"
            self.problems.append(place.error(problem, "leave the 'tls' table out"))

    def check_files(self, tls: ServerTLSConfig | ClientTLSConfig, place: Place) -> None:
        """Note each file of a `tls` table that can't be read."""
        for at, path in _files(tls, place):
            try:
                with path.open("rb"):
                    pass
            except OSError as error:
                problem = f"{escape_text(str(path))} can't be read: {error.strerror}"
                self.problems.append(at.error(problem))

    def check_clashes(self) -> None:
        """Note each address that was given before."""
        for number, (place, endpoint) in enumerate(self.addresses):
            for at, earlier in self.addresses[:number]:
                if endpoint.clashes_with(earlier):
                    problem = f"{endpoint.address} is taken by {dotted(at.path)} ({earlier.text})"
                    self.problems.append(place.error(problem, "choose another address"))
                    break

    def in_order(self) -> list[ConfigError]:
        """Return the problems in the order of their lines, without doubles.

        Those without a line come first, and those in another file, which a handler has read, last.
        """
        ours = ("", _file_and_line(str(self.root / "log"))[0])

        def order(problem: ConfigError) -> tuple[bool, str, int]:
            file, line = _file_and_line(problem.where)
            return (file not in ours, "" if file in ours else file, line)

        return sorted({str(each): each for each in self.problems}.values(), key=order)


def _get(table: object, key: str, default: Any = None) -> Any:
    return table.get(key, default) if isinstance(table, Mapping) else default


def _files(tls: Any, place: Place) -> Iterator[tuple[Place, Path]]:
    """Give every path in a `tls` table with its place."""
    for key in keys_of(type(tls)):
        value = getattr(tls, key)
        if isinstance(value, Path):
            yield place / key, value
    for index, each in enumerate(getattr(tls, "sni", ())):
        yield from _files(each, place / "sni" / index)


def _file_and_line(where: str) -> tuple[str, int]:
    match = re.match(r"(.*?):(\d+)(?:: |$)", where)
    return (match[1], int(match[2])) if match else ("", 0)
