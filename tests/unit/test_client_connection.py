"""The client's end of a connection: what it counts, and an end in order told from a cut."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tcpd.client.connection import Wire, format_address


class Owner:
    def __init__(self) -> None:
        self.heard: list[object] = []
        self.received = self.heard.append

    def peer_ended(self) -> None:
        self.heard.append("ended")

    def lost(self, cut: str) -> None:
        self.heard.append(("lost", cut))


class Transport(StringTransport):
    """What tcpd's transports have beyond Twisted's."""

    close_cause = ""
    tls: object = None

    @property
    def bytes_out(self) -> int:
        return len(self.value())


def connected() -> tuple[Wire, Owner, Transport]:
    owner, transport = Owner(), Transport()
    wire = Wire(owner)
    wire.makeConnection(transport)
    return wire, owner, transport


def test_it_hands_on_and_counts_what_passes() -> None:
    wire, owner, transport = connected()
    assert verifyObject(IHalfCloseableProtocol, wire)
    wire.dataReceived(b"hello")
    wire.send(b"hi")
    assert (owner.heard, transport.value()) == ([b"hello"], b"hi")
    assert wire.totals(1.0) == "sent 2 bytes, received 5 bytes in 1s"
    transport.clear()
    assert wire.unsent == 2


def test_after_a_half_close_nothing_is_sent() -> None:
    wire, _, transport = connected()
    transport.loseWriteConnection = lambda: None  # type: ignore[attr-defined]
    wire.half_close()
    wire.half_close()
    wire.send(b"late")
    assert transport.value() == b""


@pytest.mark.parametrize(
    ("reason", "cause", "tls", "said"),
    [
        (ConnectionDone(), "peer-closed", None, ""),
        (ConnectionLost(), "peer-reset", None, "connection reset by the peer"),
        (ConnectionLost(), "lost", None, "the connection was lost"),
        (ConnectionLost(), "lost", object(), "cut without TLS's own goodbye"),
        (ConnectionLost(), "tls-failed", object(), "perhaps it demands a certificate (--cert)"),
        (ConnectionAborted(), "handler-aborted", None, "aborted"),
    ],
)
def test_an_end_in_order_is_told_from_a_cut(
    reason: Exception, cause: str, tls: object, said: str
) -> None:
    wire, owner, transport = connected()
    transport.close_cause, transport.tls = cause, tls
    wire.connectionLost(Failure(reason))
    ((kind, cut),) = owner.heard  # type: ignore[misc]
    assert kind == "lost"
    assert said in cut
    assert bool(said) == bool(cut)


def test_a_hang_up_after_both_said_everything_is_an_end_in_order() -> None:
    wire, owner, _ = connected()
    wire.readConnectionLost()
    wire.close()
    wire.connectionLost(Failure(ConnectionLost()))
    assert owner.heard == ["ended", ("lost", "")]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPv4Address("TCP", "127.0.0.1", 1), "127.0.0.1:1"),
        (IPv6Address("TCP", "::1", 2), "[::1]:2"),
        (UNIXAddress(b"/run/x\x1b"), r"unix:/run/x\x1b"),
        (UNIXAddress(b""), "unix:"),
    ],
)
def test_addresses_are_written_as_people_do(address: IAddress, text: str) -> None:
    assert format_address(address) == text
