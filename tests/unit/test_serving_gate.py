"""A listener's gate: asked before anything is built, and given back whatever becomes of it."""

import socket
from unittest import mock

import pytest
from helpers.net_loop import HandReactor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tcpd.admission.gate import Gate
from tcpd.admission.networks import Network, Networks
from tcpd.admission.rules import Access, Limits
from tcpd.events import Bus
from tcpd.net.lingering import lingering_on
from tcpd.net.network import Network as Sockets
from tcpd.net.proxy_facts import ProxyFacts
from tcpd.serving import Serving
from tcpd.session import Origin
from tcpd.testing import MemoryTransport

PEER = IPv4Address("TCP", "192.0.2.7", 5000)
PROXY = IPv4Address("TCP", "10.0.0.1", 80)
HOST = IPv4Address("TCP", "192.0.2.1", 80)
DENY_PEER = Access(deny=(Network.parse("192.0.2.7"),))


@pytest.fixture
def reactor():
    reactor = HandReactor()
    yield reactor
    reactor.close()


def make(clock, access=None, limits=None, factory=None):
    origin = Origin(name="main", handler="test", role="listener", bus=Bus(), clock=clock)
    serving = Serving(
        origin, factory or Factory.forProtocol(Protocol), None, Gate(clock, access, limits)
    )
    serving.factory.noisy = False
    return serving


def listen(reactor, serving):
    return Sockets(reactor).listenTCP(0, serving, interface="127.0.0.1")


def connect(port):
    return socket.create_connection(("127.0.0.1", port.getHost().port))


# -- our own ports --------------------------------------------------------------------------------


def test_a_place_is_held_for_as_long_as_the_connection_lasts(reactor):
    serving = make(reactor, limits=Limits(sessions=1))
    port = listen(reactor, serving)
    with connect(port):
        reactor.turn(3)
        assert serving.gate.open == 1
        with capturedLogs() as logs, connect(port) as second:
            reactor.turn(3)
            assert second.recv(1) == b""
        assert [each["record"]["refuse.reason"] for each in logs] == ["sessions"]
        assert serving.gate.open == len(serving.origin.sessions) == 1
    reactor.turn(3)
    assert serving.gate.open == len(serving.origin.sessions) == 0
    assert serving.refusals.counts == {"sessions": 1}
    serving.refusals.flush()


class Closes(Protocol):
    def connectionMade(self):
        self.transport.stopReading()
        self.transport.write(b"bye")
        self.transport.loseConnection()


class Wrapped(Factory):
    """Another package's factory around ours, which no port can ask who may come in."""

    noisy = False

    def __init__(self, serving):
        self.buildProtocol = serving.buildProtocol


@pytest.mark.parametrize("wrap", [lambda serving: serving, Wrapped])
def test_a_socket_that_lingers_holds_its_place(reactor, wrap):
    serving = make(reactor, factory=Factory.forProtocol(Closes))
    port = listen(reactor, wrap(serving))
    with connect(port) as peer:
        peer.send(b"never read")
        reactor.turn(3)
        assert len(lingering_on(reactor)) == 1
        assert not serving.origin.sessions
        assert (serving.gate.open, serving.gate.addresses) == (1, 1)
    reactor.turn(3)
    assert len(lingering_on(reactor)) == 0
    assert (serving.gate.open, serving.gate.addresses) == (0, 0)


class Raises(Protocol):
    def connectionMade(self):
        raise RuntimeError("connectionMade")


class Leaves(Protocol):
    def connectionMade(self):
        self.transport.loseConnection()


class Refuses(Factory):
    def buildProtocol(self, addr):
        return None


@pytest.mark.parametrize(
    "factory", [Factory.forProtocol(Raises), Factory.forProtocol(Leaves), Refuses()]
)
def test_a_place_is_given_back_however_the_session_ends(reactor, factory):
    serving = make(reactor, factory=factory)
    port = listen(reactor, serving)
    with capturedLogs(), connect(port):
        reactor.turn(5)
        assert (serving.gate.open, serving.gate.addresses) == (0, 0)


def test_a_place_is_given_back_if_no_transport_comes_to_be(reactor):
    serving = make(reactor)
    port = listen(reactor, serving)
    with (
        mock.patch.object(port, "server_class", side_effect=RuntimeError),
        mock.patch("tcpd.net.port.Port.log") as log,
        connect(port),
    ):
        reactor.turn(2)
        assert log.failure.call_count == 1
    assert (serving.gate.open, serving.gate.addresses) == (0, 0)


def test_a_port_that_was_held_back_since_the_poll_accepts_nobody(reactor):
    serving = make(reactor)
    port = listen(reactor, serving)
    with connect(port):
        port.hold("limit")
        port.doRead()
        assert serving.gate.open == 0
        port.release("limit")
        reactor.turn(2)
        assert serving.gate.open == 1


def test_a_connection_that_ended_before_its_session_is_counted_with_its_cause(reactor):
    serving = make(reactor)
    transport = MemoryTransport(reactor, PEER, HOST)
    transport.close_cause = "header-timeout"
    with capturedLogs() as logs:
        serving.abandoned(transport, Failure(ConnectionAborted()))
        serving.refusals.flush()
    assert serving.refusals.counts == {"header-timeout": 1}
    assert "its PROXY header took too long" in logs[0]["message"]


# -- behind a proxy -------------------------------------------------------------------------------


def behind_a_proxy(reactor, access=None, limits=None):
    serving = make(reactor, access, limits)
    serving.proxies = Networks([Network.parse("10.0.0.0/8")])
    transport = MemoryTransport(reactor, PEER, HOST)
    transport.hop = PROXY
    transport.place = serving.admits(PROXY)
    return serving, transport


def test_who_isnt_a_trusted_proxy_is_refused(reactor):
    serving, _ = behind_a_proxy(reactor)
    with capturedLogs():
        assert serving.admits(PEER) is None
        assert serving.admits(IPv4Address("TCP", "11.0.0.1", 1)) is None
        serving.refusals.flush()
    assert serving.refusals.counts == {"proxy-untrusted": 2}
    assert serving.gate.open == 1


def test_the_lists_are_for_clients_and_not_for_their_proxy(reactor):
    deny_proxy = Access(deny=(Network.parse("10.0.0.1"),))
    serving, transport = behind_a_proxy(reactor, deny_proxy)
    assert transport.place is not None
    transport.proxy = ProxyFacts(version=2, source=PEER)
    assert serving.identified(transport)
    assert serving.gate.count(PEER) == 1
    assert serving.gate.count(PROXY) == 0


def test_a_client_that_is_refused_is_logged_with_its_proxy(reactor):
    serving, transport = behind_a_proxy(reactor, DENY_PEER)
    transport.proxy = ProxyFacts(version=2, source=PEER)
    serving.arriving(transport)
    with capturedLogs() as logs:
        assert not serving.identified(transport)
    (record,) = logs
    assert "refused 192.0.2.7:5000 (by way of 10.0.0.1:80): " in record["message"]
    assert not serving.arrivals
    transport.place.leave()
    assert (serving.gate.open, serving.gate.addresses) == (0, 0)
    serving.refusals.flush()


def test_a_proxy_that_speaks_for_itself_passes_and_counts_for_nobody(reactor):
    allow = Access(allow=(Network.parse("192.0.2.0/24"),))
    serving, transport = behind_a_proxy(reactor, allow)
    transport.proxy = ProxyFacts(version=2, local=True)
    assert serving.identified(transport)
    assert (serving.gate.open, serving.gate.addresses) == (1, 0)


def test_an_unnamed_client_passes_where_no_list_says_who_may_come(reactor):
    for access, passes in ((None, True), (Access(allow=(Network.parse("10.0.0.0/8"),)), False)):
        serving, transport = behind_a_proxy(reactor, access)
        transport.proxy = ProxyFacts(version=1)
        with capturedLogs():
            assert serving.identified(transport) is passes
        serving.refusals.flush()


# -- other packages' endpoints --------------------------------------------------------------------


def arrive(serving):
    transport = StringTransport(hostAddress=HOST, peerAddress=PEER)
    arrival = serving.buildProtocol(PEER)
    arrival.makeConnection(transport)
    return arrival, transport


def test_through_another_packages_endpoint_the_gate_is_asked_as_well(reactor):
    serving = make(reactor, limits=Limits(per_address=1))
    first, _ = arrive(serving)
    assert serving.gate.open == 1
    with capturedLogs():
        second, transport = arrive(serving)
    assert transport.disconnecting or transport.disconnected
    assert second.handler_protocol is None
    second.dataReceived(b"said all the same")
    second.connectionLost(Failure(ConnectionDone()))
    assert serving.gate.open == 1
    first.connectionLost(Failure(ConnectionDone()))
    assert serving.gate.open == 0
    assert serving.refusals.counts == {"per-address": 1}
    serving.refusals.flush()


def test_an_endpoint_that_builds_and_never_connects_takes_no_place(reactor):
    serving = make(reactor)
    serving.buildProtocol(PEER)
    assert serving.gate.open == 0


def test_a_connector_has_no_gate(reactor):
    serving = make(reactor)
    serving.gate = None
    arrival, transport = arrive(serving)
    assert arrival.handler_protocol is not None
    assert not transport.disconnecting
