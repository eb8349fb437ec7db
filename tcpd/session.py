"""One connection, accepted or dialled: who it is, what it has moved, how it ended.

A session ends once, in one place: `transport_closed`. It holds no counters of its own: the
transport counts, and everybody else reads.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.escape import escape_text
from tcpd.events import (
    Bus,
    HandlerEvent,
    HandlerFailed,
    Identity,
    SessionClosed,
    SessionOpened,
    host_and_port,
)
from tcpd.tally import Tally

_INTERNET = (IPv4Address, IPv6Address)

# How a polite close at our own stop looks to the transport.
_STOP_LOOKS_LIKE = "handler-closed"

# Session ids are unique across restarts, so that records of several runs can be joined.
RUN = os.urandom(4).hex()
"""This run of tcpd, in the ids of its sessions and in the records of events."""
_numbers = itertools.count(1)


class SessionTransport(Protocol):
    """What a session asks of its transport, besides Twisted's `ITransport`."""

    bytes_in: int
    bytes_out: int
    close_cause: str

    def getPeer(self) -> Any:
        """Return the peer's address."""

    def getHost(self) -> Any:
        """Return our own address."""

    def abortConnection(self) -> None:
        """End the connection at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the sessions of one listener or connector have in common."""

    name: str
    """The listener's or the connector's name."""
    handler: str
    role: Literal["listener", "connector"]
    bus: Bus
    clock: IReactorTime
    sessions: dict[int, Session] = field(default_factory=dict)
    """The sessions that are open, by number."""
    tally: Tally = field(default_factory=Tally)
    """What they come to."""
    waiting: list[Callable[[], object]] = field(default_factory=list)
    """What is called, once, when none is open any more."""
    numbers: Iterator[int] = _numbers
    """Where the sessions' numbers come from; those of all that is served, from the same."""

    def once_empty(self, call: Callable[[], object]) -> None:
        """Call something once no session is open: at once, or after the last has ended."""
        if self.sessions:
            self.waiting.append(call)
        else:
            call()

    def tell_empty(self) -> None:
        """Call who waits for the last session's end."""
        calls = tuple(self.waiting)
        self.waiting.clear()
        for call in calls:
            call()


class Session:
    """One connection.

    Args:
        origin: the listener or connector that it belongs to.
        transport: the connection itself.

    Attributes:
        number: counts the sessions of this process, from 1.
        opened: when it began, in seconds of `clock`.
        ended: when it was over, likewise; 0 while it lasts.
        close_reason: why it ended; empty while it lasts.
        stopping: whether tcpd itself stops, and the session with it.
    """

    __slots__ = (
        "_identity",
        "close_reason",
        "ended",
        "number",
        "opened",
        "origin",
        "stopping",
        "transport",
    )

    def __init__(self, origin: Origin, transport: SessionTransport) -> None:
        self.origin = origin
        self.transport = transport
        self.number = next(origin.numbers)
        self.opened = origin.clock.seconds()
        self.ended = 0.0
        self.close_reason = ""
        self.stopping = False
        self._identity: Identity | None = None

    @property
    def id(self) -> str:
        """The session's name in every record, unique across restarts."""
        return f"{RUN}-{self.number}"

    @property
    def listener(self) -> str:
        """The name of the listener or connector."""
        return self.origin.name

    @property
    def handler(self) -> str:
        """The name of the handler."""
        return self.origin.handler

    @property
    def peer(self) -> Any:
        """The peer's address, as Twisted's transports give it."""
        return self.transport.getPeer()

    @property
    def local(self) -> Any:
        """Our own address."""
        return self.transport.getHost()

    @property
    def bytes_in(self) -> int:
        """How many bytes the peer has sent."""
        return self.transport.bytes_in

    @property
    def bytes_out(self) -> int:
        """How many bytes were sent to the peer."""
        return self.transport.bytes_out

    @property
    def proxy(self) -> Any:
        """What a PROXY header told (`tcpd.net.proxy_facts.ProxyFacts`); None without one."""
        return getattr(self.transport, "proxy", None)

    @property
    def clock(self) -> IReactorTime:
        """The clock for whatever the handler does later."""
        return self.origin.clock

    @property
    def identity(self) -> Identity:
        """Who this session is, in records."""
        if self._identity is None:
            origin = self.origin
            address, port = address_and_port(self.transport.getPeer())
            local = format_address(self.transport.getHost())
            self._identity = Identity(
                self.id, origin.name, origin.handler, address, port, local, origin.role
            )
            hop = getattr(self.transport, "hop", None)
            if hop is not None:
                hop_address, _ = address_and_port(hop)
                self._identity = self._identity._replace(hop_address=hop_address)
        return self._identity

    @property
    def log(self) -> Logger:
        """A logger whose records say which session they are about."""
        return _SessionLogger(self)

    def __str__(self) -> str:
        return f"{self.id} ({format_address(self.peer)})"

    def emit(self, name: str, /, **data: object) -> None:
        """Report an event of the handler's own; the session's identity is added to it."""
        self.origin.bus.emit(HandlerEvent(identity=self.identity, name=name, data=data))

    def begin(self) -> None:
        """Say that the session has begun."""
        self.origin.sessions[self.number] = self
        bus = self.origin.bus
        if bus.at_begins:
            bus.session_began(self)
        if bus.wants(SessionOpened):
            bus.emit(SessionOpened(identity=self.identity))

    def addresses_changed(self) -> None:
        """Take the addresses anew: only now has a proxy told the true ones."""
        self._identity = None

    def handler_failed(self, failure: Failure) -> None:
        """Record that the handler raised; the transport ends the connection by itself."""
        self.origin.tally.failures += 1
        self.log.failure(
            "the handler {handler} failed in session {session}",
            failure=failure,
            handler=self.origin.handler,
            session=str(self),
        )
        error = escape_text(failure.getErrorMessage(), limit=200)
        event = HandlerFailed(identity=self.identity, error=error)
        self.origin.bus.emit(event)

    def transport_closed(self, failure: Failure) -> None:
        """Record that the connection is over; called once, by the transport."""
        reason = self.transport.close_cause
        if self.stopping and reason == _STOP_LOOKS_LIKE:
            reason = "shutdown"
        self.close_reason = reason
        self.origin.sessions.pop(self.number, None)
        self.ended = self.origin.clock.seconds()
        self.origin.tally.session_ended(self.transport, reason, self.ended - self.opened)
        bus = self.origin.bus
        bus.session_ended(self)
        if bus.wants(SessionClosed):
            bus.emit(self.record())
        if self.origin.waiting and not self.origin.sessions:
            self.origin.tell_empty()

    def record(self) -> SessionClosed:
        """Return what is to be said of the session, once it is over."""
        return SessionClosed(
            identity=self.identity,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            duration=self.ended - self.opened,
            reason=self.close_reason,
        )


class _SessionLogger(Logger):
    """Adds a session's identity to every event, where no field of the event can change it."""

    def __init__(self, session: Session) -> None:
        super().__init__(namespace=f"tcpd.session.{session.origin.name}", source=session)
        self._session = session

    def emit(self, level: Any, format: str | None = None, **fields: Any) -> None:
        record = {**fields.pop("record", {}), **self._session.identity.fields()}
        super().emit(level, format, record=record, **fields)


def address_and_port(address: object) -> tuple[str, int]:
    """Return an address's host and port for records; an IPv4-mapped host comes out as IPv4."""
    if isinstance(address, IPv4Address):
        return address.host, address.port
    if isinstance(address, IPv6Address):
        mapped = address.host.removeprefix("::ffff:")
        # ::ffff:0:0:1 is another matter (RFC 2765); only what was mapped has dots and no colons.
        return address.host if ":" in mapped else mapped, address.port
    return "unix" if isinstance(address, UNIXAddress) else "unknown", 0


def format_address(address: object) -> str:
    """Return an address for people: `127.0.0.1:9999`, `[::1]:9999`, `unix:/run/x.sock`."""
    if isinstance(address, _INTERNET):
        return host_and_port(*address_and_port(address))
    if isinstance(address, UNIXAddress):
        name = address.name or b""
        return "unix:" + escape_text(os.fsdecode(name)) if name else "unix"
    return escape_text(str(address), limit=100)
