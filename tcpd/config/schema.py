"""The configuration, as frozen data. The fields are the file's keys; their docstrings say what for.

Rules:
- Each key is read by something: what nothing obeys isn't accepted.
- Handlers get their own options, never this.
- Two configurations are equal if the files say the same, whatever was made of them.

`docs/configuration.md` is the reference; a test holds it against these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tcpd.admission.deadlines import ConnectorDeadlines, Deadlines
from tcpd.admission.rules import Access, Limits, Proxies
from tcpd.capture.settings import CaptureConfig, LiveCaptureConfig
from tcpd.endpoint import ClientEndpoint, ServerEndpoint
from tcpd.errors import FieldError, raise_all
from tcpd.fields import NO_KEY, OneOrMore, Range
from tcpd.sinks.settings import SinkConfig
from tcpd.units import Seconds

DEFAULT_HANDLER = "echo"
ADMIN = "admin"
"""The name under which the admin side listens, which no listener or connector can have."""
FIRST_PAUSE = Seconds(1.0)
LONGEST_PAUSE = Seconds(60.0)
DRAIN = Seconds(30.0)


class ProtocolName(str):
    """A protocol's name for ALPN (RFC 7301): 1 to 255 bytes."""

    __slots__ = ()
    described = "a protocol's name"

    @classmethod
    def parse(cls, value: object) -> ProtocolName:
        """Return the name.

        Raises:
            ValueError: it is no text, empty, or too long.
        """
        if not isinstance(value, str) or not 1 <= len(value.encode()) <= 255:
            raise ValueError("expected a protocol's name of 1 to 255 bytes, such as 'h2'")
        return cls(value)


class HostName(str):
    """A host's name as it stands in a certificate: `example.org`, `*.example.org`."""

    __slots__ = ()
    described = "a host name such as 'example.org' or '*.example.org'"

    @classmethod
    def parse(cls, value: object) -> HostName:
        """Return the name, in small letters.

        Raises:
            ValueError: it isn't a host name.
        """
        labels = value.removeprefix("*.").rstrip(".").split(".") if isinstance(value, str) else []
        if not all(_is_label(label) for label in labels) or not labels:
            raise ValueError(f"expected {cls.described}")
        return cls(str(value).rstrip(".").lower())


def _is_label(text: str) -> bool:
    return 0 < len(text) <= 63 and all(each.isalnum() or each in "-_" for each in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCertificateConfig:
    """A further certificate, for clients that ask for one of its names (SNI)."""

    names: Annotated[tuple[HostName, ...], OneOrMore()]
    """The host names; `*.example.org` stands for one label."""
    certificate: Path
    """A PEM file: the certificate, then its chain."""
    key: Path | None = None
    """A PEM file with its key, unless the certificate's file holds it too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLSConfig:
    """TLS on a listener."""

    certificate: Path
    """A PEM file: the certificate, then its chain."""
    key: Path | None = None
    """A PEM file with the certificate's key, unless the certificate's file holds it too."""
    client_ca: Path | None = None
    """A PEM file of authorities; with it, a client must show a certificate of theirs."""
    alpn: tuple[ProtocolName, ...] = ()
    """The protocols that the listener speaks, the best first (RFC 7301)."""
    sni: tuple[NamedCertificateConfig, ...] = ()
    """Further certificates, for clients that ask for their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLSConfig:
    """TLS on a connector."""

    server_name: str | None = None
    """The name that the server's certificate must be for; the host of `connect` by default."""
    cafile: Path | None = None
    """A PEM file of authorities to trust, in place of the system's."""
    verify: bool = True
    """Whether the server has to prove who it is."""
    certificate: Path | None = None
    """A PEM file with the certificate to show to the server."""
    key: Path | None = None
    """A PEM file with the certificate's key, unless the certificate's file holds it too."""
    alpn: tuple[ProtocolName, ...] = ()
    """The protocols that the connector speaks, the best first (RFC 7301)."""

    def __post_init__(self) -> None:
        errors = []
        if self.key is not None and self.certificate is None:
            problem, hint = "it is of no use without a certificate", "add 'certificate'"
            errors.append(FieldError(("key",), problem, hint, [("certificate",)]))
        if not self.verify and self.cafile is not None:
            problem, hint = "it is of no use with 'verify = false'", "leave out one of the two"
            errors.append(FieldError(("cafile",), problem, hint, [("verify",)]))
        raise_all(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerConfig:
    """A named place that accepts connections, and the handler that serves them."""

    listen: Annotated[tuple[ServerEndpoint, ...], OneOrMore()]
    """Where to listen: one or more of Twisted's endpoint strings."""
    handler: str = DEFAULT_HANDLER
    """What serves connections: a handler's name, `module:Class`, or `file.py:Class`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """The handler's own options."""
    tls: ServerTLSConfig | None = None
    """TLS for all its addresses; plain TCP without it."""
    limits: Limits = field(default_factory=Limits)
    """How many sessions it has, and how fast it lets them in."""
    access: Access = field(default_factory=Access)
    """Who may come in."""
    proxy: Proxies | None = None
    """That connections come through proxies; from the clients themselves without it."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    """How long its connections may take for what."""
    capture: CaptureConfig | None = None
    """That its sessions' bytes are written to files; they aren't without it."""
    factory: Any = field(default=None, compare=False, repr=False, metadata=NO_KEY)
    """The handler, made of its options: the factory that serves connections."""
    base: Path | None = field(default=None, compare=False, repr=False, metadata=NO_KEY)
    """The directory that a file in `handler` starts from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """The pauses between a connector's tries."""

    initial: Seconds = FIRST_PAUSE
    """The first pause."""
    max: Seconds = LONGEST_PAUSE
    """The longest pause."""
    factor: Annotated[float, Range(1.0, 100.0)] = 2.0
    """By how much each pause is longer than the one before it."""
    jitter: Annotated[float, Range(0.0, 1.0)] = 0.1
    """How much longer a pause may be at random, as a part of it."""
    tries: Annotated[int, Range(1)] | None = None
    """How many tries may fail in a row before it gives up; without end by default."""

    def __post_init__(self) -> None:
        errors = []
        if self.initial <= 0:
            errors.append(FieldError(("initial",), "a pause has to be longer than 0"))
        if self.max < self.initial:
            problem = "it is shorter than 'initial'"
            errors.append(FieldError(("max",), problem, rests_on=[("initial",)]))
        raise_all(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """A named outgoing connection that is kept up, and the handler that serves it."""

    connect: ClientEndpoint
    """Where to connect to: one of Twisted's endpoint strings."""
    handler: str = DEFAULT_HANDLER
    """What serves the connection: a handler's name, `module:Class`, or `file.py:Class`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """The handler's own options."""
    tls: ClientTLSConfig | None = None
    """TLS for the connection; plain TCP without it."""
    proxy: Literal["v1", "v2"] | None = None
    """The version of the PROXY header that the connection begins with; none without it."""
    reconnect: Reconnect = Reconnect()
    """The pauses between tries."""
    deadlines: ConnectorDeadlines = field(default_factory=ConnectorDeadlines)
    """How long its connection may take for what."""
    capture: CaptureConfig | None = None
    """That its sessions' bytes are written to files; they aren't without it."""
    factory: Any = field(default=None, compare=False, repr=False, metadata=NO_KEY)
    """The handler, made of its options: the factory that serves the connection."""
    base: Path | None = field(default=None, compare=False, repr=False, metadata=NO_KEY)
    """The directory that a file in `handler` starts from."""

    def __post_init__(self) -> None:
        if self.proxy is not None and not self.connect.known:
            # Nothing tells whether its connections would be ours, and none must go without.
            problem = f"tcpd can't send it through the endpoint {self.connect.kind!r}"
            hint = "'tcp', 'tls', 'ssl' and 'unix' can"
            raise_all([FieldError(("proxy",), problem, hint, [("connect",)])])


@dataclass(frozen=True, slots=True, kw_only=True)
class StopConfig:
    """How the process stops."""

    drain: Seconds | Literal["off"] = DRAIN
    """How long open sessions may take to finish before they are cut; `off` leaves them no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """The admin side: the status page, the HTTP API behind it, and metrics."""

    listen: Annotated[tuple[ServerEndpoint, ...], OneOrMore()]
    """Where: one or more of Twisted's endpoint strings."""
    token_file: Path | None = None
    """A file with the token that lets its bearer do anything; without it, only UNIX sockets do."""
    hosts: tuple[HostName, ...] = ()
    """Further names that browsers may know it by."""
    token: str | None = field(default=None, compare=False, repr=False, metadata=NO_KEY)
    """The token in that file."""


LogLevel = Literal["debug", "info", "warn", "error", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, how, and where."""

    level: LogLevel = "info"
    """The least important messages that are logged."""
    format: Literal["text", "json"] = "text"
    """Lines for people, or an object a line for programs."""
    file: Path | None = None
    """The file to append to, in place of where twistd logs."""
    access: bool = True
    """Whether each session that has ended gets a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a configuration file says."""

    listeners: Mapping[str, ListenerConfig] = field(default_factory=dict)
    """The listeners, by name."""
    connectors: Mapping[str, ConnectorConfig] = field(default_factory=dict)
    """The connectors, by name."""
    log: LogConfig = LogConfig()
    """The log."""
    stop: StopConfig = StopConfig()
    """How it stops."""
    sinks: Mapping[str, SinkConfig] = field(default_factory=dict)
    """Where records of events are written, by name."""
    admin: AdminConfig | None = None
    """The admin side; none without it."""
    capture: LiveCaptureConfig = field(default_factory=LiveCaptureConfig)
    """The captures that are started while it runs."""
