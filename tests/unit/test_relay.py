"""The transport of a session whose real transport is another package's."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tcpd.relay import Relay

PEER = IPv4Address("TCP", "192.0.2.7", 5000)
HOST = IPv4Address("TCP", "192.0.2.1", 80)
DONE = Failure(ConnectionDone())


class Real(StringTransport):
    """A real transport, which as Twisted's own has no address any more once it is closed."""

    closed = False

    def __init__(self):
        super().__init__(hostAddress=HOST, peerAddress=PEER)

    def getHost(self):
        if self.closed:
            raise AttributeError("socket")
        return super().getHost()


class Observer:
    def __init__(self):
        self.told = []

    def handler_failed(self, failure):
        self.told.append(("failed", failure.type))

    def transport_closed(self, failure):
        self.told.append(("closed", failure.type))

    def addresses_changed(self):
        self.told.append(("addresses",))


class Listens(Protocol):
    def __init__(self):
        self.told = []

    def dataReceived(self, data):
        self.told.append(data)

    def connectionLost(self, reason):
        self.told.append("lost")


def relay_over(real, protocol=None):
    relay = Relay(real, Clock())
    relay.observer = Observer()
    relay.protocol = protocol or Listens()
    relay.protocol.makeConnection(relay)
    return relay


def test_it_provides_what_the_real_transport_does() -> None:
    relay = relay_over(Real())
    assert verifyObject(ITransport, relay)
    assert relay.tls is None


def test_it_counts_and_times_both_ways() -> None:
    real, clock = Real(), Clock()
    relay = Relay(real, clock)
    relay.protocol = Listens()
    clock.advance(2)
    relay.data_received(b"abc")
    assert (relay.bytes_in, relay.last_read, relay.last_write) == (3, 2, 0)
    clock.advance(1)
    relay.write(b"12")
    relay.writeSequence([b"3", b"45"])
    assert (relay.bytes_out, relay.last_read, relay.last_write) == (5, 2, 3)
    assert real.value() == b"12345"


@implementer(IPushProducer)
class Producer:
    pass


def test_producers_are_the_real_transports() -> None:
    real, producer = Real(), Producer()
    relay = relay_over(real)
    relay.registerProducer(producer, True)
    assert (real.producer, real.streaming) == (producer, True)
    relay.unregisterProducer()
    assert real.producer is None
    relay.pauseProducing()
    assert real.producerState == "paused"


@pytest.mark.parametrize(
    ("act", "reason", "cause"),
    [
        (lambda relay: None, ConnectionDone(), "peer-closed"),
        (lambda relay: None, ConnectionLost(), "lost"),
        (lambda relay: relay.loseConnection(), ConnectionDone(), "handler-closed"),
        (lambda relay: relay.abortConnection(), ConnectionLost(), "handler-aborted"),
        (lambda relay: relay.abort_because("idle"), ConnectionLost(), "idle"),
        (lambda relay: relay.read_connection_lost(), ConnectionDone(), "peer-closed"),
    ],
)
def test_the_first_cause_of_the_end_counts(act, reason, cause) -> None:
    real = Real()
    relay = relay_over(real)
    act(relay)
    relay.connection_lost(Failure(reason))
    assert relay.close_cause == cause
    assert relay.protocol.told == ["lost"]
    assert relay.observer.told == [("closed", type(reason))]


def test_one_of_our_transports_below_knows_the_cause_best() -> None:
    real = Real()
    real.close_cause = "peer-reset"
    relay = relay_over(real)
    relay.connection_lost(DONE)
    assert relay.close_cause == "peer-reset"


def test_a_transport_that_cannot_abort_is_closed() -> None:
    class Polite:
        closed = False

        def getPeer(self):
            return PEER

        def getHost(self):
            return HOST

        def loseConnection(self):
            self.closed = True

    real = Polite()
    relay_over(real).abortConnection()
    assert real.closed


def test_a_failing_handler_hears_only_of_the_end_from_then_on() -> None:
    class Fails(Listens):
        def dataReceived(self, data):
            super().dataReceived(data)
            raise ValueError

    relay = relay_over(Real(), Fails())
    relay.data_received(b"1")
    relay.data_received(b"2")
    relay.read_connection_lost()
    relay.connection_lost(DONE)
    assert relay.protocol.told == [b"1", "lost"]
    assert relay.observer.told == [("failed", ValueError), ("closed", ConnectionDone)]


@implementer(IHalfCloseableProtocol)
class HalfCloses(Listens):
    def readConnectionLost(self):
        self.told.append("read lost")

    def writeConnectionLost(self):
        self.told.append("write lost")


def test_half_close_reaches_a_handler_that_knows_it() -> None:
    real = Real()
    relay = relay_over(real, HalfCloses())
    relay.read_connection_lost()
    relay.write_connection_lost()
    assert relay.protocol.told == ["read lost", "write lost"]
    assert not real.disconnecting


def test_without_knowing_half_close_a_handler_still_gets_its_answer_out() -> None:
    real = Real()
    relay = relay_over(real)
    relay.write(b"answer")
    relay.read_connection_lost()
    relay.write_connection_lost()
    assert real.disconnecting  # which sends what was written first
    assert relay.protocol.told == []


def test_a_handler_failing_at_half_close_ends_its_session() -> None:
    class Fails(HalfCloses):
        def readConnectionLost(self):
            raise ValueError

    relay = relay_over(Real(), Fails())
    relay.read_connection_lost()
    assert relay.observer.told == [("failed", ValueError)]
    assert relay.close_cause == "handler-failed"


def test_addresses_outlive_the_socket() -> None:
    real = Real()
    relay = relay_over(real)
    real.closed = True
    assert (relay.getPeer(), relay.getHost()) == (PEER, HOST)


@pytest.mark.parametrize("with_data", [True, False])
def test_the_peer_that_a_proxy_tells_later_is_noticed_once(with_data: bool) -> None:
    real = Real()
    relay = relay_over(real)
    real.peerAddr = IPv4Address("TCP", "198.51.100.1", 7)
    if with_data:
        relay.data_received(b"1")
        relay.data_received(b"2")
    relay.connection_lost(DONE)
    assert relay.getPeer().host == "198.51.100.1"
    assert relay.observer.told == [("addresses",), ("closed", ConnectionDone)]
