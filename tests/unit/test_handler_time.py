import sys

import pytest
from twisted.internet.testing import StringTransport

import tcpd.handlers.time
from tcpd.fields import keys_of
from tcpd.handlers.time import Time, encode_time


@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        # The examples of RFC 868.
        (0, 2_208_988_800),
        (189_302_400, 2_398_291_200),
        (315_532_800, 2_524_521_600),
        (420_595_200, 2_629_584_000),
        (-3_506_716_800, -1_297_728_000 % 2**32),
        # The rollover: 2036-02-07 06:28:15 and the second after it.
        (2_085_978_495, 2**32 - 1),
        (2_085_978_496, 0),
        (2_085_978_497.9, 1),
        (-0.5, 2_208_988_799),
    ],
)
def test_the_number_counts_from_1900(seconds, number):
    assert int.from_bytes(encode_time(seconds), "big") == number


def test_the_peer_is_told_once_and_closed():
    factory = Time()
    factory.now = lambda: 0.0
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(b"ignored")
    assert transport.value() == b"\x83\xaa\x7e\x80"
    assert transport.disconnecting
    assert not transport.disconnected


def test_the_module_leaves_the_standard_time_alone():
    assert tcpd.handlers.time.time is sys.modules["time"]


def test_the_clock_is_no_option():
    assert keys_of(Time) == {}
    assert Time.noisy is False
