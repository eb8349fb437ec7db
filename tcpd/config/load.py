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

from tcpd.capture.settings import LiveCaptureConfig
from tcpd.config.admin import address_problems, read_token, with_safe_modes
from tcpd.config.files import (
    argument_problems,
    capture_problems,
    directory_problems,
    log_problems,
    tls_problems,
)
from tcpd.config.schema import (
    ADMIN,
    DEFAULT_HANDLER,
    AdminConfig,
    ClientTLSConfig,
    Config,
    ConnectorConfig,
    ListenerConfig,
    LogConfig,
    ServerTLSConfig,
    StopConfig,
)
from tcpd.config.sinks import BuildSink, place_problems, read_sink
from tcpd.endpoint import ClientEndpoint, ServerEndpoint
from tcpd.endpoint_kinds import CLIENTS, SERVERS
from tcpd.errors import ConfigError, ConfigErrors, did_you_mean
from tcpd.escape import escape_text
from tcpd.fields import Place, Source, build_partly, dotted, keys_of
from tcpd.sinks.settings import SinkConfig
from tcpd.toml_file import TomlFile

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# The endpoints to which the net layer adds TLS by itself; what another does with it isn't ours.
_CAN_HAVE_TLS = ("tcp", "tcp6", "unix", "systemd")

Named = TypeVar("Named", ListenerConfig, ConnectorConfig, SinkConfig)


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
    path: Path,
    build_handler: BuildHandler,
    installed_kinds: InstalledKinds | None = None,
    build_sink: BuildSink | None = None,
) -> Config:
    """Return the configuration in a file.

    Args:
        path: the TOML file; relative paths in it start from its directory.
        build_handler: makes handlers.
        installed_kinds: knows the endpoints that plugins bring along; without it, an endpoint of a
            kind that tcpd doesn't know itself is left for Twisted to judge.
        build_sink: makes sinks; without it, their kinds and options are left unchecked.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    file = TomlFile.read(path)
    return build_config(file.table, file, build_handler, installed_kinds, build_sink)


def build_config(
    table: Mapping[str, Any],
    source: Source,
    build_handler: BuildHandler,
    installed_kinds: InstalledKinds | None = None,
    build_sink: BuildSink | None = None,
) -> Config:
    """Return the configuration in a table.

    Args:
        table: the table.
        source: where its values come from.
        build_handler: makes handlers.
        installed_kinds: as for `load`.
        build_sink: as for `load`.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    loader = _Loader(Place(source), build_handler, installed_kinds, build_sink)
    config = loader.config(table)
    if loader.problems:
        raise ConfigErrors(loader.in_order())
    return config


class _Loader:
    def __init__(
        self,
        root: Place,
        build_handler: BuildHandler,
        installed_kinds: InstalledKinds | None,
        build_sink: BuildSink | None,
    ) -> None:
        self.root = root
        self.build_sink = build_sink
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
        sinks = self.section(table, "sinks", self.sink)
        at = self.root / "log"
        log = build_partly(LogConfig, table.get("log", {}), at, self.problems)
        if log is not None:
            self.problems += log_problems(log, at)
        at = self.root / "stop"
        stop = build_partly(StopConfig, table.get("stop", {}), at, self.problems)
        at = self.root / "capture"
        capture = build_partly(LiveCaptureConfig, table.get("capture", {}), at, self.problems)
        if capture is not None and capture.path is not None:
            self.problems += directory_problems(capture.path, at / "path")
        admin = self.admin(table["admin"], self.root / "admin") if "admin" in table else None
        for section, names in (("listeners", listeners), ("connectors", connectors)):
            if ADMIN in names:
                problem = "the admin side has this name ([admin])"
                self.problems.append((self.root / section / ADMIN).error(problem, "choose another"))
        for name in connectors.keys() & listeners.keys():
            place = self.root / "connectors" / name
            self.problems.append(place.error("a listener has this name", "choose another"))
        served = [*listeners, *connectors]
        for name, sink in sinks.items():
            if sink is not None:
                self.problems += place_problems(sink, self.root / "sinks" / name, served)
        self.check_clashes()
        if not (table.get("listeners") or table.get("connectors")):
            hint = "add a [listeners.NAME] with a 'listen', or a [connectors.NAME] with a 'connect'"
            self.problems.append(self.root.error("there is nothing to run in it", hint))
        return Config(
            listeners={name: each for name, each in listeners.items() if each},
            connectors={name: each for name, each in connectors.items() if each},
            log=log or LogConfig(),
            stop=stop or StopConfig(),
            sinks={name: each for name, each in sinks.items() if each},
            admin=admin,
            capture=capture or LiveCaptureConfig(),
        )

    def section(
        self,
        table: Mapping[str, Any],
        key: str,
        read: Callable[[object, Place], Named | None],
    ) -> dict[str, Named | None]:
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
        read: Callable[[object, Place], Named | None],
    ) -> Named | None:
        if not _NAME.fullmatch(name):
            hint = "a name has 1 to 64 of the characters A-Z a-z 0-9 _ . -"
            self.problems.append(place.error("this isn't a valid name", hint))
        return read(table, place)

    def listener(self, table: object, place: Place) -> ListenerConfig | None:
        """Return a listener, or None with its problems noted."""
        found = len(self.problems)
        listener = build_partly(ListenerConfig, table, place, self.problems)
        factory = self.handler(table, place)
        tls = getattr(listener, "tls", None)
        for endpoint, where in self.endpoints(listener, table, place):
            self.check_tls(endpoint, tls, where)
            if getattr(listener, "proxy", None) is not None and not endpoint.known:
                problem = f"tcpd can't read a PROXY header on {endpoint.kind!r} endpoints"
                self.problems.append((place / "proxy").error(problem, "leave the table out"))
        if tls is not None:
            self.problems += tls_problems(tls, place / "tls")
        self.check_capture(listener, place)
        if listener is None or len(self.problems) > found:
            return None
        return dataclasses.replace(listener, factory=factory, base=(place / "handler").directory)

    def endpoints(
        self, config: object, table: object, place: Place
    ) -> Iterator[tuple[ServerEndpoint, Place]]:
        """Give the endpoints in `listen` and their places, each checked but for its TLS."""
        at = place / "listen"
        in_a_list = isinstance(_get(table, "listen"), list)
        for index, endpoint in enumerate(getattr(config, "listen", ())):
            if endpoint is None:  # it is wrong
                continue
            where = at / index if in_a_list else at
            self.addresses.append((where, endpoint))
            self.check_kind(endpoint, where)
            self.check_directory(endpoint, where)
            yield endpoint, where

    def admin(self, table: object, place: Place) -> AdminConfig | None:
        """Return the admin side, or None with its problems noted."""
        found = len(self.problems)
        admin = build_partly(AdminConfig, table, place, self.problems)
        guarded = "token_file" in table if isinstance(table, Mapping) else True
        for endpoint, where in self.endpoints(admin, table, place):
            self.check_tls(endpoint, None, where)
            self.problems += address_problems(endpoint, where, guarded=guarded)
        token = None
        token_file = getattr(admin, "token_file", None)
        if token_file is not None:
            token = read_token(token_file, place / "token_file", self.problems)
        if admin is None or len(self.problems) > found:
            return None
        return dataclasses.replace(admin, listen=with_safe_modes(admin.listen), token=token)

    def connector(self, table: object, place: Place) -> ConnectorConfig | None:
        """Return a connector, or None with its problems noted."""
        found = len(self.problems)
        connector = build_partly(ConnectorConfig, table, place, self.problems)
        factory = self.handler(table, place)
        endpoint, tls = getattr(connector, "connect", None), getattr(connector, "tls", None)
        if endpoint is not None:
            self.check_kind(endpoint, place / "connect")
            self.check_tls(endpoint, tls, place / "connect")
        if tls is not None:
            kind = getattr(endpoint, "kind", None)
            if kind == "unix" and tls.verify and not tls.server_name:
                hint = "add 'server_name', or 'verify = false'"
                problem = "a UNIX socket has no host name that the server could prove"
                self.problems.append((place / "tls").error(problem, hint))
            self.problems += tls_problems(tls, place / "tls")
        self.check_capture(connector, place)
        if connector is None or len(self.problems) > found:
            return None
        return dataclasses.replace(connector, factory=factory, base=(place / "handler").directory)

    def check_capture(self, config: object, place: Place) -> None:
        """Note what is wrong with the capture of a listener or connector, if it has one."""
        capture = getattr(config, "capture", None)
        if capture is not None:
            self.problems += capture_problems(capture, place.path[-1], place / "capture")

    def sink(self, table: object, place: Place) -> SinkConfig | None:
        """Return a sink, or None with its problems noted."""
        return read_sink(table, place, self.build_sink, self.problems)

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
        """Note an endpoint of a kind that nobody knows, or that isn't safe."""
        if endpoint.kind == "haproxy" and isinstance(endpoint, ServerEndpoint):
            problem = "'haproxy:' would believe anybody's PROXY header"
            inner = endpoint.text.partition(":")[2]
            hint = f"write '{inner}', and say whom to trust: proxy = {{ trusted = [...] }}"
            self.problems.append(place.error(problem, hint))
            return
        if endpoint.known or self.installed_kinds is None:
            return
        server = isinstance(endpoint, ServerEndpoint)
        installed = self.installed_kinds(server=server)
        if endpoint.kind not in installed:
            kinds = [*(SERVERS if server else CLIENTS), *sorted(installed)]
            known = f"known are {', '.join(dict.fromkeys(kinds))}"
            hint = did_you_mean(endpoint.kind, kinds) or known
            problem = f"no kind of endpoint is called {endpoint.kind!r}"
            self.problems.append(place.error(problem, hint))

    def check_tls(
        self,
        endpoint: ServerEndpoint | ClientEndpoint,
        tls: ServerTLSConfig | ClientTLSConfig | None,
        place: Place,
    ) -> None:
        """Note files of an endpoint string that are wrong, and a `tls` table that can't be."""
        if endpoint.tls is not None:
            self.problems += argument_problems(endpoint.tls, place)
        if tls is None or endpoint.kind in _CAN_HAVE_TLS:
            return
        if endpoint.is_tls:
            problem = f"{endpoint.kind}: brings TLS of its own, and there is a 'tls' table too"
            self.problems.append(place.error(problem, "write 'tcp:', or leave the table out"))
        else:
            problem = f"tcpd can't add TLS to an endpoint of the kind {endpoint.kind!r}"
            self.problems.append(place.error(problem, "leave the 'tls' table out"))

    def check_directory(self, endpoint: ServerEndpoint, place: Place) -> None:
        """Note a server's `tls:` that names no directory: Twisted would read it only later."""
        path = endpoint.args[0] if endpoint.args else endpoint.options.get("path", "")
        if endpoint.kind == "tls" and not Path(path).is_dir():
            shown = escape_text(path, limit=100)
            problem = f"'tls:' begins with a directory of certificates, and {shown!r} isn't one"
            hint = "for a single certificate write 'tcp:' and add a 'tls' table"
            self.problems.append(place.error(problem, hint))

    def check_clashes(self) -> None:
        """Note each address that was given before."""
        for number, (place, endpoint) in enumerate(self.addresses):
            for at, earlier in self.addresses[:number]:
                if endpoint.clashes_with(earlier):
                    other = f"{dotted(at.path)} ({earlier.text})"
                    if at.is_words:  # its path is nothing that anybody has written
                        other = f"{earlier.text!r}, which is given too"
                    problem = f"{endpoint.address} is taken by {other}"
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


def _file_and_line(where: str) -> tuple[str, int]:
    match = re.match(r"(.*?):(\d+)(?:: |$)", where)
    return (match[1], int(match[2])) if match else ("", 0)
