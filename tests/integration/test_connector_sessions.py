"""A connector's sessions over real sockets, through Twisted's ClientService and endpoints."""

import socket
import struct
from contextlib import asynccontextmanager

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import NoProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from tcpd.config.schema import Reconnect
from tcpd.connector import Connector
from tcpd.events import Bus, ConnectorChanged, HandlerFailed, SessionClosed, SessionOpened
from tcpd.net.transport import StreamTransport
from tcpd.relay import Relay
from tcpd.units import Seconds

PATIENCE = 20
QUICK = Reconnect(initial=Seconds(0.01), max=Seconds(0.05))


class Handler(Factory):
    """A handler whose protocols tell the test what they hear."""

    noisy = False

    def __init__(self, protocol):
        self.protocol = protocol

    def buildProtocol(self, addr):
        return None if self.protocol is None else super().buildProtocol(addr)


class Talker(Protocol):
    told: list

    def connectionMade(self):
        self.told.append("made")
        self.transport.write(b"hello")

    def dataReceived(self, data):
        self.told.append(data)

    def connectionLost(self, reason):
        self.told.append("lost")


def talker(**methods):
    return type("Talker", (Talker,), {"told": [], **methods})


class Server(Protocol):
    """What the connector meets: greets, answers, and does to it as the test says."""

    def connectionMade(self):
        self.factory.connections.append(self)
        sock = self.transport.getHandle()
        if self.factory.manner == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abortConnection()
        elif self.factory.manner == "close":
            self.transport.loseConnection()

    def dataReceived(self, data):
        self.transport.write(data.upper())


class House:
    """A server, a connector to it, and all that was reported and logged."""

    def __init__(self, protocol, manner, reconnect):
        self.events, self.logs, self._waiting = [], [], []
        self.server = Factory.forProtocol(Server)
        self.server.noisy = False
        self.server.connections = []
        self.server.manner = manner
        self.bus = Bus()
        for kind in (SessionOpened, SessionClosed, HandlerFailed, ConnectorChanged):
            self.bus.subscribe(kind, self._hear)
        self.protocol = protocol
        self.reconnect = reconnect

    def _hear(self, event):
        self.events.append(event)
        for kind, count, waiter in list(self._waiting):
            if len(self.of(kind)) >= count:
                self._waiting.remove((kind, count, waiter))
                waiter.callback(None)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def seen(self, kind, count=1):
        if len(self.of(kind)) < count:
            waiter = Deferred()
            self._waiting.append((kind, count, waiter))
            await waiter.addTimeout(PATIENCE, reactor)
        await deferLater(reactor, 0)

    @property
    def states(self):
        return [event.state for event in self.of(ConnectorChanged)]

    @property
    def failures(self):
        return [event["log_failure"] for event in self.logs if event.get("log_failure")]

    @property
    def sessions(self):
        return self.connector._serving.origin.sessions


@asynccontextmanager
async def house(protocol, manner="", reconnect=QUICK, through="string"):
    """Run a server and a connector to it, which the test starts."""
    made = House(protocol, manner, reconnect)
    globalLogPublisher.addObserver(made.logs.append)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(made.server)
    number = port.getHost().port
    made.connector = Connector(
        reactor,
        # An endpoint that was made on the stock reactor has the stock transport.
        f"tcp:127.0.0.1:{number}"
        if through == "string"
        else TCP4ClientEndpoint(reactor, "127.0.0.1", number),
        Handler(protocol),
        reconnect=reconnect,
        bus=made.bus,
    )
    try:
        yield made
    finally:
        await made.connector.stopService()
        await port.stopListening()
        for connection in made.server.connections:
            connection.transport.abortConnection()
        await deferLater(reactor, 0)
        globalLogPublisher.removeObserver(made.logs.append)


@pytest.fixture(params=["string", "endpoint"])
def through(request):
    return request.param


@pytest_twisted.ensureDeferred
async def test_the_handler_serves_the_connection_and_when_connected_gives_its_protocol(through):
    answered = Deferred()

    def dataReceived(self, data):
        assert self.transport.protocol is self
        answered.callback(data)

    protocol = talker(dataReceived=dataReceived)
    async with house(protocol, through=through) as at:
        at.connector.startService()
        mine = await at.connector.whenConnected()
        assert type(mine) is protocol
        assert isinstance(mine.transport, StreamTransport if through == "string" else Relay)
        assert await answered.addTimeout(PATIENCE, reactor) == b"HELLO"
        await at.connector.stopService()
    (closed,) = at.of(SessionClosed)
    assert (closed.bytes_in, closed.bytes_out, closed.reason) == (5, 5, "shutdown")
    assert at.states == ["connecting", "connected", "stopped"]
    assert protocol.told == ["made", "lost"]
    assert at.sessions == {}
    assert at.failures == []


@pytest.mark.parametrize("manner", ["close", "reset"])
@pytest_twisted.ensureDeferred
async def test_a_server_that_hangs_up_is_tried_again_and_each_end_is_told_once(through, manner):
    protocol = talker()
    async with house(protocol, manner, through=through) as at:
        at.connector.startService()
        await at.seen(SessionClosed, 5)
        await at.connector.stopService()
    opened, closed = at.of(SessionOpened), at.of(SessionClosed)
    assert len(opened) == len(closed)
    ids = [event.identity.session_id for event in closed]
    assert len(set(ids)) == len(ids)
    assert [told for told in protocol.told if told == "made"] == ["made"] * len(opened)
    assert [told for told in protocol.told if told == "lost"] == ["lost"] * len(opened)
    assert at.states[:5] == ["connecting", "connected", "retrying", "connected", "retrying"]
    assert at.sessions == {}
    assert at.failures == []


def _abort(self):
    self.transport.abortConnection()


def _close(self):
    self.transport.loseConnection()


@pytest.mark.parametrize("ends", [_abort, _close])
@pytest_twisted.ensureDeferred
async def test_a_handler_that_ends_the_connection_at_once_is_connected_again(through, ends):
    async with house(talker(connectionMade=ends), through=through) as at:
        at.connector.startService()
        await at.seen(SessionClosed, 3)
        await at.connector.stopService()
    assert len(at.of(SessionOpened)) == len(at.of(SessionClosed))
    reason = "handler-aborted" if ends is _abort else "handler-closed"
    assert at.of(SessionClosed)[0].reason == reason
    assert at.sessions == {}
    assert at.failures == []


@pytest.mark.parametrize("where", ["__init__", "makeConnection", "connectionMade", "dataReceived"])
@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
@pytest_twisted.ensureDeferred
async def test_a_handler_that_raises_costs_one_record_and_a_new_connection(through, where, error):
    def fail(*arguments):
        raise error(where)

    protocol = talker(**{where: fail})
    async with house(protocol, through=through) as at:
        at.connector.startService()
        await at.seen(SessionClosed, 2)
        delattr(protocol, where)
        # No session has failed since, so this one lasts.
        while at.connector.state != "connected":
            await at.seen(ConnectorChanged, len(at.of(ConnectorChanged)) + 1)
        await at.connector.stopService()
    failed = len(at.of(HandlerFailed))
    assert failed == len(at.failures) >= 2
    assert [event.reason for event in at.of(SessionClosed)][:failed] == ["handler-failed"] * failed
    assert len(at.of(SessionOpened)) == len(at.of(SessionClosed))
    assert at.sessions == {}


@pytest_twisted.ensureDeferred
async def test_a_handler_may_refuse_the_connection(through):
    async with house(None, through=through) as at:
        waiting = at.connector.whenConnected()
        at.connector.startService()
        with pytest.raises(NoProtocol):
            await waiting
        await at.seen(SessionClosed, 2)
        await at.connector.stopService()
    assert {event.reason for event in at.of(SessionClosed)} == {"handler-refused"}
    assert at.sessions == {}
    assert at.failures == []


@pytest_twisted.ensureDeferred
async def test_a_handler_may_stop_its_own_connector_at_once(through):
    stopped = []

    def connectionMade(self):
        stopped.append(at.connector.stopService())

    async with house(talker(connectionMade=connectionMade), through=through) as at:
        at.connector.startService()
        await at.seen(SessionClosed)
        assert await stopped[0].addTimeout(PATIENCE, reactor) is None
    assert len(at.of(SessionOpened)) == len(at.of(SessionClosed)) == 1
    assert at.connector.state == "stopped"
    assert not at.connector.running
    assert at.failures == []


@pytest_twisted.ensureDeferred
async def test_a_thousand_connections_leave_nothing_behind():
    protocol = talker(connectionMade=_close)
    every = Reconnect(initial=Seconds(1e-6), max=Seconds(1e-6))
    async with house(protocol, "close", every) as at:
        at.connector.startService()
        await at.seen(SessionClosed, 1000)
        await at.connector.stopService()
    assert len(at.of(SessionOpened)) == len(at.of(SessionClosed)) >= 1000
    assert at.sessions == {}


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_is_a_place_to_connect_to(tmp_path):
    answered = Deferred()
    protocol = talker(dataReceived=lambda self, data: answered.callback(data))
    server = Factory.forProtocol(Server)
    server.noisy, server.manner, server.connections = False, "", []
    port = await UNIXServerEndpoint(reactor, str(tmp_path / "x.sock")).listen(server)
    connector = Connector(reactor, f"unix:{tmp_path}/x.sock", Handler(protocol))
    connector.startService()
    assert await answered.addTimeout(PATIENCE, reactor) == b"HELLO"
    await connector.stopService()
    await port.stopListening()
