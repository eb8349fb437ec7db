"""Sessions of a listener on real sockets: their handlers' failures, their ends, and no leaks."""

import socket
import struct
from contextlib import suppress

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from tcpd.endpoint import ServerEndpoint
from tcpd.events import Bus, HandlerFailed, SessionClosed, SessionOpened
from tcpd.listener import Listener
from tcpd.net.transport import StreamTransport
from tcpd.relay import Relay
from tcpd.serving import Serving
from tcpd.session import Origin

PATIENCE = 20
ENDPOINTS = {
    "ours": "tcp:0:interface=127.0.0.1",
    "another package's": "haproxy:tcp:0:interface=127.0.0.1",
}
HEADER = b"PROXY TCP4 198.51.100.1 203.0.113.1 56324 443\r\n"


class House:
    """A listener in this process, and what was reported and logged."""

    def __init__(self, factory, endpoint):
        self.events = []
        self.logs = []
        self.waiting = []
        bus = Bus()
        for kind in (SessionOpened, SessionClosed, HandlerFailed):
            bus.subscribe(kind, self._hear)
        self.origin = Origin(name="main", handler="test", role="listener", bus=bus, clock=reactor)
        address = ServerEndpoint.parse(endpoint)
        self.listener = Listener(reactor, [address], Serving(self.origin, factory))

    def _hear(self, event):
        self.events.append(event)
        for count, waiter in list(self.waiting):
            if len(self.of(SessionClosed)) >= count:
                self.waiting.remove((count, waiter))
                waiter.callback(None)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def closed(self, count):
        """Wait until so many sessions have ended."""
        if len(self.of(SessionClosed)) < count:
            waiter = Deferred()
            self.waiting.append((count, waiter))
            await waiter.addTimeout(PATIENCE, reactor)
        await deferLater(reactor, 0)

    @property
    def failures(self):
        return [event["log_failure"] for event in self.logs if event.get("log_failure")]

    async def __aenter__(self):
        globalLogPublisher.addObserver(self.logs.append)
        self.listener.startService()
        self.address = ("127.0.0.1", self.listener.ports[0].getHost().port)
        return self

    async def __aexit__(self, *_):
        await self.listener.stopService()
        globalLogPublisher.removeObserver(self.logs.append)


async def talk(address, data=b"", header=b""):
    """Connect, say something, finish, and return all that comes until the end or a reset."""

    def run():
        answer = b""
        # A reset may come as early as amid connecting, or between sending and finishing.
        with suppress(OSError):
            with socket.create_connection(address, timeout=PATIENCE) as sock:
                sock.sendall(header + data)
                sock.shutdown(socket.SHUT_WR)
                while chunk := sock.recv(65536):
                    answer += chunk
        return answer

    return await deferToThread(run)


async def reset(address):
    """Connect and reset the connection at once."""

    def run():
        sock = socket.create_connection(address, timeout=PATIENCE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    await deferToThread(run)


class Echoes(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)


@pytest.fixture(params=list(ENDPOINTS))
def kind(request):
    return request.param


@pytest_twisted.ensureDeferred
async def test_the_transport_is_the_handlers_own_and_a_relay_only_where_it_must_be(kind):
    transports = []

    class Handler(Echoes):
        def connectionMade(self):
            transports.append(self.transport)
            assert self.transport.protocol is self

    async with House(Factory.forProtocol(Handler), ENDPOINTS[kind]) as house:
        header = HEADER if kind != "ours" else b""
        assert await talk(house.address, b"hello", header) == b"hello"
        await house.closed(1)
    assert isinstance(transports[0], StreamTransport if kind == "ours" else Relay)
    (closed,) = house.of(SessionClosed)
    assert (closed.bytes_in, closed.bytes_out, closed.reason) == (5, 5, "peer-closed")
    assert house.origin.sessions == {}
    if kind != "ours":
        assert closed.identity.client_address == "198.51.100.1"
        assert closed.identity.client_port == 56324


@pytest.mark.parametrize("length", [1, 100_000])
@pytest_twisted.ensureDeferred
async def test_behind_a_proxy_header_every_byte_counts(length):
    data = bytes(range(256)) * (length // 256 + 1)
    endpoint = ENDPOINTS["another package's"]
    async with House(Factory.forProtocol(Echoes), endpoint) as house:
        assert await talk(house.address, data, HEADER) == data
        await house.closed(1)
    (closed,) = house.of(SessionClosed)
    assert (closed.bytes_in, closed.bytes_out) == (len(data), len(data))


@pytest_twisted.ensureDeferred
async def test_without_its_proxy_header_the_session_just_ends():
    endpoint = ENDPOINTS["another package's"]
    async with House(Factory.forProtocol(Echoes), endpoint) as house:
        assert await talk(house.address, b"GET / HTTP/1.0\r\n\r\n") == b""
        await house.closed(1)
    assert house.origin.sessions == {}
    assert house.failures == []


FAILING = ["buildProtocol", "makeConnection", "connectionMade", "dataReceived", "connectionLost"]


@pytest.mark.parametrize("where", [*FAILING, "buildSession"])
@pytest_twisted.ensureDeferred
async def test_a_handler_that_raises_ends_its_session_with_one_record(kind, where):
    def fail(*arguments):
        raise RuntimeError(where)

    class Handler(Factory):
        noisy = False
        protocol = Echoes

    if where.startswith("build"):
        setattr(Handler, where, fail)
    else:
        Handler.protocol = type("Failing", (Echoes,), {where: fail})
    async with House(Handler(), ENDPOINTS[kind]) as house:
        header = HEADER if kind != "ours" else b""
        await talk(house.address, b"hello", header)
        await house.closed(1)
        Handler.protocol = Echoes
        if where.startswith("build"):
            delattr(Handler, where)
        assert await talk(house.address, b"hello", header) == b"hello"  # nobody else notices
        await house.closed(2)
    assert [failure.getErrorMessage() for failure in house.failures] == [where]
    assert len(house.of(SessionOpened)) == len(house.of(SessionClosed)) == 2
    assert len(house.of(HandlerFailed)) == 1
    reason = house.of(SessionClosed)[0].reason
    assert reason == ("peer-closed" if where == "connectionLost" else "handler-failed")
    assert house.origin.sessions == {}


@pytest_twisted.ensureDeferred
async def test_a_handler_may_refuse(kind):
    class Refuses(Factory):
        noisy = False

        def buildProtocol(self, addr):
            return None

    async with House(Refuses(), ENDPOINTS[kind]) as house:
        assert await talk(house.address, b"hello") == b""
        await house.closed(1)
    assert house.of(SessionClosed)[0].reason == "handler-refused"
    assert house.failures == []


@pytest_twisted.ensureDeferred
async def test_a_peer_that_resets_at_once_leaves_nothing_behind(kind):
    async with House(Factory.forProtocol(Echoes), ENDPOINTS[kind]) as house:
        for _ in range(20):
            await reset(house.address)
        await house.closed(20)
    assert len(house.of(SessionOpened)) == len(house.of(SessionClosed)) == 20
    assert {event.reason for event in house.of(SessionClosed)} <= {"peer-reset", "lost"}
    assert house.origin.sessions == {}
    assert house.failures == []


@pytest_twisted.ensureDeferred
async def test_a_thousand_sessions_leave_nothing_behind():
    living = set()

    class Handler(Echoes):
        def connectionMade(self):
            living.add(id(self))

        def connectionLost(self, reason):
            living.discard(id(self))

    def many(address):
        for _ in range(1000):
            with socket.create_connection(address, timeout=PATIENCE) as sock:
                sock.sendall(b"x")
                sock.recv(1)

    async with House(Factory.forProtocol(Handler), ENDPOINTS["ours"]) as house:
        await deferToThread(many, house.address)
        await house.closed(1000)
    assert len(house.of(SessionClosed)) == 1000
    assert len({event.identity.session_id for event in house.of(SessionOpened)}) == 1000
    assert house.origin.sessions == {}
    assert living == set()


@pytest_twisted.ensureDeferred
async def test_a_plain_factory_works_as_twisted_has_it():
    class Remembers(Factory):
        noisy = False
        protocol = Echoes
        told = []

        def startFactory(self):
            self.told.append("start")

        def stopFactory(self):
            self.told.append("stop")

        def buildProtocol(self, addr):
            self.told.append(addr.host)
            return super().buildProtocol(addr)

    async with House(Remembers(), ENDPOINTS["ours"]) as house:
        assert await talk(house.address, b"hello") == b"hello"
        await house.closed(1)
    assert Remembers.told == ["start", "127.0.0.1", "stop"]


@implementer(IHalfCloseableProtocol)
class EchoesToTheEnd(Echoes):
    def readConnectionLost(self):
        self.transport.write(b"end")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass


class SendsSlowly(Protocol):
    """Answers through a producer: only so much at a time as the transport asks for."""

    left = 50

    def dataReceived(self, data):
        self.transport.registerProducer(self, streaming=False)

    def resumeProducing(self):
        if not self.left:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        self.left -= 1
        self.transport.write(bytes(20_000))

    def stopProducing(self):
        pass


@pytest.mark.parametrize(
    ("protocol", "asks", "answer", "causes"),
    [
        (Echoes, bytes(300_000), bytes(300_000), {"peer-closed"}),
        (EchoesToTheEnd, bytes(300_000), bytes(300_000) + b"end", {"handler-closed"}),
        # Whose end comes first depends on how much the kernel holds.
        (SendsSlowly, b"?", bytes(1_000_000), {"peer-closed", "handler-closed"}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_on_a_stock_port_half_close_and_producers_work_too(protocol, asks, answer, causes):
    async with House(Factory.forProtocol(protocol), ENDPOINTS["ours"]) as house:
        port = reactor.listenTCP(0, house.listener.serving, interface="127.0.0.1")
        assert await talk(("127.0.0.1", port.getHost().port), asks) == answer
        await house.closed(1)
        await port.stopListening()
    (closed,) = house.of(SessionClosed)
    assert closed.bytes_out == len(answer)
    assert closed.reason in causes
    assert house.failures == []
