import itertools

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from tcpd.errors import ConfigError
from tcpd.fields import CommandLine, Place, build
from tcpd.handlers.chargen import BLOCK, Chargen


def connected(factory):
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


def pull(transport, times=1):
    """Ask for more as a transport does: as long as its producer is there."""
    for _ in range(times):
        if transport.producer is not None:
            transport.producer.resumeProducing()


def test_the_lines_are_those_of_the_rfc():
    _, transport = connected(Chargen())
    pull(transport)
    lines = transport.value().split(b"\r\n")
    # RFC 864 shows the pattern from "!" on; the space is the ring's first character.
    assert lines[1] == b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh"
    assert lines[2] == b"\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghi"
    assert lines[94][:2] == b"~ "
    assert lines[95] == lines[0]
    assert {len(line) for line in lines[:-1]} == {72}
    assert lines[-1] == b""


def test_one_block_follows_another_without_a_seam():
    _, transport = connected(Chargen())
    pull(transport, 3)
    lines = transport.value().split(b"\r\n")[:-1]
    assert len(lines) == 3 * 9 * 95
    for before, after in itertools.pairwise(lines):
        assert after[:-1] == before[1:]


def test_a_reader_that_asks_for_nothing_more_costs_nothing_more():
    _, transport = connected(Chargen())
    assert transport.streaming is False
    assert verifyObject(IPullProducer, transport.producer)
    assert transport.value() == b""
    pull(transport)
    assert len(transport.value()) == len(BLOCK) <= 65536


@pytest.mark.parametrize(
    "limit", [1, 73, 74, len(BLOCK) - 1, len(BLOCK), len(BLOCK) + 1, 3 * len(BLOCK)]
)
def test_a_limit_is_kept_to_the_byte_and_closes(limit):
    _, transport = connected(Chargen(limit=limit))
    pull(transport, 10)
    assert transport.value() == (BLOCK * 4)[:limit]
    assert transport.producer is None
    assert transport.disconnecting
    assert not transport.disconnected


def test_a_peer_that_only_listens_is_served_on():
    protocol, transport = connected(Chargen())
    assert verifyObject(IHalfCloseableProtocol, protocol)
    protocol.dataReceived(b"ignored")
    protocol.readConnectionLost()
    protocol.writeConnectionLost()
    pull(transport)
    assert transport.value() == BLOCK
    assert not transport.disconnecting
    protocol.stopProducing()


def test_the_limit_is_a_size_of_at_least_one_byte():
    problems: list[ConfigError] = []
    chargen = build(Chargen, {"limit": "2KiB"}, Place(CommandLine()), problems)
    assert chargen is not None
    assert chargen.limit == 2048
    assert build(Chargen, {"limit": 0}, Place(CommandLine()), problems) is None
    assert [str(problem) for problem in problems] == ["--option limit: expected 1B or more, not 0B"]
