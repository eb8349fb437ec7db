"""The PROXY header as it is written: by our own reading, and by another implementation's."""

import socket

import pytest
from helpers.proxy_vectors import (
    DESTINATION,
    DESTINATION6,
    HAPROXY_LOCAL,
    SOURCE,
    SOURCE6,
    VALID,
    v2,
)
from hypothesis import given
from hypothesis import strategies as st
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpd.net.proxy_encode import encode_v1, encode_v2
from tcpd.net.proxy_facts import MAX_V1
from tcpd.net.proxy_header import HeaderParser

V4_HOSTS = st.binary(min_size=4, max_size=4).map(lambda b: socket.inet_ntop(socket.AF_INET, b))
V6_HOSTS = st.binary(min_size=16, max_size=16).map(lambda b: socket.inet_ntop(socket.AF_INET6, b))
PORTS = st.integers(0, 65535)
V4 = st.builds(IPv4Address, st.just("TCP"), V4_HOSTS, PORTS)
V6 = st.builds(IPv6Address, st.just("TCP"), V6_HOSTS, PORTS)
NAMES = st.one_of(
    st.none(),
    st.binary(min_size=1, max_size=108).filter(lambda b: b"\0" not in b),
    st.binary(min_size=1, max_size=107).map(lambda b: b"\0" + b.replace(b"\0", b"x")),
)
UNIX = st.builds(UNIXAddress, NAMES)
PAIRS = st.one_of(st.tuples(V4, V4), st.tuples(V6, V6), st.tuples(V4, V6), st.tuples(V6, V4))
TLVS = st.lists(st.tuples(st.integers(0xE0, 0xEF), st.binary(max_size=40)), max_size=5)


def parse(data):
    parser = HeaderParser()
    assert parser.feed(data) == len(data)
    assert parser.facts is not None
    return parser.facts


def seen(address):
    """An address as a reader of ours knows it."""
    if isinstance(address, IPv6Address):
        host = address.host.removeprefix("::ffff:")
        if "." in host and ":" not in host:
            return IPv4Address(address.type, host, address.port)
    return address


@given(PAIRS)
def test_version_1_goes_round(pair):
    header = encode_v1(*pair)
    assert len(header) <= MAX_V1
    facts = parse(header)
    assert (facts.source, facts.destination) == tuple(map(seen, pair))


@given(st.one_of(PAIRS, st.tuples(UNIX, UNIX)), TLVS, st.booleans())
def test_version_2_goes_round(pair, tlvs, checksum):
    facts = parse(encode_v2(*pair, tlvs, checksum=checksum))
    assert (facts.source, facts.destination) == tuple(map(seen, pair))
    assert list(facts.tlvs[: len(tlvs)]) == tlvs
    assert len(facts.tlvs) == len(tlvs) + checksum


@given(PAIRS)
def test_another_implementation_reads_what_we_write(pair):
    by_v1 = ProxyProtocolV1().unpack(encode_v1(*pair))
    by_v2 = ProxyProtocolV2().unpack(encode_v2(*pair, [(2, b"name")]))
    for result in (by_v1, by_v2):
        for address, (host, port) in zip(pair, (result.source, result.dest), strict=True):
            own = getattr(host, "ipv4_mapped", None) or host
            assert (str(own), port) == (seen(address).host, address.port)
    assert by_v2.tlv.authority == "name"


# Of a transport that isn't told, it takes the addresses all the same.
BOTH_READ = [what for what in VALID if "IPv" in what and what != "v2 UNSPEC transport of IPv4"]


@pytest.mark.parametrize("what", BOTH_READ)
def test_another_implementation_reads_the_vectors_as_we_do(what):
    data, source, destination = VALID[what]
    reader = ProxyProtocolV1() if data.startswith(b"PROXY") else ProxyProtocolV2()
    result = reader.unpack(data)
    for address, (host, port) in ((source, result.source), (destination, result.dest)):
        assert (address.host, address.port) == (str(host), port)


@pytest.mark.parametrize(
    "pair", [(None, None), (SOURCE, None), (None, SOURCE), (SOURCE, UNIXAddress(b"/x"))]
)
def test_without_addresses_it_says_so(pair):
    assert encode_v1(*pair) == b"PROXY UNKNOWN\r\n"
    assert encode_v2(*pair) == v2(b"", kind=0, command=0x20)
    assert parse(encode_v2(*pair)).local
    assert parse(encode_v1(*pair)).source is None


def test_version_1_knows_neither_unix_sockets_nor_udp():
    pair = UNIXAddress(b"/x"), UNIXAddress(b"/y")
    assert encode_v1(*pair) == b"PROXY UNKNOWN\r\n"
    pair = IPv4Address("UDP", "192.0.2.1", 1), IPv4Address("UDP", "192.0.2.2", 2)
    assert encode_v1(*pair) == b"PROXY UNKNOWN\r\n"
    assert parse(encode_v2(*pair)).source == pair[0]


def test_the_bytes_are_those_of_the_specification():
    assert encode_v1(SOURCE, DESTINATION) == VALID["v1 IPv4"][0]
    assert encode_v2(SOURCE, DESTINATION) == VALID["v2 IPv4"][0]
    assert encode_v2(SOURCE6, DESTINATION6) == VALID["v2 IPv6"][0]
    assert encode_v1(SOURCE6, DESTINATION6) == (b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n")


def test_the_checksum_is_the_one_that_haproxy_computes():
    tlvs = parse(HAPROXY_LOCAL).tlvs
    # HAProxy puts the sum first, we put it last: it has to be right for where it stands.
    assert parse(encode_v2(None, None, tlvs[1:], checksum=True)).unique_id == b"id-5"


def test_a_scope_stays_at_home():
    scoped = IPv6Address("TCP", "fe80::1%eth0", 1)
    assert b"fe80::1 " in encode_v1(scoped, DESTINATION6)


@pytest.mark.parametrize(
    "pair",
    [
        (IPv4Address("TCP", "localhost", 1), SOURCE),
        (IPv4Address("TCP", "192.0.2.1\r\n", 1), SOURCE),
        (IPv4Address("TCP", "192.0.2.1", 65536), SOURCE),
        (SOURCE, IPv4Address("TCP", "192.0.2.1", -1)),
    ],
)
def test_what_is_no_address_is_not_written(pair):
    for encode in (encode_v1, encode_v2):
        with pytest.raises(ValueError, match=r"no IP address|from 0 to 65535"):
            encode(*pair)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((SOURCE, DESTINATION, [(256, b"")]), "type of 0 to 255"),
        ((SOURCE, DESTINATION, [(1, bytes(65536))]), "at most 65535"),
        ((SOURCE, DESTINATION, [(1, bytes(65530))]), "too long for a header"),
        ((UNIXAddress(b"/" * 109), UNIXAddress(None)), "at most 108"),
    ],
)
def test_what_has_no_room_is_not_written(arguments, why):
    with pytest.raises(ValueError, match=why):
        encode_v2(*arguments)
