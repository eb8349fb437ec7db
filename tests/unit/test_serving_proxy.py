"""Behind a proxy: who is believed, and who comes in by the address that a header told."""

import socket
from dataclasses import replace

import pytest
from helpers.net_loop import HandReactor
from helpers.proxy_vectors import HAPROXY_LOCAL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent

from tcpd.admission.deadlines import Deadlines
from tcpd.admission.gate import Gate
from tcpd.admission.networks import Network as NetworkText
from tcpd.admission.networks import Networks
from tcpd.admission.rules import Access, Limits
from tcpd.admission.sweep import Sweep
from tcpd.events import Bus, SessionOpened, SessionRefused
from tcpd.net.lingering import lingering_on
from tcpd.net.network import Network
from tcpd.serving import Serving
from tcpd.session import Origin
from tcpd.units import Seconds


class Handler(Factory):
    """Notes the peers that its sessions see in connectionMade."""

    noisy = False

    def __init__(self):
        self.peers = []

    def buildProtocol(self, address):
        factory = self

        class Noting(Protocol):
            def connectionMade(self):
                factory.peers.append(self.transport.getPeer().host)

        return Noting()


class Closes(Protocol):
    """Reads nothing, and closes at once."""

    def connectionMade(self):
        self.transport.stopReading()
        self.transport.loseConnection()


class House:
    """A listener on a real port that expects PROXY headers from 127.0.0.1."""

    def __init__(
        self, reactor, *, trusted=("127.0.0.1",), access=None, limits=None, interface="127.0.0.1"
    ):
        self.reactor = reactor
        self.handler = Handler()
        self.gate = Gate(reactor, access, limits)
        self.bus, self.events = Bus(), []
        for kind in (SessionOpened, SessionRefused):
            self.bus.subscribe(kind, self.events.append)
        origin = Origin(name="main", handler="h", role="listener", bus=self.bus, clock=reactor)
        self.serving = Serving(origin, self.handler, Deadlines(header=Seconds(3)), self.gate)
        self.serving.proxies = networks(*trusted)
        network = Network(reactor, server_header=True)
        self.port = network.listenTCP(0, self.serving, interface=interface)
        self.address = ("127.0.0.1", self.port.getHost().port)
        self.clients = []

    def come(self, data, source="127.0.0.1"):
        client = socket.create_connection(self.address, timeout=5, source_address=(source, 0))
        self.clients.append(client)
        client.sendall(data)
        self.reactor.turn(3)
        return client

    @property
    def refusals(self):
        return self.serving.refusals.counts

    def close(self):
        for client in self.clients:
            client.close()
        self.reactor.turn(3)
        self.serving.refusals.flush()


@pytest.fixture
def reactor():
    reactor = HandReactor()
    yield reactor
    reactor.close()


@pytest.fixture
def house(reactor):
    houses = []

    def build(**settings):
        houses.append(House(reactor, **settings))
        return houses[-1]

    yield build
    for each in houses:
        each.close()


def networks(*names):
    return Networks(NetworkText.parse(name) for name in names)


def client_of(host, port=5000):
    family = "TCP6" if ":" in host else "TCP4"
    other = "::1" if ":" in host else "127.0.0.1"
    return f"PROXY {family} {host} {other} {port} 80\r\n".encode()


def is_closed(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_handler_sees_the_client_and_records_name_the_proxy(house):
    at = house()
    at.come(client_of("192.0.2.7"))
    assert at.handler.peers == ["192.0.2.7"]
    assert at.events[0].identity.client_address == "192.0.2.7"
    assert at.events[0].identity.hop_address == "127.0.0.1"
    assert not at.serving.arrivals


def test_who_is_not_trusted_is_not_even_listened_to(house):
    at = house()
    assert is_closed(at.come(client_of("192.0.2.7"), source="127.0.0.2"))
    assert at.refusals == {"proxy-untrusted": 1}
    assert not at.handler.peers
    assert at.gate.open == 0


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:a00:0/104"])
@pytest.mark.parametrize(
    ("address", "believed"),
    [
        (IPv4Address("TCP", "10.1.2.3", 1), True),
        (IPv6Address("TCP", "::ffff:10.1.2.3", 1), True),
        (IPv6Address("TCP", "::FFFF:a01:203", 1), True),
        (IPv6Address("TCP", "0:0:0:0:0:ffff:0a01:0203", 1), True),
        (IPv6Address("TCP", "::ffff:10.1.2.3%eth0", 1), True),
        (IPv4Address("TCP", "11.1.2.3", 1), False),
        (IPv6Address("TCP", "::ffff:11.1.2.3", 1), False),
        (IPv6Address("TCP", "::ffff:0b01:0203", 1), False),
        (IPv6Address("TCP", "::ffff:127.0.0.1", 1), False),
        (IPv6Address("TCP", "::10.1.2.3", 1), False),  # not mapped, but "compatible"
        (IPv6Address("TCP", "::ffff:0:10.1.2.3", 1), False),  # RFC 2765's translated ones
        (IPv6Address("TCP", "64:ff9b::10.1.2.3", 1), False),
        (IPv6Address("TCP", "::1", 1), False),
        (UNIXAddress(b"/x"), False),
        (None, False),
    ],
)
def test_a_mapped_address_is_trusted_as_the_one_it_maps(house, trusted, address, believed):
    at = house(trusted=(trusted,))
    place = at.serving.admits(address)
    assert (place is not None) is believed
    if place is not None:
        place.leave()


def test_a_proxy_over_ipv4_is_known_at_an_address_for_both(house):
    at = house(interface="::")
    at.come(client_of("192.0.2.7"))
    assert at.handler.peers == ["192.0.2.7"]
    assert at.events[0].identity.hop_address == "127.0.0.1"
    assert is_closed(at.come(client_of("192.0.2.7"), source="127.0.0.2"))
    assert at.refusals == {"proxy-untrusted": 1}


def test_unix_sockets_are_trusted_by_their_word(house):
    assert house(trusted=("unix",)).serving.admits(UNIXAddress(None)) is not None
    assert house(trusted=("127.0.0.0/8",)).serving.admits(UNIXAddress(None)) is None


def test_access_lists_are_about_the_client_and_not_the_proxy(house):
    deny = Access(deny=(NetworkText.parse("192.0.2.0/24"), NetworkText.parse("127.0.0.0/8")))
    at = house(access=deny)
    assert is_closed(at.come(client_of("192.0.2.7")))
    assert is_closed(at.come(client_of("::ffff:192.0.2.7")))
    at.come(client_of("198.51.100.1"))
    assert at.handler.peers == ["198.51.100.1"]
    assert at.refusals == {"denied": 2}
    refused = [each for each in at.events if isinstance(each, SessionRefused)]
    assert [each.client_address for each in refused] == ["192.0.2.7"] * 2
    assert at.gate.open == 1
    assert not at.serving.arrivals


def test_limits_count_the_clients_and_not_the_proxy(house):
    at = house(limits=Limits(per_address=2))
    for host in ("192.0.2.7", "192.0.2.7", "192.0.2.8"):
        at.come(client_of(host))
    assert is_closed(at.come(client_of("192.0.2.7")))
    assert at.refusals == {"per-address": 1}
    assert at.gate.count(IPv4Address("TCP", "192.0.2.7", 1)) == 2
    for client in at.clients:
        client.close()
    at.reactor.turn(3)
    assert (at.gate.open, at.gate.addresses) == (0, 0)
    at.come(client_of("192.0.2.7"))
    assert at.handler.peers[3:] == ["192.0.2.7"]


@pytest.mark.parametrize("more", [b"", b"GET /"], ids=["nothing", "more"])
@pytest.mark.parametrize(
    ("why", "settings"),
    [
        ("denied", {"access": Access(deny=(NetworkText.parse("192.0.2.7"),))}),
        ("per-address", {"limits": Limits(per_address=1)}),
        ("rate", {"limits": Limits(rate=0.001, burst=1)}),
        ("proxy-invalid", {}),
        ("proxy-untrusted", {"trusted": ("127.0.0.9",)}),
    ],
)
def test_who_is_refused_holds_no_place_though_it_says_more_and_stays(house, why, settings, more):
    at = house(**settings)
    header = b"PROXY TCP9 nonsense\r\n" if why == "proxy-invalid" else client_of("192.0.2.7")
    served = why in ("per-address", "rate")
    if served:
        at.come(client_of("192.0.2.7"))
    for _ in range(3):
        assert is_closed(at.come(header + more))
    assert at.refusals == {why: 3}
    assert len(lingering_on(at.reactor)) == 0
    assert at.gate.open == at.gate.addresses == served
    assert not at.serving.arrivals


def test_a_socket_that_lingers_counts_for_the_client_that_a_header_told(house):
    at = house(limits=Limits(per_address=2))
    at.serving.terms = replace(at.serving.terms, factory=Factory.forProtocol(Closes))
    for _ in range(2):
        at.come(client_of("192.0.2.7") + b"never read")
    assert not at.serving.origin.sessions
    assert len(lingering_on(at.reactor)) == 2
    assert at.gate.count(IPv4Address("TCP", "192.0.2.7", 1)) == 2
    assert is_closed(at.come(client_of("192.0.2.7") + b"never read"))
    assert at.refusals == {"per-address": 1}
    assert at.gate.open == 2
    at.come(client_of("192.0.2.8") + b"never read")
    assert at.gate.open == 3
    for client in at.clients:
        client.close()
    at.reactor.turn(3)
    assert (at.gate.open, at.gate.addresses) == (0, 0)


def test_all_sessions_together_count_before_the_header(house):
    at = house(limits=Limits(sessions=1))
    at.come(b"")
    assert is_closed(at.come(client_of("192.0.2.7")))
    assert at.refusals == {"sessions": 1}


def test_a_place_is_left_however_a_header_fails(house):
    at = house()
    at.come(b"GET / HTTP/1.1\r\n\r\n")
    at.come(b"PROXY TCP4 ").close()
    at.come(b"").close()
    at.reactor.turn(3)
    assert at.refusals == {"proxy-invalid": 2, "peer-closed": 1}
    assert at.gate.open == 0
    assert not at.serving.arrivals


@pytest.mark.parametrize("pieces", [(b"",), (b"PROXY TCP4 192.0.2.7",), (b"P", b"R", b"O", b"X")])
def test_a_header_that_stalls_is_cut_at_its_deadline_and_no_sooner(house, pieces):
    at = house()
    sweep = Sweep(at.reactor)
    sweep.watch(at.serving)
    sweep.start()
    client = at.come(b"")
    for piece in pieces:  # a byte a second doesn't keep it open
        client.sendall(piece)
        at.reactor.turn()
        at.reactor.pump([0.5] * 2)
    for _ in range(2 * (4 - len(pieces)) - 2):
        assert not at.refusals
        at.reactor.advance(0.5)
    at.reactor.pump([0.5] * 2)
    at.reactor.turn()
    assert at.refusals == {"header-timeout": 1}
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert at.gate.open == 0
    sweep.stop()


def test_a_proxy_that_speaks_for_itself_comes_in_whatever_the_lists_say(house):
    at = house(access=Access(allow=(NetworkText.parse("192.0.2.0/24"),)))
    at.come(HAPROXY_LOCAL)
    assert at.handler.peers == ["127.0.0.1"]
    assert at.events[0].identity.hop_address == ""


def test_a_client_that_is_not_named_comes_in_only_where_everybody_may(house):
    at = house()
    at.come(b"PROXY UNKNOWN\r\n")
    assert at.handler.peers == ["127.0.0.1"]
    at = house(access=Access(allow=(NetworkText.parse("127.0.0.0/8"),)))
    assert is_closed(at.come(b"PROXY UNKNOWN\r\n"))
    assert at.refusals == {"denied": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 \x1b[2J\x07 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4\x85 127.0.0.1 1 2\r\n",
        b"PROXY \x00\xff\xfe \x9b31m\r\n",
        b"\x1b]0;pwned\x07\r\n",
        b"{log_format!r}{why.__class__}\r\n",
        b"GET /\xe2\x80\xae HTTP/1.1\r\n",
    ],
)
def test_what_is_no_header_reaches_a_log_as_plain_text_alone(house, data):
    at = house()
    with capturedLogs() as logged:
        at.come(data)
    (text,) = [text for text in map(formatEvent, logged) if "proxy-invalid" in text]
    assert text.isascii()
    assert text.isprintable()
