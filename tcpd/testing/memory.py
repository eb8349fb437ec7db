"""A handler's factory as the daemon makes it, and a connection to it in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tcpd.errors import ConfigError, ConfigErrors
from tcpd.events import Bus, HandlerEvent
from tcpd.fields import CommandLine, Place
from tcpd.registry import build_handler
from tcpd.session import Origin, Session

# How often a pull producer is asked for more after each step; one without end stops there.
PULLS = 16


def make_handler(handler: Any, **options: Any) -> Any:
    """Return a handler's factory as the daemon would make it.

    Args:
        handler: what `--handler` takes, or a Protocol class, a factory class, or a factory.
        options: its options, as the configuration would hold them: `idle="5m"`.

    Raises:
        ConfigErrors: there is no such handler, or its options are wrong; an entry a mistake.
    """
    problems: list[ConfigError] = []
    table = {key.rstrip("_"): value for key, value in options.items()}
    at = Place(CommandLine("options"))
    factory = build_handler(handler, table, Place(CommandLine("handler")), at, problems=problems)
    if factory is None:
        raise ConfigErrors(problems)
    return factory


class MemoryTransport(StringTransport):
    """Twisted's `StringTransport`, with what tcpd's own transports have besides.

    Attributes:
        bytes_in: how many bytes the peer has sent.
        bytes_out: how many bytes were written.
        close_cause: empty, or why the connection is over.
        tap: called with `in` or `out` and the bytes as they pass; None for no tap.
        tls: facts about TLS; None, but a test may set it.
        stage: what it waits for before its session; nothing.
        write_closed: whether our side was shut down.
    """

    tap: Callable[[str, bytes], object] | None = None
    tls: Any = None
    stage: str = ""
    observer: Any = None
    protocol: Any = None
    write_closed = False

    def __init__(self, clock: Clock, peer: Any, host: Any) -> None:
        super().__init__(hostAddress=host, peerAddress=peer, lenient=True)
        self.clock = clock
        self.bytes_in = self.bytes_out = 0
        self.last_read = self.last_write = clock.seconds()
        self.close_cause = ""

    def write(self, data: bytes) -> None:
        """Take bytes; none after a close."""
        if self.disconnected or self.disconnecting_now or self.write_closed:
            return
        super().write(data)
        self.bytes_out += len(data)
        self.last_write = self.clock.seconds()
        if self.tap is not None and data:
            self.tap("out", data)

    def writeSequence(self, data: Sequence[bytes]) -> None:
        """Take several pieces."""
        self.write(b"".join(data))

    @property
    def disconnecting_now(self) -> bool:
        """Whether the close was asked for and waits for no producer."""
        return self.disconnecting and self.producer is None

    def loseConnection(self) -> None:
        """Close, after a producer has finished."""
        self.disconnecting = True

    def abortConnection(self) -> None:
        """Close at once."""
        self.abort_because("handler-aborted")

    def reset_connection(self) -> None:
        """Close at once with a reset."""
        self.abort_because("handler-aborted")

    def abort_because(self, cause: str) -> None:
        """Close at once and note why."""
        self.close_cause = self.close_cause or cause
        self.disconnecting = self.disconnected = True

    def close_because(self, cause: str) -> None:
        """Close when what was written is sent, and note why."""
        self.close_cause = self.close_cause or cause
        self.loseConnection()

    @property
    def queued(self) -> int:
        """Nothing ever waits here: the peer is in the same memory."""
        return 0

    def loseWriteConnection(self) -> None:
        """Shut down our side."""
        self.write_closed = True

    def setTcpNoDelay(self, enabled: object) -> None:
        """Accept the setting; there is no socket."""

    def setTcpKeepAlive(self, enabled: object) -> None:
        """Accept the setting; there is no socket."""

    def getTcpNoDelay(self) -> bool:
        """Say what tcpd's transports say."""
        return True

    def getTcpKeepAlive(self) -> bool:
        """Say what tcpd's transports say."""
        return False


class Peer:
    """The other end of a connection to a handler, in memory.

    Args:
        factory: the handler's factory.
        clock: the session's clock; one of its own by default.
        address: the address that the handler sees as its peer's.

    Attributes:
        events: what the handler reported with `session.emit`: names and fields.
    """

    def __init__(self, factory: Any, clock: Clock | None = None, address: Any = None) -> None:
        self.clock = clock if clock is not None else Clock()
        self.events: list[tuple[str, dict[str, object]]] = []
        self._unread = bytearray()
        self._on_way: list[bytes] = []  # what was sent and not yet delivered; b"" is the end
        self._finished = self._drains = self._told_write_closed = self._over = False
        bus = Bus()
        bus.subscribe(HandlerEvent, lambda event: self.events.append((event.name, {**event.data})))
        self.transport = MemoryTransport(
            self.clock,
            address or IPv4Address("TCP", "192.0.2.7", 54321),
            IPv4Address("TCP", "192.0.2.1", 9999),
        )
        origin = Origin(
            name="test",
            handler=type(factory).__name__,
            role="listener",
            bus=bus,
            clock=self.clock,
        )
        self.session = self.transport.observer = Session(origin, self.transport)
        self.session.begin()
        build = getattr(factory, "buildSession", None)
        protocol = build(self.session) if build else factory.buildProtocol(self.session.peer)
        if protocol is None:
            self._end(ConnectionAborted(), "handler-refused")
            return
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        self._settle()

    @property
    def protocol(self) -> Any:
        """The handler's protocol; None if it refused."""
        return self.transport.protocol

    @property
    def closed(self) -> str:
        """Why the connection is over, as a session's record says it; empty while it lasts."""
        return self.transport.close_cause if self._over else ""

    def take(self) -> bytes:
        """Return what the handler has sent since the last time."""
        self._unread += self.transport.value()
        self.transport.clear()
        taken, self._unread = bytes(self._unread), bytearray()
        return taken

    def send(self, data: bytes) -> None:
        """Send bytes, which arrive in one piece; once the connection is over they go nowhere."""
        if self._finished:
            raise ValueError("this side has finished: nothing can be sent after it")
        if data:
            self._on_way.append(data)
        self._settle()

    def finish(self) -> None:
        """Shut down this side, as `nc -N` does at the end of its input; the handler may answer."""
        self._finished = True
        self._on_way.append(b"")
        self._settle()

    def wait(self, seconds: float) -> None:
        """Let time pass; each call that becomes due is made at its own time."""
        end = self.clock.seconds() + seconds
        while True:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            self.clock.advance(max(min(due, end) - self.clock.seconds(), 0))
            self._settle()
            if due >= end:
                return

    def leave(self) -> None:
        """Close the connection, in order."""
        self._end(ConnectionDone(), "peer-closed")

    def reset(self) -> None:
        """Lose the connection, as by a reset or a broken network."""
        self._end(ConnectionLost(), "peer-reset")

    def _settle(self) -> None:
        """Deliver what is on its way, feed from a producer, and end what is at its end."""
        transport = self.transport
        while (
            self._on_way
            and not self._over
            and transport.producerState == "producing"
            and not transport.disconnecting
        ):
            self._deliver(self._on_way.pop(0))
        for _ in range(PULLS):
            if self._over or transport.producer is None or transport.streaming:
                break
            transport.producer.resumeProducing()
        if transport.write_closed and not self._told_write_closed and not self._over:
            self._told_write_closed = True
            half_closeable = IHalfCloseableProtocol(transport.protocol, None)
            if half_closeable is not None:
                half_closeable.writeConnectionLost()
        if transport.disconnected:
            self._end(ConnectionAborted(), "handler-aborted")
        elif transport.disconnecting_now:
            self._end(ConnectionDone(), "handler-closed")
        elif self._drains and transport.producer is None:
            self._end(ConnectionDone(), "peer-closed")

    def _deliver(self, data: bytes) -> None:
        transport = self.transport
        if data:
            transport.bytes_in += len(data)
            transport.last_read = self.clock.seconds()
            if transport.tap is not None:
                transport.tap("in", data)
            transport.protocol.dataReceived(data)
            return
        half_closeable = IHalfCloseableProtocol(transport.protocol, None)
        if half_closeable is not None:
            half_closeable.readConnectionLost()
        else:
            self._drains = True

    def _end(self, reason: Exception, cause: str) -> None:
        if self._over:
            return
        self._over = True
        transport = self.transport
        transport.close_cause = transport.close_cause or cause
        transport.disconnecting = transport.disconnected = True
        transport.connected = False
        self._unread += transport.value()
        transport.clear()
        transport.tap = None
        producer, transport.producer = transport.producer, None
        if producer is not None:
            producer.stopProducing()
        failure = Failure(reason)
        if transport.protocol is not None:
            transport.protocol.connectionLost(failure)
        self.session.transport_closed(failure)


def connect(
    handler: Any, *, clock: Clock | None = None, address: Any = None, **options: Any
) -> Peer:
    """Connect to a handler in memory.

    Args:
        handler: as for `make_handler`.
        clock: the session's clock; one of its own by default.
        address: the address that the handler sees as its peer's.
        options: the handler's, as the configuration would hold them.

    Raises:
        ConfigErrors: as `make_handler` does.
    """
    return Peer(make_handler(handler, **options), clock, address)
