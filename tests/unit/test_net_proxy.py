"""The PROXY header at the start of a connection: taken to the byte, before all else."""

import gc
import socket
import struct
import weakref
from unittest import mock

import pytest
import trustme
from helpers.net_loop import HandReactor
from helpers.proxy_vectors import HAPROXY_LOCAL, HAPROXY_SSL, INVALID, VALID, v2
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol

from tcpd.net.network import Network
from tcpd.net.proxy_facts import ProxyHeaderError
from tcpd.net.tls import ServerTLS

HEADER = VALID["v1 IPv4"][0]
SOURCE, DESTINATION = VALID["v1 IPv4"][1:]


class Heard(Protocol):
    """Notes what it hears, and whom it sees in connectionMade."""

    def connectionMade(self):
        self.data = b""
        self.peer, self.host = self.transport.getPeer(), self.transport.getHost()

    def dataReceived(self, data):
        self.data += data


class Door:
    """An acceptor that notes all it is asked and told, in order."""

    def __init__(self, *, identifies=True):
        self.identifies = identifies
        self.calls = []
        self.sessions = []
        self.left = 0

    def doStart(self):
        pass

    def doStop(self):
        pass

    def admits(self, address):
        self.calls.append("admits")
        return self

    def accept_failed(self, reason):
        pass

    def leave(self):
        self.left += 1

    def arriving(self, transport):
        self.calls.append(f"arriving {transport.stage}")
        self.arrival = transport

    def identified(self, transport):
        self.calls.append("identified")
        self.known = transport.getPeer(), transport.proxy
        if isinstance(self.identifies, Exception):
            raise self.identifies
        return self.identifies

    def accept(self, transport):
        self.calls.append("accept")
        assert transport.stage == ""
        transport.protocol = Heard()
        transport.protocol.makeConnection(transport)
        self.sessions.append(transport.protocol)

    def abandoned(self, transport, reason):
        self.calls.append(f"abandoned {transport.close_cause}")
        self.reason = reason


@pytest.fixture
def reactor():
    reactor = HandReactor()
    yield reactor
    reactor.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def listen(reactor, factory, **settings):
    network = Network(reactor, server_header=True, **settings)
    return network.listenTCP(0, factory, interface="127.0.0.1")


def connect(port):
    client = socket.create_connection(("127.0.0.1", port.getHost().port))
    client.settimeout(5)
    return client


def arrived(reactor, door, port):
    """A connection that has been accepted and has sent nothing."""
    client = connect(port)
    reactor.turn()
    assert door.arrival.stage == "header"
    return client


@pytest.mark.parametrize("what", [what for what in VALID if "with" not in what])
def test_a_handler_sees_the_client_from_the_start(reactor, what):
    header, source, destination = VALID[what]
    door = Door()
    port = listen(reactor, door)
    with connect(port) as client:
        client.sendall(header + b"hello")
        reactor.turn(3)
        heard = door.sessions[0]
        own = IPv4Address("TCP", *client.getsockname()), IPv4Address("TCP", *client.getpeername())
        assert (heard.peer, heard.host) == (source or own[0], destination or own[1])
        assert heard.data == b"hello"
        transport = heard.transport
        assert transport.hop == (None if source is None else own[0])
        assert transport.proxy.source == source
        assert transport.bytes_in == 5
        assert door.calls == ["admits", "arriving header", "identified", "accept"]
        assert door.known == (source or own[0], transport.proxy)


def test_extensions_are_kept(reactor):
    door = Door()
    port = listen(reactor, door)
    with connect(port) as client:
        client.sendall(HAPROXY_SSL)
        reactor.turn(2)
        assert door.sessions[0].transport.proxy.ssl.common_name == "Client One"


def test_local_keeps_the_connections_own_addresses(reactor):
    door = Door()
    port = listen(reactor, door)
    with connect(port) as client:
        client.sendall(HAPROXY_LOCAL)
        reactor.turn(2)
        assert door.sessions[0].peer == IPv4Address("TCP", *client.getsockname())
        assert door.sessions[0].transport.proxy.local


@pytest.mark.parametrize("header", [HEADER, HAPROXY_SSL])
def test_a_header_byte_by_byte_never_makes_the_loop_spin(reactor, header):
    door = Door()
    port = listen(reactor, door)
    with arrived(reactor, door, port) as client:
        for at in range(len(header)):
            assert not door.sessions
            client.sendall(header[at : at + 1])
            reactor.turn()
            # What has come was taken, so nothing is left that would wake the loop.
            if at + 1 < len(header):
                with pytest.raises(BlockingIOError):
                    door.arrival.socket.recv(1, socket.MSG_PEEK)
        client.sendall(b"hello")
        reactor.turn()
        assert door.sessions[0].data == b"hello"


@pytest.mark.parametrize("cut", range(1, len(HEADER) + 5))
def test_a_header_in_two_pieces(reactor, cut):
    door = Door()
    port = listen(reactor, door)
    with arrived(reactor, door, port) as client:
        for piece in ((HEADER + b"hello")[:cut], (HEADER + b"hello")[cut:]):
            client.sendall(piece)
            reactor.turn(2)
        assert door.sessions[0].data == b"hello"


@pytest.mark.parametrize("what", INVALID)
def test_an_invalid_header_resets_the_connection(reactor, what):
    door = Door()
    port = listen(reactor, door)
    with arrived(reactor, door, port) as client:
        client.sendall(INVALID[what][0])
        reactor.turn(2)
        assert door.calls == ["admits", "arriving header", "abandoned proxy-invalid"]
        assert isinstance(door.reason.value, ProxyHeaderError)
        assert INVALID[what][1] in door.reason.getErrorMessage()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert reactor.readers == [port]


def test_a_connection_that_says_nothing_and_goes_is_no_broken_header(reactor):
    door = Door()
    port = listen(reactor, door)
    with arrived(reactor, door, port):
        pass
    reactor.turn()
    assert door.calls[-1] == "abandoned peer-closed"
    assert reactor.readers == [port]


def test_a_connection_that_ends_amid_its_header_is_one(reactor):
    door = Door()
    port = listen(reactor, door)
    with arrived(reactor, door, port) as client:
        client.sendall(HEADER[:-1])
    reactor.turn(2)
    assert door.calls[-1] == "abandoned proxy-invalid"
    assert "ended amid its PROXY header" in door.reason.getErrorMessage()
    assert reactor.readers == [port]


def test_a_reset_amid_a_header_is_a_reset(reactor):
    door = Door()
    port = listen(reactor, door)
    client = arrived(reactor, door, port)
    client.sendall(HEADER[:5])
    reactor.turn()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    reactor.turn()
    assert door.calls[-1] == "abandoned peer-reset"
    assert reactor.readers == [port]


def test_being_woken_in_vain_and_waiting_do_no_harm(reactor):
    door = Door()
    port = listen(reactor, door)
    with arrived(reactor, door, port) as client:
        assert door.arrival.doRead() is None
        reactor.advance(4)
        client.sendall(HEADER)
        reactor.turn()
        transport = door.sessions[0].transport
        # The time until the header is no time in which the session was idle.
        assert transport.last_read == transport.last_write == 4


def test_all_that_a_client_says_comes_though_it_ends_at_once(reactor):
    door = Door()
    port = listen(reactor, door)
    with connect(port) as client:
        client.sendall(HEADER + b"hello")
        client.shutdown(socket.SHUT_WR)
        reactor.turn(5)
        assert door.sessions[0].data == b"hello"
        assert client.recv(1) == b""


def test_who_is_turned_away_after_the_header_is_closed_without_a_word(reactor):
    door = Door(identifies=False)
    port = listen(reactor, door)
    with connect(port) as client:
        client.sendall(HEADER)
        reactor.turn(2)
        assert client.recv(1) == b""
    assert door.known[0] == SOURCE
    assert door.calls == ["admits", "arriving header", "identified"]
    assert reactor.readers == [port]


def test_an_acceptor_that_fails_at_it_lets_nobody_in(reactor):
    door = Door(identifies=RuntimeError("identified fails"))
    port = listen(reactor, door)
    with connect(port) as client, mock.patch("tcpd.net.port.Port.log") as log:
        client.sendall(HEADER)
        reactor.turn(2)
        assert log.failure.call_count == 1
    assert door.calls[-2] == "identified"
    assert door.calls[-1].startswith("abandoned")
    assert reactor.readers == [port]


def test_a_sweep_can_end_who_is_late(reactor):
    door = Door()
    port = listen(reactor, door)
    reactor.advance(7)
    with arrived(reactor, door, port) as client:
        assert door.arrival.stage_since == 7
        client.sendall(HEADER[:5])
        reactor.turn()
        door.arrival.abort_because("header-timeout")
        reactor.turn()
        assert door.calls[-1] == "abandoned header-timeout"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert reactor.readers == [port]


@pytest.mark.parametrize("ends", ["refused", "late", "gone", "open"])
def test_nothing_of_the_stage_stays_behind(reactor, ends):
    door = Door()
    port = listen(reactor, door)
    client = arrived(reactor, door, port)
    transport, door.arrival = weakref.ref(door.arrival), None
    gc.disable()
    try:
        if ends == "refused":
            client.sendall(b"no header")
        elif ends == "late":
            transport().abort_because("header-timeout")
        elif ends == "open":
            client.sendall(HEADER)
            reactor.turn()
            assert "doRead" not in vars(transport())
        client.close()
        reactor.turn(3)
        door.sessions.clear()
        door.reason = None
        door.known = None
        assert transport() is None
    finally:
        gc.enable()


def test_tls_begins_after_the_header(reactor, certificate):
    door = Door()
    port = listen(reactor, door, server_tls=ServerTLS(certificate))
    with arrived(reactor, door, port) as client:
        client.sendall(HEADER)
        reactor.turn()
        assert door.arrival.stage == "handshake"
        assert door.known[0] == SOURCE
        reactor.advance(3)
        assert door.arrival.stage_since == 0
        # Whatever follows is TLS's to judge.
        client.sendall(b"no hello")
        reactor.turn(2)
        assert door.calls == [
            "admits",
            "arriving header",
            "identified",
            "abandoned tls-failed",
        ]
    assert reactor.readers == [port]


def test_a_header_that_fails_before_tls_is_told_as_such(reactor, certificate):
    door = Door()
    port = listen(reactor, door, server_tls=ServerTLS(certificate))
    with arrived(reactor, door, port) as client:
        client.sendall(b"\x16\x03\x01\x00\x05hello")
        reactor.turn()
        assert door.calls[-1] == "abandoned proxy-invalid"
        assert door.reason.getErrorMessage() == "no PROXY header, but TLS"
    assert reactor.readers == [port]
    assert not reactor.getDelayedCalls()


def test_what_a_port_asks_of_a_connection_is_settled_when_it_comes(reactor, certificate):
    door = Door()
    port = listen(reactor, door, server_tls=ServerTLS(certificate))
    with arrived(reactor, door, port) as client:
        port.secure(None)
        port.expect_header(expected=False)
        client.sendall(HEADER)
        reactor.turn()
        assert door.arrival.stage == "handshake"
        with connect(port):
            reactor.turn()
            assert door.calls[-2:] == ["admits", "accept"]


def test_a_successor_expects_what_its_port_did(reactor):
    door = Door()
    port = listen(reactor, door)
    heir = port.successor(door)
    port.stopListening()
    with connect(heir):
        reactor.turn()
        assert door.calls == ["admits", "arriving header"]


def test_tls_alone_is_announced_too(reactor, certificate):
    door = Door()
    port = Network(reactor, ServerTLS(certificate)).listenTCP(0, door, interface="127.0.0.1")
    with connect(port):
        reactor.turn()
        assert door.calls == ["admits", "arriving handshake"]


def test_a_plain_connection_is_announced_to_nobody(reactor):
    door = Door()
    port = Network(reactor).listenTCP(0, door, interface="127.0.0.1")
    with connect(port) as client:
        client.sendall(HEADER)
        reactor.turn(2)
        assert door.calls == ["admits", "accept"]
        assert door.sessions[0].data == HEADER
        assert door.sessions[0].transport.proxy is None


def test_on_a_unix_socket(reactor, tmp_path):
    door = Door()
    path = str(tmp_path / "s")
    port = Network(reactor, server_header=True).listenUNIX(path, door)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        reactor.turn()
        for piece in (HEADER[:9], HEADER[9:] + b"hel", b"lo"):
            client.sendall(piece)
            reactor.turn(2)
        heard = door.sessions[0]
        assert (heard.peer, heard.host, heard.data) == (SOURCE, DESTINATION, b"hello")
        assert isinstance(heard.transport.hop, UNIXAddress)
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(path)
            other.sendall(b"GET")
            reactor.turn(2)
            assert door.calls[-1] == "abandoned proxy-invalid"
    port.stopListening()
    reactor.turn()


def test_a_unix_client_has_an_address_that_is_one(reactor):
    door = Door()
    port = listen(reactor, door)
    with connect(port) as client:
        client.sendall(v2(b"/tmp/\x1b".ljust(216, b"\0"), kind=0x31))
        reactor.turn(2)
        assert door.sessions[0].peer == UNIXAddress(b"/tmp/\x1b")


def test_a_factory_of_twisteds_hears_of_a_client_after_its_header(reactor):
    built = []

    class Plain(Factory):
        noisy = False

        def buildProtocol(self, address):
            built.append(address)
            return Heard()

    port = listen(reactor, Plain())
    with connect(port) as client:
        reactor.turn()
        assert not built
        client.sendall(HEADER)
        reactor.turn()
        assert built == [SOURCE]
        with connect(port) as other, mock.patch("tcpd.net.port.Port.log") as log:
            other.sendall(b"GET")
            reactor.turn(2)
            assert log.info.call_args.kwargs["what"] == "a PROXY header"
        assert built == [SOURCE]


def test_a_log_prefix_names_the_client(reactor):
    door = Door()
    port = listen(reactor, door)
    with connect(port) as client:
        client.sendall(HEADER)
        reactor.turn(2)
        assert door.sessions[0].transport.logPrefix() == "Heard,0,192.0.2.1"
