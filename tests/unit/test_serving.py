"""From a connection to a session and its handler's protocol, on transports in memory."""

import re

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from tcpd.errors import StartError
from tcpd.events import Bus, HandlerFailed, SessionClosed, SessionOpened
from tcpd.interfaces import ISessionFactory
from tcpd.net.port import Acceptor
from tcpd.serving import Arrival, Serving
from tcpd.session import Origin, Session
from tcpd.testing import MemoryTransport

PEER = IPv4Address("TCP", "192.0.2.7", 5000)
HOST = IPv4Address("TCP", "192.0.2.1", 80)
DONE = Failure(ConnectionDone())


class Talker(Protocol):
    """Remembers what it is told, and raises where the test wants it to."""

    raises_in = ""

    def __init__(self):
        self.told = []

    def _hear(self, what):
        self.told.append(what)
        if self.raises_in == what:
            raise RuntimeError(what)

    def makeConnection(self, transport):
        self._hear("makeConnection")
        super().makeConnection(transport)

    def connectionMade(self):
        self._hear("connectionMade")

    def dataReceived(self, data):
        self._hear("dataReceived")

    def connectionLost(self, reason):
        self._hear("connectionLost")


class House:
    """A serving, its bus, and all that came of it."""

    def __init__(self, factory):
        self.events = []
        bus = Bus()
        for kind in (SessionOpened, SessionClosed, HandlerFailed):
            bus.subscribe(kind, self.events.append)
        self.origin = Origin(name="main", handler="test", role="listener", bus=bus, clock=Clock())
        self.serving = Serving(self.origin, factory)

    def accept(self):
        transport = MemoryTransport(self.origin.clock, PEER, HOST)
        self.serving.accept(transport)
        return transport

    @property
    def heard(self):
        return [type(event).__name__ for event in self.events]


def end(transport):
    """End a connection as tcpd's transports do: the protocol hears it, then the observer."""
    if transport.protocol is not None:
        transport.protocol.connectionLost(DONE)
    transport.observer.transport_closed(DONE)


def test_it_is_what_ports_and_endpoints_ask_for() -> None:
    serving = House(Factory.forProtocol(Talker)).serving
    assert verifyObject(IProtocolFactory, serving)
    assert isinstance(serving, Acceptor)
    assert verifyObject(IProtocol, Arrival(serving))
    assert verifyObject(IHalfCloseableProtocol, Arrival(serving))


def test_the_transports_protocol_is_the_handlers_own() -> None:
    factory = Factory.forProtocol(Talker)
    house = House(factory)
    transport = house.accept()
    assert type(transport.protocol) is Talker
    assert transport.protocol.transport is transport
    assert transport.protocol.factory is factory
    assert transport.protocol.told == ["makeConnection", "connectionMade"]
    assert isinstance(transport.observer, Session)
    assert house.heard == ["SessionOpened"]


def test_the_handler_hears_nothing_before_its_session_exists() -> None:
    class Asks(Factory):
        def buildProtocol(self, addr):
            assert addr == PEER
            assert len(house.origin.sessions) == 1
            assert house.heard == ["SessionOpened"]
            return Talker()

    house = House(Asks())
    assert house.accept().close_cause == ""


def test_a_session_factory_is_given_the_session() -> None:
    @implementer(ISessionFactory)
    class Aware:
        def buildSession(self, session):
            self.session = session
            session.emit("met")
            return Talker()

        def buildProtocol(self, addr):
            raise AssertionError("buildSession goes before")

    factory = Aware()
    assert verifyClass(ISessionFactory, Aware)
    house = House(factory)
    transport = house.accept()
    assert factory.session is transport.observer
    assert factory.session.peer == PEER
    assert type(transport.protocol) is Talker


@pytest.mark.parametrize("name", ["buildProtocol", "buildSession"])
def test_a_handler_may_refuse_a_session(name: str) -> None:
    class Refuses:
        pass

    setattr(Refuses, name, lambda self, whom: None)
    house = House(Refuses())
    with capturedLogs() as logs:
        transport = house.accept()
    assert transport.disconnected
    assert transport.close_cause == "handler-refused"
    end(transport)
    assert house.heard == ["SessionOpened", "SessionClosed"]
    assert house.events[-1].reason == "handler-refused"
    assert house.origin.sessions == {}
    assert logs == []


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
@pytest.mark.parametrize(
    "where", ["buildProtocol", "buildSession", "makeConnection", "connectionMade"]
)
def test_a_handler_that_raises_ends_its_own_session(where: str, error: type) -> None:
    def fail(*arguments):
        raise error(where)

    class Handler(Factory):
        protocol = Talker

    neighbour_house = House(Handler())
    neighbour = neighbour_house.accept()
    if where.startswith("build"):
        setattr(Handler, where, fail)
    else:
        Handler.protocol = type("Failing", (Talker,), {where: fail})
    house = House(Handler())
    with capturedLogs() as logs:
        transport = house.accept()
    assert transport.disconnected
    assert transport.close_cause == "handler-failed"
    end(transport)
    assert house.heard == ["SessionOpened", "HandlerFailed", "SessionClosed"]
    assert [each["log_failure"].type for each in logs] == [error]
    assert logs[0]["record"]["session.id"] == house.events[0].identity.session_id
    assert not neighbour.disconnected


def test_what_is_no_protocol_is_one_record_and_no_session() -> None:
    class Confused(Factory):
        def buildProtocol(self, addr):
            return {"protocol": "none"}

    for come in (lambda house: house.accept(), lambda house: arrive(house)[0]):
        house = House(Confused())
        with capturedLogs() as logs:
            came = come(house)
            if isinstance(came, Arrival):
                came.connectionLost(DONE)
                assert came.handler_protocol is None
            else:
                assert came.protocol is None
                end(came)
        (record,) = logs
        assert "no protocol, but a dict" in record["log_failure"].getErrorMessage()
        assert house.heard == ["SessionOpened", "HandlerFailed", "SessionClosed"]
        assert house.events[-1].reason == "handler-failed"


def test_start_and_stop_reach_the_handlers_factory() -> None:
    told = []

    class Handler(Factory):
        noisy = False

        def startFactory(self):
            told.append("start")

        def stopFactory(self):
            told.append("stop")

    serving = House(Handler()).serving
    serving.doStart()
    serving.doStop()
    assert told == ["start", "stop"]


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3)])
def test_a_handler_that_fails_to_start_says_how_and_where_in_one_line(error) -> None:
    class Handler(Factory):
        noisy = False

        def startFactory(self):
            raise error

    with capturedLogs() as logs, pytest.raises(StartError) as caught:
        House(Handler()).serving.doStart()
    text = str(caught.value)
    assert text.startswith(f"the handler test failed to start: {type(error).__name__}: {error} (")
    assert re.search(r"/test_serving\.py:\d+\)$", text)
    assert logs == []


def test_what_a_handler_raises_when_it_stops_is_one_record_and_stops_nothing() -> None:
    class Handler(Factory):
        noisy = False

        def stopFactory(self):
            raise SystemExit(3)

    serving = House(Handler()).serving
    serving.doStart()
    with capturedLogs() as logs:
        serving.doStop()
    (record,) = logs
    assert record["handler"] == "test"
    assert record["log_failure"].type is SystemExit


def test_a_factory_without_start_and_stop_is_no_trouble() -> None:
    serving = House(object()).serving
    serving.doStart()
    serving.doStop()


def test_a_connection_that_ended_too_soon_is_one_line_and_no_session() -> None:
    house = House(Factory.forProtocol(Talker))
    transport = MemoryTransport(house.origin.clock, PEER, HOST)
    with capturedLogs() as logs:
        transport.close_cause = "tls-failed"
        house.serving.abandoned(transport, Failure(ValueError("no\nTLS")))
    (record,) = logs
    assert record["message"] == (
        r"listener main: 192.0.2.7:5000 was gone before its session began: no\nTLS (tls-failed)"
    )
    assert record["record"] == {
        "listener": "main",
        "client.address": "192.0.2.7",
        "client.port": 5000,
        "refuse.reason": "tls-failed",
        "count": 1,
        "detail": r"no\nTLS",
    }
    assert house.serving.refusals.counts == {"tls-failed": 1}
    house.serving.refusals.flush()
    assert house.events == []


# -- arriving through an endpoint, on a transport that isn't ours ------------------------------


def arrive(house, transport=None):
    transport = transport or StringTransport(hostAddress=HOST, peerAddress=PEER)
    arrival = house.serving.buildProtocol(PEER)
    arrival.makeConnection(transport)
    return arrival, transport


def test_over_another_packages_transport_everything_is_passed_on_and_counted() -> None:
    house = House(Factory.forProtocol(Talker))
    arrival, transport = arrive(house)
    protocol = arrival.handler_protocol
    assert type(protocol) is Talker
    assert protocol.transport.protocol is protocol
    arrival.dataReceived(b"abc")
    protocol.transport.write(b"12345")
    assert transport.value() == b"12345"
    arrival.connectionLost(DONE)
    assert protocol.told == ["makeConnection", "connectionMade", "dataReceived", "connectionLost"]
    closed = house.events[-1]
    assert (closed.bytes_in, closed.bytes_out, closed.reason) == (3, 5, "peer-closed")
    assert house.heard == ["SessionOpened", "SessionClosed"]
    assert house.origin.sessions == {}


def test_half_close_is_passed_on_to_a_handler_that_knows_it() -> None:
    @implementer(IHalfCloseableProtocol)
    class HalfCloses(Talker):
        def readConnectionLost(self):
            self._hear("readConnectionLost")

        def writeConnectionLost(self):
            self._hear("writeConnectionLost")

    arrival, transport = arrive(House(Factory.forProtocol(HalfCloses)))
    arrival.readConnectionLost()
    arrival.writeConnectionLost()
    told = arrival.handler_protocol.told
    assert told[2:] == ["readConnectionLost", "writeConnectionLost"]
    assert not transport.disconnecting


def test_a_wrapper_round_one_of_our_transports_is_not_taken_for_one() -> None:
    # Twisted's ProtocolWrapper passes on every attribute of what it wraps, bytes_in among them.
    ours = MemoryTransport(Clock(), PEER, HOST)

    class Wrapper(StringTransport):
        def __getattr__(self, name):
            return getattr(ours, name)

    house = House(Factory.forProtocol(Talker))
    arrival, _ = arrive(house, Wrapper(hostAddress=HOST, peerAddress=PEER))
    arrival.dataReceived(b"abc")
    assert arrival.handler_protocol.told[-1] == "dataReceived"
    arrival.connectionLost(DONE)
    assert house.heard == ["SessionOpened", "SessionClosed"]
    assert house.events[-1].bytes_in == 3


def test_a_refusal_there_closes_the_connection_and_hears_nothing_more() -> None:
    class Refuses(Factory):
        def buildProtocol(self, addr):
            return None

    house = House(Refuses())
    arrival, transport = arrive(house)
    assert transport.disconnecting
    with capturedLogs() as logs:
        arrival.dataReceived(b"too late")
        arrival.readConnectionLost()
        arrival.connectionLost(DONE)
    assert arrival.handler_protocol is None
    assert house.heard == ["SessionOpened", "SessionClosed"]
    assert house.events[-1].reason == "handler-refused"
    assert logs == []


@pytest.mark.parametrize(
    "where", ["buildProtocol", "connectionMade", "dataReceived", "connectionLost"]
)
def test_a_handler_that_raises_there_ends_its_session_with_one_record(where: str) -> None:
    class Handler(Factory):
        def buildProtocol(self, addr):
            if where == "buildProtocol":
                raise RuntimeError(where)
            talker = Talker()
            talker.raises_in = where
            return talker

    house = House(Handler())
    with capturedLogs() as logs:
        arrival, transport = arrive(house)
        arrival.dataReceived(b"1")
        arrival.dataReceived(b"2")
        arrival.connectionLost(DONE)
    assert [each["log_failure"].getErrorMessage() for each in logs] == [where]
    assert house.heard == ["SessionOpened", "HandlerFailed", "SessionClosed"]
    assert transport.disconnecting == (where != "connectionLost")
    if where == "dataReceived":
        assert arrival.handler_protocol.told[2:] == ["dataReceived", "connectionLost"]
