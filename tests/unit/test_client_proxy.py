"""`--proxy` and `--proxy-source`: what is asked for, and what can't be meant."""

import pytest
from helpers.net_loop import HandReactor
from twisted.internet.address import IPv4Address, IPv6Address

from tcpd.client.dialing import make_dialler
from tcpd.client.options import parse_options


def header_of(*arguments):
    return make_dialler(HandReactor(), parse_options(arguments), None).network.client_header


def test_a_header_is_sent_only_where_it_is_asked_for():
    assert header_of("x:1") is None
    header = header_of("x:1", "--proxy", "v2")
    assert (header.version, header.source) == ("v2", None)


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("192.0.2.1:5000", IPv4Address("TCP", "192.0.2.1", 5000)),
        ("[2001:DB8::1]:5000", IPv6Address("TCP", "2001:db8::1", 5000)),
    ],
)
def test_it_may_tell_of_another_client(given, source):
    assert header_of("x:1", "--proxy", "v1", "--proxy-source", given).source == source


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--proxy-source", "192.0.2.1:1"], "--proxy-source means nothing without --proxy"),
        (["--proxy", "v1", "--proxy-source", "localhost:1"], "an IP address and a port"),
        (["--proxy", "v1", "--proxy-source", "unix:/x"], "an IP address and a port"),
        (["--proxy", "v1", "--proxy-source", "192.0.2.1"], "has no port"),
        (["--proxy", "v1", "--proxy-source", "192.0.2.1:99999"], "isn't a valid port"),
        (["--proxy", "v3"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_told_in_a_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_options(["x:1", *arguments])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
