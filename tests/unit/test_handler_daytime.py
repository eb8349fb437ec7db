import locale

import pytest
from twisted.internet.testing import StringTransport

from tcpd.fields import keys_of
from tcpd.handlers.daytime import Daytime, format_daytime


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (0, b"Thursday, January 1, 1970 00:00:00-UTC\r\n"),
        (383247463.9, b"Monday, February 22, 1982 17:37:43-UTC\r\n"),
        (2**31, b"Tuesday, January 19, 2038 03:14:08-UTC\r\n"),
    ],
)
def test_the_line_is_the_documented_one(seconds, line):
    assert format_daytime(seconds) == line


def test_the_locale_changes_nothing(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, "")
        assert format_daytime(0) == b"Thursday, January 1, 1970 00:00:00-UTC\r\n"
    finally:
        locale.setlocale(locale.LC_TIME, before)


def test_the_peer_is_told_once_and_closed():
    factory = Daytime()
    factory.now = lambda: 86400.0
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(b"what time is it?")
    assert transport.value() == b"Friday, January 2, 1970 00:00:00-UTC\r\n"
    assert transport.disconnecting
    assert not transport.disconnected


def test_the_clock_is_no_option():
    assert keys_of(Daytime) == {}
    assert Daytime.noisy is False
