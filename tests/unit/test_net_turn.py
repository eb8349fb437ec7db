"""The lean reactor's turn, with batches of events made by hand."""

import socket
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from unittest import mock

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from tcpd.net.reactor import EPollReactor


class Batches:
    """An epoll object that is real but for what it reports."""

    def __init__(self, real):
        self.real = real
        self.batch = []

    def poll(self, timeout, limit):
        batch, self.batch = self.batch, []
        return batch

    def __getattr__(self, name):
        return getattr(self.real, name)


class Guest(Protocol):
    def connectionMade(self):
        self.factory.guests.append(self)
        self.heard = b""
        self.reason = None

    def dataReceived(self, data):
        self.heard += data
        self.factory.heard(self)

    def connectionLost(self, reason):
        self.reason = reason.value


class House(Factory):
    noisy = False
    protocol = Guest

    def __init__(self):
        self.guests = []
        self.heard = lambda guest: None


@pytest.fixture
def reactor():
    reactor = EPollReactor()
    reactor._poller = Batches(reactor._poller)
    yield reactor
    for selectable in reactor.removeAll():
        selectable.connectionLost(Failure(ConnectionDone()))
    reactor._poller.real.close()


def turn(reactor, *batch):
    reactor._poller.batch = list(batch)
    reactor.doPoll(0)


@pytest.mark.parametrize(
    "stale", [EPOLLHUP, EPOLLHUP | EPOLLERR, EPOLLOUT | EPOLLHUP, EPOLLIN, EPOLLIN | EPOLLHUP]
)
def test_an_event_of_a_closed_connection_does_not_hit_the_next_with_its_number(reactor, stale):
    house = House()
    port = reactor.listenTCP(0, house, interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)
    with socket.create_connection(address) as killer, socket.create_connection(address):
        turn(reactor, (port.fileno(), EPOLLIN))
        first, victim = (guest.transport for guest in house.guests)
        with socket.create_connection(address) as late:
            house.heard = lambda guest: victim.connectionLost(Failure(ConnectionDone()))
            killer.sendall(b"x")
            number = victim.fileno()
            with mock.patch("tcpd.net.reactor.log.err") as err:
                turn(
                    reactor,
                    (first.fileno(), EPOLLIN),
                    (port.fileno(), EPOLLIN),
                    (number, stale),
                )
            assert not err.called
            newcomer = house.guests[2]
            assert newcomer.transport.fileno() == number
            assert newcomer.reason is None

            house.heard = lambda guest: None
            late.sendall(b"hello")
            turn(reactor, (number, EPOLLIN))
            assert newcomer.heard == b"hello"
            turn(reactor, (number, EPOLLHUP))
            assert newcomer.reason is not None


def guest_of(reactor, house):
    """Let somebody connect; gives their socket and their session's protocol."""
    port = reactor.listenTCP(0, house, interface="127.0.0.1")
    peer = socket.create_connection(("127.0.0.1", port.getHost().port))
    turn(reactor, (port.fileno(), EPOLLIN))
    return peer, house.guests[0]


def test_what_a_peer_sent_before_its_reset_is_heard(reactor):
    peer, guest = guest_of(reactor, House())
    number = guest.transport.fileno()
    with peer:
        peer.sendall(b"last words")
    turn(reactor, (number, EPOLLIN | EPOLLERR | EPOLLHUP))
    assert guest.heard == b"last words"
    assert guest.reason is None
    turn(reactor, (number, EPOLLIN | EPOLLERR | EPOLLHUP))
    assert guest.reason is not None


@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize("reading", [False, True])
def test_nothing_of_a_connection_stays_behind_when_it_ends(reactor, reading, writing):
    peer, guest = guest_of(reactor, House())
    transport, number = guest.transport, guest.transport.fileno()
    if writing:
        transport.startWriting()
    if not reading:
        transport.stopReading()
    with peer:
        transport.connectionLost(Failure(ConnectionDone()))
    assert transport not in reactor.getReaders() + reactor.getWriters()
    assert number not in reactor._selectables


def test_a_reader_added_twice_is_watched_once(reactor):
    peer, guest = guest_of(reactor, House())
    with peer:
        guest.transport.startReading()
        guest.transport.startWriting()
        guest.transport.startReading()
        assert reactor.getReaders().count(guest.transport) == 1
        assert reactor.getWriters() == [guest.transport]


def test_a_connection_that_another_closes_in_the_same_turn_is_not_served(reactor):
    house = House()
    port = reactor.listenTCP(0, house, interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)
    with socket.create_connection(address) as killer, socket.create_connection(address) as other:
        turn(reactor, (port.fileno(), EPOLLIN))
        first, victim = (guest.transport for guest in house.guests)
        house.heard = lambda guest: victim.connectionLost(Failure(ConnectionDone()))
        killer.sendall(b"x")
        other.sendall(b"y")
        ready = EPOLLIN | EPOLLHUP
        with mock.patch("tcpd.net.reactor.log.err") as err:
            turn(reactor, (victim.fileno(), ready), (first.fileno(), EPOLLIN))
        assert not err.called
        assert [guest.heard for guest in house.guests] == [b"x", b""]
