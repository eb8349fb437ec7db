"""What happened, as values, and the bus that carries them to whoever wants to know.

Events are not diagnostics: a program reads them. Their field names follow OpenTelemetry's
(`client.address`), and who a session is was bound by tcpd: nothing a peer sends can change it.

Rules of the bus:
- A subscriber that raises loses that event, and nobody else notices but the log.
- Nothing is built when nobody listens: ask `bus.wants(SessionOpened)` first where it matters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from twisted.logger import Logger


def host_and_port(host: str, port: int) -> str:
    """Return an address for people: `192.0.2.1:80`, `[2001:db8::1]:80`."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Identity(NamedTuple):
    """Who a session is; the same for all that is said of it.

    A tuple, as one is made for every session, and a frozen dataclass takes twice the time.
    """

    session_id: str
    listener: str
    """The name of its listener, or of its connector."""
    handler: str
    client_address: str
    """The peer's IP address, or `unix`."""
    client_port: int
    """The peer's port; 0 where there is none."""
    local_address: str
    role: Literal["listener", "connector"] = "listener"
    """Which of the two `listener` names."""
    hop_address: str = ""
    """The IP address of the proxy that told the client's, or `unix`; empty without one."""

    @property
    def peer(self) -> str:
        """The peer, for people: `192.0.2.1:5000`, `[2001:db8::1]:5000`, `unix`."""
        return host_and_port(self.client_address, self.client_port)

    def fields(self) -> dict[str, object]:
        """Return the identity under the names that records use."""
        fields: dict[str, object] = {
            "session.id": self.session_id,
            self.role: self.listener,
            "handler": self.handler,
            "client.address": self.client_address,
            "client.port": self.client_port,
            "network.local.address": self.local_address,
        }
        if self.hop_address:
            fields["network.peer.address"] = self.hop_address
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened."""

    event_name: ClassVar[str] = ""
    """What records call it (`tcpd.event_names`); empty for a class that only others derive from."""

    def fields(self) -> dict[str, object]:
        """Return what happened under the names that records use."""
        raise TypeError(f"{type(self).__name__} has no fields")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent(Event):
    """Something that happened to one session."""

    identity: Identity

    def fields(self) -> dict[str, object]:
        """Return the session's identity."""
        return self.identity.fields()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(SessionEvent):
    """A connection was made, and its handler is about to hear of it."""

    event_name: ClassVar[str] = "session.opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(SessionEvent):
    """A connection is over; said exactly once for each that was opened."""

    event_name: ClassVar[str] = "session.closed"

    bytes_in: int
    bytes_out: int
    duration: float
    """Seconds."""
    reason: str

    def fields(self) -> dict[str, object]:
        """Return the identity, the totals, and why it ended."""
        return {
            **self.identity.fields(),
            "bytes.in": self.bytes_in,
            "bytes.out": self.bytes_out,
            "duration": round(self.duration, 6),
            "close.reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFailed(SessionEvent):
    """A handler raised; its session ends."""

    event_name: ClassVar[str] = "handler.failed"

    error: str

    def fields(self) -> dict[str, object]:
        """Return the identity and the error."""
        return {**self.identity.fields(), "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerEvent(SessionEvent):
    """What a handler itself reports with `session.emit`."""

    name: str
    data: Mapping[str, object] = field(default_factory=dict)

    def fields(self) -> dict[str, object]:
        """Return the handler's own fields; the identity goes over them and can't be replaced."""
        return {**self.data, "event.name": self.name, **self.identity.fields()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRefused(Event):
    """A connection came to a listener and didn't become a session."""

    event_name: ClassVar[str] = "session.refused"

    listener: str
    client_address: str
    """The peer's IP address, or `unix`; behind a proxy, the true one, if it is known."""
    client_port: int
    """The peer's port; 0 where there is none."""
    reason: str
    """What the gate said (`denied`, `sessions`, ...), or how it ended (`tls-failed`, ...)."""
    hop: str = ""
    """The proxy that it came through; empty without one."""

    def fields(self) -> dict[str, object]:
        """Return which listener, who, and why."""
        fields: dict[str, object] = {
            "listener": self.listener,
            "client.address": self.client_address,
            "client.port": self.client_port,
            "refuse.reason": self.reason,
        }
        if self.hop:
            fields["network.peer.address"] = self.hop
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerChanged(Event):
    """A listener began or ended to accept connections at one of its addresses."""

    event_name: ClassVar[str] = "listener.changed"

    listener: str
    address: str
    up: bool
    state: str = ""
    """What an operator had it do, if that is why: `suspended`, `draining`, `resumed`."""

    def fields(self) -> dict[str, object]:
        """Return which listener, where, its state, and why if that isn't the address itself."""
        fields: dict[str, object] = {
            "listener": self.listener,
            "address": self.address,
            "up": self.up,
        }
        if self.state:
            fields["state"] = self.state
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorChanged(Event):
    """A connector came to another state."""

    event_name: ClassVar[str] = "connector.changed"

    connector: str
    state: str
    detail: str = ""

    def fields(self) -> dict[str, object]:
        """Return which connector, its state, and why."""
        return {"connector": self.connector, "state": self.state, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationReloaded(Event):
    """The configuration was read again, and what is different in it applied."""

    event_name: ClassVar[str] = "configuration.reloaded"

    changes: tuple[str, ...]
    """What has changed, in words."""
    duration: float
    """How long it took, during which nothing else was done; in seconds."""

    def fields(self) -> dict[str, object]:
        """Return what has changed, and how long it took."""
        return {"changes": list(self.changes), "duration": round(self.duration, 6)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRefused(Event):
    """The configuration was read again and can't be applied; what there was goes on."""

    event_name: ClassVar[str] = "configuration.refused"

    errors: tuple[str, ...]
    """All that is wrong, in words."""
    duration: float
    """How long it took, during which nothing else was done; in seconds."""

    def fields(self) -> dict[str, object]:
        """Return what is wrong, and how long it took."""
        return {"errors": list(self.errors), "duration": round(self.duration, 6)}


def event_classes() -> list[type[Event]]:
    """Return the classes of tcpd's own events: those with a name."""

    def below(cls: type[Event]) -> Iterator[type[Event]]:
        for each in cls.__subclasses__():
            # A dataclass with slots is made twice, and only the second has a place in its module.
            if getattr(sys.modules.get(each.__module__), each.__name__, None) is each:
                yield each
                yield from below(each)

    return [each for each in below(Event) if each.event_name]


E = TypeVar("E", bound=Event)


class Bus:
    """Carries each event to those who subscribed to its class.

    Attributes:
        at_begins: called with each session that begins, before its handler hears of it.
        at_ends: called with each session that has ended, before its `SessionClosed` is made, for
            who can do without one: it is a part of what a short session costs.
    """

    log = Logger()

    def __init__(self) -> None:
        self.at_begins: list[Callable[[Any], object]] = []
        self.at_ends: list[Callable[[Any], object]] = []
        self._subscriptions: dict[type[Event], tuple[_Subscription, ...]] = {}

    def subscribe(self, kind: type[E], subscriber: Callable[[E], None]) -> Callable[[], None]:
        """Call `subscriber` with each event of exactly the class `kind` from now on.

        Returns:
            A function that ends this subscription: once it has returned, no event comes any more.
        """
        subscription = _Subscription(subscriber)
        # A new tuple each time, so that a subscriber may come or go while an event is on its way.
        self._subscriptions[kind] = (*self._subscriptions.get(kind, ()), subscription)

        def unsubscribe() -> None:
            subscription.ended = True
            left = (each for each in self._subscriptions[kind] if each is not subscription)
            self._subscriptions[kind] = tuple(left)

        return unsubscribe

    def wants(self, kind: type[Event]) -> bool:
        """Return whether anybody listens for events of this class."""
        return bool(self._subscriptions.get(kind))

    def session_began(self, session: Any) -> None:
        """Tell `at_begins` of a session that begins."""
        for heed in self.at_begins:
            try:
                heed(session)
            except Exception:
                self.log.failure("what heeds the beginnings of sessions failed")

    def session_ended(self, session: Any) -> None:
        """Tell `at_ends` of a session that has just ended."""
        for heed in self.at_ends:
            try:
                heed(session)
            except Exception:
                self.log.failure("what heeds the ends of sessions failed")

    def emit(self, event: Event) -> None:
        """Tell everybody who subscribed to the event's class."""
        for subscription in self._subscriptions.get(type(event), ()):
            if subscription.ended:
                continue
            try:
                subscription.subscriber(event)
            except Exception:
                self.log.failure("a subscriber failed on {event}", event=type(event).__name__)


class _Subscription:
    """Somebody's wish to be told; the same subscriber may have several."""

    __slots__ = ("ended", "subscriber")

    def __init__(self, subscriber: Callable[[Any], None]) -> None:
        self.subscriber = subscriber
        self.ended = False
