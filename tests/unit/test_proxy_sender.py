"""Our own connections that begin with a PROXY header: what it says, and that it comes first."""

import errno
import os
import socket
from unittest import mock

import pytest
from helpers.net_loop import HandReactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import ClientFactory, Protocol

from tcpd.connector import Connector
from tcpd.net.network import Network
from tcpd.net.proxy_header import HeaderParser
from tcpd.net.proxy_sender import HeaderSender
from tcpd.net.tls import ClientTLS

V4, V6 = IPv4Address("TCP", "192.0.2.1", 5000), IPv6Address("TCP", "2001:db8::1", 5000)
SERVER4, SERVER6 = IPv4Address("TCP", "192.0.2.9", 80), IPv6Address("TCP", "2001:db8::9", 80)
NOTHING, SOCKET = UNIXAddress(None), UNIXAddress(b"/run/x.sock")


class Talks(Protocol):
    def connectionMade(self):
        self.transport.write(b"hello")


class Factory(ClientFactory):
    protocol = Talks
    noisy = False
    failed = None

    def clientConnectionFailed(self, connector, reason):
        self.failed = reason.value


@pytest.fixture
def reactor():
    reactor = HandReactor()
    yield reactor
    reactor.close()


def read(data):
    parser = HeaderParser()
    size = parser.feed(data)
    return parser.facts, data[size:]


def header(version, host, peer, source=None):
    transport = mock.Mock(getHost=lambda: host, getPeer=lambda: peer)
    return read(HeaderSender(version=version, source=source).header(transport))[0]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("host", "peer", "source", "told"),
    [
        (V4, SERVER4, None, (V4, SERVER4)),
        (V6, SERVER6, None, (V6, SERVER6)),
        (NOTHING, SOCKET, None, (None, None)),
        (SOCKET, NOTHING, None, (None, None)),
        (V4, SERVER4, V6, (V6, SERVER4)),
        (V6, SERVER6, V4, (V4, SERVER6)),
        (NOTHING, SOCKET, V4, (V4, IPv4Address("TCP", "0.0.0.0", 0))),
        (NOTHING, SOCKET, V6, (V6, IPv6Address("TCP", "::", 0))),
    ],
)
def test_the_header_tells_what_there_is_to_tell(version, host, peer, source, told):
    facts = header(version, host, peer, source)
    assert facts.version == int(version[1])
    assert (facts.source, facts.destination) == told
    assert facts.local is (told[0] is None and version == "v2")


def received(server, reactor):
    reactor.turn(3)
    accepted, _ = server.accept()
    with accepted:
        accepted.settimeout(5)
        accepted.shutdown(socket.SHUT_WR)
        reactor.turn(3)
        data = b""
        while chunk := accepted.recv(65536):
            data += chunk
            reactor.turn()
        return data


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_header_goes_before_what_the_handler_says(reactor, version):
    network = Network(reactor, client_header=HeaderSender(version=version))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        connector = network.connectTCP(*server.getsockname(), Factory())
        reactor.turn(2)
        own = connector.transport.getHost()
        facts, rest = read(received(server, reactor))
        assert facts.destination == IPv4Address("TCP", *server.getsockname())
    assert facts.source == own
    assert rest == b"hello"


def test_the_header_goes_before_the_handshake(reactor):
    tls = ClientTLS("localhost", verify=False)
    network = Network(reactor, client_tls=tls, client_header=HeaderSender(version="v2"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        network.connectTCP(*server.getsockname(), Factory())
        facts, rest = read(received(server, reactor))
    assert facts.source.host == "127.0.0.1"
    assert rest.startswith(b"\x16\x03\x01")


def test_on_a_unix_socket_it_says_that_there_is_nothing_to_tell(reactor, tmp_path):
    network = Network(reactor, client_header=HeaderSender(version="v1"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.settimeout(5)
        network.connectUNIX(str(tmp_path / "s"), Factory())
        assert received(server, reactor) == b"PROXY UNKNOWN\r\nhello"


def test_without_a_header_there_is_none(reactor):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        Network(reactor).connectTCP(*server.getsockname(), Factory())
        assert received(server, reactor) == b"hello"


class Refusing:
    """A socket that doesn't take what is sent."""

    def __init__(self, real, outcome):
        self.real = real
        self.outcome = outcome

    def send(self, data):
        if self.outcome is None:
            return len(data) - 1
        raise OSError(self.outcome, os.strerror(self.outcome))

    def __getattr__(self, name):
        return getattr(self.real, name)


@pytest.mark.parametrize(
    ("outcome", "said"), [(errno.ECONNRESET, "reset by peer"), (None, "didn't fit")]
)
def test_a_header_that_cannot_be_sent_is_a_connection_that_failed(reactor, outcome, said):
    factory = Factory()
    network = Network(reactor, client_header=HeaderSender(version="v1"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        connector = network.connectTCP(*server.getsockname(), factory)
        connector.transport.socket = Refusing(connector.transport.socket, outcome)
        reactor.turn(3)
    assert said in str(factory.failed)
    assert not reactor.readers
    assert not reactor.writers
    assert not reactor.getDelayedCalls()


def test_a_connector_is_asked_for_it_by_an_endpoint_string(reactor):
    with pytest.raises(ValueError, match="needs an endpoint string"):
        Connector(reactor, mock.Mock(), Factory(), proxy="v1")
