"""Sockets that we close first: who lingers, for how long, and that the peer gets everything."""

import contextlib
import os
import socket
import struct
from unittest import mock

import pytest
from helpers.net_loop import HandReactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Protocol
from zope.interface.verify import verifyObject

from tcpd.net import lingering
from tcpd.net.lingering import LINGER, LONGEST, SWEEP, lingering_on
from tcpd.net.sockets import Server

HERE = IPv4Address("TCP", "127.0.0.1", 4711)
MUCH = b"0123456789" * 50_000


def tcp_pair(receive_buffer=None):
    """A peer and an accepted socket; with a small buffer most of what is sent stays with us."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.socket()
        if receive_buffer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect(listening.getsockname())
        return peer, listening.accept()[0]


class Says(Protocol):
    """Says something as soon as it is connected, closes, and notes when it has heard of the end."""

    def __init__(self, what=MUCH):
        self.what = what
        self.lost = 0

    def connectionMade(self):
        self.transport.write(self.what)
        self.transport.loseConnection()

    def connectionLost(self, reason):
        self.lost += 1


class Meeting:
    """A transport, what it is a part of, and its peer's socket."""

    def __init__(self, protocol, pair, reactor=None):
        self.reactor = reactor or HandReactor()
        self.peer, accepted = pair
        self.peer.setblocking(False)
        self.protocol = protocol
        self.port = mock.Mock(tls=None, place="here", spec_set=PORT)
        self.port.open_session = lambda t: t.perform(t.protocol.makeConnection, t)
        self.transport = Server(accepted, protocol, ("127.0.0.1", 1), self.port, 0, self.reactor)
        self.transport.set_addresses(HERE, HERE)
        self.descriptor = accepted.fileno()

    @property
    def lingers(self):
        return len(lingering_on(self.reactor)) > 0

    def begin(self):
        self.transport.begin()
        return self

    def turn_until_lost(self):
        for _ in range(1000):
            if self.protocol.lost:
                return
            self.reactor.turn()
        raise AssertionError("never lost")

    def read(self, turns=1000):
        """What the peer gets until its end of stream; a reset raises."""
        got = b""
        for _ in range(turns):
            self.reactor.turn()
            with contextlib.suppress(BlockingIOError):
                data = self.peer.recv(1 << 20)
                if not data:
                    return got
                got += data
        raise AssertionError(f"no end after {len(got)} bytes")

    def is_closed(self):
        try:
            os.fstat(self.descriptor)
        except OSError:
            return True
        return False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.reactor.close()
        self.peer.close()
        assert not self.reactor.getDelayedCalls()
        assert self.is_closed()


PORT = ["tls", "place", "open_session", "session_abandoned", "descriptor_released", "hosts"]


def test_a_peer_that_sent_something_nobody_read_gets_everything():
    with Meeting(Says(), tcp_pair(8192)) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        assert meeting.read() == MUCH


def test_a_peer_that_goes_on_sending_gets_everything():
    with Meeting(Says(), tcp_pair(8192)) as meeting:
        meeting.begin().turn_until_lost()
        for _ in range(50):
            meeting.peer.send(b"x" * 1000)
            meeting.reactor.turn()
        assert meeting.read() == MUCH


def test_the_handler_hears_of_the_end_at_once_and_the_port_when_the_descriptor_is_closed():
    with Meeting(Says(), tcp_pair()) as meeting:
        meeting.peer.send(b"never read")
        observer = meeting.transport.observer = mock.Mock()
        meeting.begin().turn_until_lost()
        assert observer.transport_closed.call_count == 1
        assert meeting.transport.close_cause == "handler-closed"
        assert meeting.lingers
        assert not meeting.is_closed()
        assert meeting.port.descriptor_released.call_count == 0
        assert meeting.read() == MUCH
        meeting.peer.shutdown(socket.SHUT_WR)
        meeting.reactor.turn(2)
        assert not meeting.lingers
        assert meeting.is_closed()
        assert meeting.port.descriptor_released.call_count == 1
        assert meeting.protocol.lost == 1


@pytest.mark.parametrize("end", ["peer", "time", "room", "stop"])
def test_the_place_is_left_once_when_the_descriptor_is_closed(end):
    place = mock.Mock()
    with Meeting(Says(), tcp_pair()) as meeting:
        meeting.transport.place = place
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        assert meeting.lingers
        assert place.leave.call_count == 0
        if end == "peer":
            meeting.peer.close()
            meeting.reactor.turn(3)
        elif end == "time":
            meeting.reactor.pump([SWEEP] * int(LONGEST + 2))
        elif end == "room":
            assert lingering_on(meeting.reactor).make_room()
        else:
            meeting.reactor.close()
        if end != "stop":
            assert meeting.is_closed()
            assert place.leave.call_count == 1
    assert place.leave.call_count == 1


def test_the_place_of_one_that_needs_not_linger_is_left_at_once():
    place = mock.Mock()
    with Meeting(Says(), tcp_pair()) as meeting:
        meeting.transport.place = place
        meeting.begin()
        meeting.transport.abortConnection()
        meeting.turn_until_lost()
        assert not meeting.lingers
        assert place.leave.call_count == 1


def test_room_is_made_by_those_that_linger_longest(monkeypatch):
    monkeypatch.setattr(lingering, "ROOM", 2)
    reactor = HandReactor()
    assert not lingering_on(reactor).make_room()
    meetings = [Meeting(Says(b"x"), tcp_pair(), reactor) for _ in range(3)]
    for meeting in meetings:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
    assert lingering_on(reactor).make_room()
    assert [meeting.is_closed() for meeting in meetings] == [True, True, False]
    for meeting in meetings:
        with meeting:
            pass


def test_a_peer_that_never_ends_is_waited_for_some_seconds_only():
    with Meeting(Says(), tcp_pair()) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        meeting.reactor.turn()
        meeting.reactor.pump([SWEEP] * int((LINGER - SWEEP) / SWEEP))
        assert meeting.lingers
        meeting.reactor.pump([SWEEP] * 2)
        assert not meeting.lingers
        assert meeting.is_closed()
        assert meeting.port.descriptor_released.call_count == 1
        assert meeting.read() == MUCH


def test_a_peer_that_reads_slowly_is_waited_for_longer_but_not_for_ever():
    with Meeting(Says(), tcp_pair(8192)) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        began = meeting.reactor.seconds()
        got = 0
        while meeting.lingers:
            meeting.reactor.turn()
            for _ in range(20):
                with contextlib.suppress(BlockingIOError):
                    got += len(meeting.peer.recv(500))
            meeting.reactor.advance(SWEEP)
        assert LONGEST <= meeting.reactor.seconds() - began <= LONGEST + LINGER + SWEEP
        assert 0 < got < len(MUCH)
        assert got + len(meeting.read()) == len(MUCH)


def test_a_peer_that_reads_nothing_is_not_waited_for_longer():
    with Meeting(Says(), tcp_pair(8192)) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        meeting.reactor.turn(3)
        meeting.reactor.pump([SWEEP] * int(LINGER / SWEEP + 1))
        assert not meeting.lingers


def test_one_timer_serves_all():
    reactor = HandReactor()
    meetings = [Meeting(Says(b"x"), tcp_pair(), reactor) for _ in range(20)]
    for meeting in meetings:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
    assert len(lingering_on(reactor)) == 20
    assert len(reactor.getDelayedCalls()) == 1
    reactor.pump([SWEEP] * 7)
    for meeting in meetings:
        with meeting:
            assert meeting.is_closed()


def test_where_too_many_linger_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(lingering, "MOST_SOCKETS", 3)
    reactor = HandReactor()
    meetings = [Meeting(Says(b"x"), tcp_pair(), reactor) for _ in range(5)]
    for meeting in meetings:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
    assert [meeting.is_closed() for meeting in meetings] == [True, True, False, False, False]
    for meeting in meetings:
        with meeting:
            pass


def test_a_peer_that_only_pushes_is_cut_after_so_many_bytes(monkeypatch):
    monkeypatch.setattr(lingering, "MOST_BYTES", 1_000_000)
    with Meeting(Says(b"bye"), tcp_pair()) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        pushed = 0
        while meeting.lingers:
            pushed += meeting.peer.send(b"x" * 65536)
            meeting.reactor.turn()
        assert 1_000_000 <= pushed < 3_000_000


@pytest.mark.parametrize("half_closed", [False, True])
def test_who_ended_first_is_not_lingered_for(half_closed, monkeypatch):
    asked = mock.Mock()
    monkeypatch.setattr("tcpd.net.ending.lingers", asked)
    with Meeting(Says(b""), tcp_pair()) as meeting:
        meeting.protocol.connectionMade = lambda: None
        meeting.begin()
        if half_closed:
            meeting.peer.shutdown(socket.SHUT_WR)
        else:
            meeting.peer.close()
        meeting.turn_until_lost()
        assert asked.call_count == 0
        assert meeting.is_closed()
        assert meeting.port.descriptor_released.call_count == 1


def test_where_nothing_can_be_lost_the_socket_is_closed_at_once():
    with Meeting(Says(b""), tcp_pair()) as meeting:
        meeting.begin().turn_until_lost()
        assert not meeting.lingers
        assert meeting.is_closed()
        assert meeting.read() == b""


@pytest.mark.parametrize("end", ["abortConnection", "reset_connection", "raise"])
def test_an_abort_or_a_failure_is_a_reset_as_ever(end):
    class Ends(Says):
        def connectionMade(self):
            self.transport.write(b"x" * 10)
            if end == "raise":
                raise RuntimeError("as told")
            getattr(self.transport, end)()

    with Meeting(Ends(), tcp_pair()) as meeting:
        meeting.transport.observer = mock.Mock()
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        assert not meeting.lingers
        with pytest.raises(ConnectionResetError):
            meeting.read()


def test_a_peers_reset_ends_the_lingering():
    with Meeting(Says(), tcp_pair()) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        meeting.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        meeting.peer.close()
        meeting.reactor.turn(2)
        assert not meeting.lingers


def test_on_a_unix_socket_the_peer_sees_an_end_and_no_reset():
    with Meeting(Says(b"bye"), socket.socketpair()) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        assert meeting.lingers
        assert meeting.read() == b"bye"


def test_on_a_unix_socket_what_is_on_its_way_is_there():
    with Meeting(Says(b"bye"), socket.socketpair()) as meeting:
        meeting.begin().turn_until_lost()
        assert not meeting.lingers
        assert meeting.read() == b"bye"


def test_a_reactor_that_stops_closes_what_lingers_and_the_kernel_delivers():
    with Meeting(Says(), tcp_pair(8192)) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        meeting.peer.send(b"nor this")
        meeting.reactor.close()
        assert meeting.is_closed()
        assert meeting.read() == MUCH


def test_in_a_reactor_that_has_stopped_nothing_lingers_and_the_kernel_delivers():
    class Stays(Says):
        def connectionMade(self):
            self.transport.write(self.what)

    with Meeting(Stays(), tcp_pair(8192)) as meeting:
        meeting.begin()
        meeting.reactor.turn(3)
        assert not meeting.transport.queued
        meeting.peer.send(b"never read")
        meeting.reactor.running = False
        meeting.reactor.close()
        assert not meeting.lingers
        assert meeting.is_closed()
        assert meeting.read() == MUCH


def test_who_waits_for_all_to_be_closed_is_told():
    with Meeting(Says(), tcp_pair()) as meeting:
        told = []
        lingering_on(meeting.reactor).finished().addCallback(lambda _: told.append("none"))
        assert told == ["none"]
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        lingering_on(meeting.reactor).finished().addCallback(lambda _: told.append("finished"))
        assert told == ["none"]
        meeting.peer.close()
        meeting.reactor.turn(2)
        assert told == ["none", "finished"]


def test_a_reactor_may_watch_it():
    with Meeting(Says(), tcp_pair()) as meeting:
        meeting.peer.send(b"never read")
        meeting.begin().turn_until_lost()
        (lingerer,) = meeting.reactor.getReaders()
        verifyObject(IReadDescriptor, lingerer)
        assert lingerer.logPrefix() == "lingering"
