from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from tcpd.errors import ConfigError
from tcpd.fields import CommandLine, Place, build
from tcpd.handlers.echo import Echo


def connected():
    protocol = Echo().buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


def test_every_byte_comes_back_in_order():
    protocol, transport = connected()
    assert transport.value() == b""
    everything = bytes(range(256)) * 3
    protocol.dataReceived(everything[:1])
    protocol.dataReceived(everything[1:500])
    protocol.dataReceived(everything[500:])
    assert transport.value() == everything
    assert not transport.disconnecting


def test_a_peer_that_has_said_everything_is_closed_politely_after_its_echo():
    protocol, transport = connected()
    protocol.dataReceived(b"last words")
    protocol.readConnectionLost()
    assert transport.value() == b"last words"
    assert transport.disconnecting
    assert not transport.disconnected


def test_it_declares_that_it_handles_half_close():
    protocol, _ = connected()
    assert verifyObject(IHalfCloseableProtocol, protocol)
    protocol.writeConnectionLost()


def test_it_has_no_options_and_is_quiet_at_start():
    problems: list[ConfigError] = []
    assert isinstance(build(Echo, {}, Place(CommandLine()), problems), Echo)
    assert build(Echo, {"size": "1"}, Place(CommandLine()), problems) is None
    assert len(problems) == 1
    assert str(problems[0]).startswith("--option size: unknown key")
    assert Echo.noisy is False
