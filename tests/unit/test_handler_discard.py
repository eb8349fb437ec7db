from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport

from tcpd.handlers.discard import Discard


def test_nothing_is_answered_and_the_connection_stays():
    protocol = Discard().buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    for data in (b"x", b"\r\n", bytes(range(256)) * 100):
        protocol.dataReceived(data)
    assert transport.value() == b""
    assert not transport.disconnecting


def test_a_half_closed_connection_may_close_at_once_since_no_answer_is_due():
    assert not IHalfCloseableProtocol.providedBy(Discard().buildProtocol(None))
    assert Discard.noisy is False
