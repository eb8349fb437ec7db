"""The PROXY header: what is read, what is refused, and that nothing more is taken."""

import itertools

import pytest
from helpers.proxy_vectors import (
    DESTINATION,
    HAPROXY_LOCAL,
    HAPROXY_SSL,
    INVALID,
    SOURCE,
    V4,
    VALID,
    ssl,
    tlv,
    v2,
)
from hypothesis import given
from hypothesis import strategies as st

from tcpd.escape import one_line
from tcpd.net.crc32c import crc32c
from tcpd.net.proxy_facts import ProxyFacts, ProxyHeaderError, ProxySSL
from tcpd.net.proxy_header import MAX_HEADER, HeaderParser


def parse(data, *cuts):
    """The facts and what is left over; the data fed in pieces."""
    parser = HeaderParser()
    at = 0
    for start, end in itertools.pairwise((0, *cuts, len(data))):
        taken = parser.feed(data[start:end])
        assert 0 <= taken <= end - start
        at += taken
        if parser.facts is not None:
            break
        assert taken == end - start
        assert len(parser._buffer) <= MAX_HEADER
    return parser.facts, data[at:]


def verdict(data, *cuts):
    try:
        return parse(data, *cuts)
    except ProxyHeaderError as error:
        return type(error)


@pytest.mark.parametrize("what", VALID)
def test_a_valid_header_tells_its_addresses(what):
    data, source, destination = VALID[what]
    facts, rest = parse(data)
    assert (facts.source, facts.destination) == (source, destination)
    assert facts.version == int(what[1])
    assert rest == b""


@pytest.mark.parametrize("what", VALID)
def test_what_follows_a_header_is_left_alone(what):
    data = VALID[what][0]
    for more in (b"x", b"\r\n", b"PROXY ", data, bytes(5000)):
        facts, rest = parse(data + more)
        assert facts == parse(data)[0]
        assert rest == more
    parser = HeaderParser()
    parser.feed(data)
    assert parser.feed(b"more") == 0


@pytest.mark.parametrize("what", VALID)
def test_a_header_comes_in_any_pieces(what):
    data = VALID[what][0] + b"rest"
    whole = parse(data)
    assert parse(data, *range(1, len(data))) == whole
    for cut in range(1, min(len(data), 400)):
        assert parse(data, cut) == whole


@pytest.mark.parametrize("what", VALID)
def test_a_header_that_is_cut_short_is_not_complete(what):
    data = VALID[what][0]
    for end in range(min(len(data), 400)):
        assert parse(data[:end]) == (None, b"")


@pytest.mark.parametrize("what", INVALID)
def test_an_invalid_header_is_refused_with_a_reason(what):
    data, why = INVALID[what]
    with pytest.raises(ProxyHeaderError) as caught:
        parse(data)
    assert why in str(caught.value)
    # Nothing in a reason can steer a log or a terminal.
    assert one_line(str(caught.value)) == str(caught.value)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("what", INVALID)
def test_an_invalid_header_is_refused_in_any_pieces(what):
    data = INVALID[what][0]
    assert verdict(data, *range(1, len(data))) is ProxyHeaderError
    for cut in range(1, min(len(data), 120)):
        assert verdict(data, cut) is ProxyHeaderError


@pytest.mark.parametrize(
    ("what", "enough"),
    [
        ("nothing of the kind", 1),
        ("v2 version 3", 13),
        ("v2 command", 13),
        ("v2 family", 14),
        ("v2 longest length", 16),
        ("v2 too short for IPv4", 16),
        ("v1 LF", 43),
        ("v1 without end", 107),
    ],
)
def test_what_is_wrong_is_said_as_soon_as_it_is_seen(what, enough):
    data = INVALID[what][0]
    assert parse(data[: enough - 1]) == (None, b"")
    assert verdict(data[:enough]) is ProxyHeaderError


def test_what_comes_before_a_header_is_shown_and_cut():
    with pytest.raises(ProxyHeaderError, match=r"but 'x{24}'\.\.\.$"):
        parse(b"x" * 5000)


@pytest.mark.parametrize(
    ("octets", "crc"),
    [  # RFC 3720, B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (
            bytes.fromhex(
                "01c00000000000000000000000000000140000000000040000000014000000182800000000000000"
                "0200000000000000"
            ),
            0xD9963A56,
        ),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc_32c(octets, crc):
    assert crc32c(octets) == crc


def test_the_extensions_that_haproxy_sends():
    facts, _ = parse(HAPROXY_SSL)
    assert facts.alpn == "echo"
    assert facts.authority == "front.example"
    assert facts.unique_id == b"7F000001:B9BE"
    assert facts.netns is None
    assert facts.ssl == ProxySSL(
        used=True,
        certificate=True,
        certificate_now=True,
        verify_result=0,
        version="TLSv1.3",
        common_name="Client One",
        cipher="TLS_AES_256_GCM_SHA384",
        signature_algorithm="ecdsa-with-SHA256",
        key_algorithm="RSA2048",
    )
    assert facts.ssl.verified
    assert [kind for kind, _ in facts.tlvs] == [3, 1, 2, 5, 0x20]


def test_every_bit_is_under_the_checksum():
    for header in (HAPROXY_LOCAL, HAPROXY_SSL):
        for at in range(len(header)):
            for bit in range(8):
                broken = bytearray(header)
                broken[at] ^= 1 << bit
                outcome = verdict(bytes(broken) + b"more")
                assert outcome is ProxyHeaderError or outcome[0] != parse(header)[0]


def test_a_local_header_keeps_its_extensions_and_tells_no_address():
    facts, _ = parse(HAPROXY_LOCAL)
    assert facts.local
    assert facts.source is None
    assert facts.unique_id == b"id-5"
    facts, _ = parse(v2(tlv(2, b"name"), kind=0))
    assert not facts.local
    assert facts.authority == "name"


@pytest.mark.parametrize("settings", [{"kind": 0x10}, {"kind": 0x11, "command": 0x20}])
def test_extensions_are_not_looked_for_where_an_address_may_stand(settings):
    assert parse(v2(tlv(2, b"name"), **settings))[0].authority is None


@pytest.mark.parametrize(
    ("client", "verify", "used", "certificate", "verified"),
    [
        (0, 0, False, False, False),
        (1, 0, True, False, False),  # HAProxy: no certificate, nothing wrong with it
        (1, 1, True, False, False),
        (3, 0, True, True, True),
        (3, 10, True, True, False),
        (5, 0, True, True, True),
        (7, 1, True, True, False),
    ],
)
def test_a_certificate_is_verified_only_if_there_is_one(
    client, verify, used, certificate, verified
):
    facts, _ = parse(v2(V4 + ssl(client=client, verify=verify)))
    assert facts.ssl.used is used
    assert facts.ssl.certificate is certificate
    assert facts.ssl.verified is verified
    assert facts.ssl.certificate_now is bool(client & 2)


def test_an_extension_may_be_empty_or_no_utf8():
    facts, _ = parse(v2(V4 + tlv(1, b"") + tlv(2, b"\xffa\x1b") + tlv(0x30, b"blue")))
    assert facts.alpn == ""
    assert facts.authority == "\\xffa\x1b"
    assert facts.netns == "blue"
    assert facts.tlvs == ((1, b""), (2, b"\xffa\x1b"), (0x30, b"blue"))


def test_parts_of_ssl_that_nobody_knows_are_passed_over():
    facts, _ = parse(v2(V4 + ssl(tlv(0x21, b"TLSv1.2"), tlv(0x2F, b"?") * 2, tlv(3, b""))))
    assert facts.ssl.version == "TLSv1.2"
    assert facts.ssl.cipher is None


def test_a_header_without_extensions_says_so():
    facts, _ = parse(v2())
    assert facts == ProxyFacts(version=2, source=SOURCE, destination=DESTINATION)
    assert facts.tlvs == ()


# What a mutation may start from, so that the generator gets beyond the first byte.
STARTS = sorted({data for data, *_ in (*VALID.values(), *INVALID.values()) if len(data) < 300})


@st.composite
def nearly_headers(draw):
    data = bytearray(draw(st.sampled_from(STARTS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("set", "cut", "insert"))):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)


ANY = st.one_of(
    st.binary(max_size=200),
    nearly_headers(),
    st.binary(max_size=300).map(lambda block: v2(block, kind=0)),
    st.binary(max_size=300).map(lambda block: v2(V4 + block)),
    st.binary(max_size=100).map(lambda line: b"PROXY TCP4 " + line),
)


@given(ANY, st.data())
def test_any_bytes_are_a_header_or_refused_whatever_the_pieces(data, draw):
    whole = verdict(data)
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=5).map(sorted))
    assert verdict(data, *cuts) == whole
    assert verdict(data, *range(1, len(data))) == whole
    if whole is not ProxyHeaderError and whole[0] is not None:
        # What was taken is a header by itself, and one byte less is none yet.
        header = data.removesuffix(whole[1])
        assert parse(header) == (whole[0], b"")
        assert parse(header[:-1]) == (None, b"")


@given(st.binary(min_size=1, max_size=300))
def test_nothing_is_held_beyond_the_limit(block):
    parser = HeaderParser()
    try:
        for piece in (v2(size=4000)[:16], *[block] * (9000 // len(block))):
            parser.feed(piece)
            assert len(parser._buffer) <= MAX_HEADER
    except ProxyHeaderError:
        pass
