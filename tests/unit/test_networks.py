"""Networks: what is one, who is in it, and that long lists cost no time."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.admission.networks import Network, Networks, address_number, is_ipv4
from tcpd.admission.rules import Access, Limits
from tcpd.errors import FieldError
from tcpd.fields import Place, build
from tcpd.toml_file import TomlFile

MAPPED = (
    "::ffff:10.0.0.1",
    "::FFFF:10.0.0.1",
    "::ffff:0a00:0001",
    "::ffff:a00:1",
    "0:0:0:0:0:ffff:10.0.0.1",
    "0000:0000:0000:0000:0000:ffff:0a00:0001",
    "0::ffff:10.0.0.1",
)


def networks(*texts):
    return Networks(Network.parse(text) for text in texts)


@pytest.mark.parametrize("text", MAPPED)
def test_every_spelling_of_a_mapped_address_is_the_ipv4_address(text):
    assert address_number(text) == address_number("10.0.0.1")
    assert is_ipv4(address_number(text))
    assert Network.parse(text) == "10.0.0.1"
    assert Network.parse(f"{text}/128") == "10.0.0.1"
    assert address_number(text) in networks("10.0.0.0/8")
    assert address_number("10.0.0.1") in networks(text)
    assert address_number("10.0.0.2") not in networks(text)


@pytest.mark.parametrize("text", ["::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "::1"])
def test_what_only_looks_mapped_is_ipv6(text):
    assert not is_ipv4(address_number(text))
    assert address_number(text) not in networks("0.0.0.0/0")
    assert address_number(text) in networks("::/0")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3/32", "10.1.2.3"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0:0::/32", "2001:db8::/32"),
        ("2001:db8::7/128", "2001:db8::7"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0a00:0/104", "10.0.0.0/8"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ("unix", "unix"),
    ],
)
def test_networks_have_one_form(text, network):
    assert Network.parse(text) == network
    assert Network.parse(network) == network


WRONG = [
    ("::ffff:10.0.0.0/8", "it would match every IPv4 address", "write '10.0.0.0/8'"),
    ("::ffff:0a00:0000/8", "it would match every IPv4 address", "write '10.0.0.0/8'"),
    ("0:0:0:0:0:ffff:10.0.0.0/95", "it would match every IPv4 address", "if that is meant"),
    ("::ffff:0:0/0", "it would match every IPv4 address", "write '0.0.0.0/0'"),
    ("10.0.0.1/8", "goes on behind the first 8 bits", "write '10.0.0.0/8', or '10.0.0.1'"),
    ("2001:db8::1/32", "goes on behind the first 32 bits", "'2001:db8::/32', or '2001:db8::1'"),
    ("::ffff:10.0.0.1/104", "goes on behind the first 8 bits", "'10.0.0.0/8', or '10.0.0.1'"),
    ("fe80::1%eth0", "has no scope", "write 'fe80::1'"),
    ("fe80::%eth0/10", "has no scope", "write 'fe80::/10'"),
    ("0.0.0.0", "nobody connects", "did you mean '0.0.0.0/0', which is everyone with IPv4?"),
    ("0.0.0.0/32", "nobody connects", "did you mean '0.0.0.0/0'"),
    ("::ffff:0.0.0.0", "nobody connects", "did you mean '0.0.0.0/0'"),
    ("::", "nobody connects", "did you mean '::/0', which is everyone with IPv6?"),
    ("0:0::0/128", "nobody connects", "did you mean '::/0'"),
    ("10.0.0.1:80", "isn't a network", "write '10.0.0.1': no port"),
    ("[::1]:80", "isn't a network", "write '::1': no brackets, no port"),
    ("[::1]", "isn't a network", "write '::1'"),
    ("10.0.0.0/255.0.0.0", "how many bits", "write '10.0.0.0/8'"),
    ("10.0.0.0/0.0.0.255", "how many bits", "write '10.0.0.0/24'"),
    ("10.0.0.0/", "how many bits", "as in '10.0.0.0/8'"),
    ("2001:db8::/x", "how many bits", "as in '2001:db8::/32'"),
    ("10.0.0.0/08", "how many bits", "write '10.0.0.0/8'"),
    ("10.0.0.0/-1", "how many bits", ""),
    ("10.0.0.0/8/8", "how many bits", ""),
    ("10.0.0.0/\u0668", "how many bits", ""),
    ("10.0.0.0/33", "at most 32 bits", ""),
    ("::/129", "at most 128 bits", ""),
    ("10.0.0.0/" + "9" * 5000, "", ""),
    ("010.0.0.1", "isn't a network", "leading zeros"),
    ("::ffff:010.0.0.1", "isn't a network", ""),
    ("10/8", "isn't a network", "'10.0.0.0/8'"),
    ("localhost", "isn't a network", "'192.0.2.1'"),
    ("*", "isn't a network", "'0.0.0.0/0' for everyone with IPv4, '::/0'"),
    ("Unix", "isn't a network", "write 'unix'"),
    (" 10.0.0.1", "isn't a network", "without spaces"),
    ("", "isn't a network", ""),
    ("a\x1b[2J", r"'a\x1b[2J': it isn't a network", ""),
    (10, "expected a network", ""),
    (None, "expected a network", ""),
]


@pytest.mark.parametrize(("text", "problem", "hint"), WRONG)
def test_what_is_no_network_is_refused_with_what_would_be_right(text, problem, hint):
    with pytest.raises(FieldError) as caught:
        Network.parse(text)
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    assert (caught.value.problem + caught.value.hint).isprintable()
    assert len(caught.value.problem) < 200


def test_a_mistake_in_a_list_has_its_place():
    text = '[access]\nallow = [\n  "10.0.0.0/8",\n  "::ffff:10.0.0.0/8",\n]\n'
    file = TomlFile.parse(text, "x.toml")
    problems = []
    assert build(Access, file.table["access"], Place(file) / "access", problems) is None
    (problem,) = problems
    assert str(problem).startswith("x.toml:4: access.allow[1]: '::ffff:10.0.0.0/8': it would match")


def test_the_ends_of_networks():
    some = networks("10.6.0.0/15", "192.0.2.7", "2001:db8::/33", "2001:db8::ffff:0:0/96")
    for inside in ("10.6.0.0", "10.7.255.255", "192.0.2.7", "2001:db8:7fff:ffff::1"):
        assert address_number(inside) in some, inside
    for outside in ("10.5.255.255", "10.8.0.0", "192.0.2.6", "192.0.2.8", "2001:db8:8000::"):
        assert address_number(outside) not in some, outside
    assert address_number("fe80::1%eth0") in networks("fe80::/10")


def test_ipv6_networks_hold_no_ipv4_address():
    # ::/80 has all that begins with 80 zero bits, and so have the mapped addresses.
    assert address_number("10.0.0.1") not in networks("::/0", "::/80")


def test_an_empty_set_holds_nobody():
    assert address_number("10.0.0.1") not in networks()
    assert address_number("::1") not in networks()
    assert not networks().unix
    assert networks("unix").unix


@pytest.mark.parametrize("text", ["", "x", "10.0.0", "10.0.0.256", "::1::", "1\0", "10.0.0.1/8"])
def test_what_is_no_address_has_no_number(text):
    with pytest.raises(ValueError, match="isn't an IP address"):
        address_number(text)


def test_whether_a_network_holds_another():
    some = networks("10.0.0.0/8", "2001:db8::/32")
    for inside in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8:1::/48"):
        assert some.cover(Network.parse(inside)), inside
    for outside in ("0.0.0.0/0", "10.0.0.0/7", "11.0.0.0/8", "2001:db8::/31", "unix"):
        assert not some.cover(Network.parse(outside)), outside
    assert networks("unix").cover(Network.parse("unix"))


def test_entries_of_allow_that_deny_has_wholly_are_known():
    access = Access(
        allow=tuple(map(Network.parse, ("10.6.6.0/25", "10.0.0.0/8"))),
        deny=(Network.parse("10.6.6.0/24"),),
    )
    assert access.in_vain() == ("10.6.6.0/25",)


class CountingSet(set):
    asked = 0

    def __contains__(self, number):
        CountingSet.asked += 1
        return super().__contains__(number)


def test_ten_thousand_networks_take_as_many_looks_as_they_have_lengths():
    texts = [f"10.{i >> 8}.{i & 255}.0/24" for i in range(9000)]
    texts += [f"172.16.{i >> 8}.{i & 255}" for i in range(1000)]
    some = networks(*texts)
    some._v4 = tuple((shift, CountingSet(members)) for shift, members in some._v4)
    CountingSet.asked = 0
    assert address_number("11.0.0.1") not in some
    assert CountingSet.asked == 2  # /24 and /32
    assert address_number("10.1.2.3") in some


def test_every_length_at_once_takes_no_more_looks_than_there_are_lengths():
    some = networks(*(f"{ipaddress.ip_network((10 << 24, n), strict=False)}" for n in range(33)))
    assert len(some._v4) == 33
    some = networks(
        *(f"{ipaddress.ip_network((1 << 127, n), strict=False)}" for n in range(1, 129))
    )
    assert len(some._v6) == 128


v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6).filter(lambda each: each.ipv4_mapped is None)


@given(
    st.lists(st.tuples(v4, st.integers(0, 32)), max_size=8),
    st.lists(st.tuples(v6, st.integers(0, 128)), max_size=8),
    st.one_of(v4, v6),
)
def test_it_agrees_with_pythons_own_networks(fours, sixes, address):
    theirs = [ipaddress.ip_network(each, strict=False) for each in (*fours, *sixes)]
    # A mapped prefix is refused, or another network.
    theirs = [each for each in theirs if getattr(each[0], "ipv4_mapped", None) is None]
    ours = Networks(Network.parse(str(each)) for each in theirs)
    expected = any(each.version == address.version and address in each for each in theirs)
    assert (address_number(str(address)) in ours) == expected


@given(st.text() | st.from_regex(r"[0-9a-f:.%/\[\]]{0,45}", fullmatch=True))
def test_no_text_does_anything_but_be_a_network_or_not(text):
    try:
        network = Network.parse(text)
    except FieldError:
        return
    assert Network.parse(str(network)) == network


# -- what stands beside them in the configuration -------------------------------------------------


@pytest.mark.parametrize(
    ("table", "problems"),
    [
        ("sessions = 0", ["sessions: expected 1 or more, not 0"]),
        ("sessions = 'of'", ["sessions: expected a whole number or 'off', not 'of'; did you mean"]),
        (
            "per_address = 1.5",
            ["per_address: expected a whole number or 'off', not the number 1.5"],
        ),
        ("rate = 0", ["rate: a rate has to be at least one in ten days; 'off' is no limit at all"]),
        (
            "rate = 1e-320",
            ["rate: a rate has to be at least one in ten days; 'off' is no limit at all"],
        ),
        ("rate = '50'", ["rate: expected a rate such as '50/s' or 'off', not '50'"]),
        ("burst = 3", ["burst: it is of no use without a rate; add 'rate'"]),
        ("rate = 'x'\nburst = 3", ["rate: expected a rate such as '50/s' or 'off', not 'x'"]),
        ("at_limit = 'wai'", ["at_limit: expected 'refuse' or 'wait', not 'wai'; did you mean"]),
        ("ipv6_prefix = 129", ["ipv6_prefix: expected 1 to 128, not 129"]),
    ],
)
def test_limits_that_are_wrong(table, problems):
    file = TomlFile.parse(table, "x.toml")
    found = []
    assert build(Limits, file.table, Place(file), found) is None
    for each, expected in zip(found, problems, strict=True):
        assert expected in str(each)


@pytest.mark.parametrize(
    ("limits", "burst"),
    [
        (Limits(rate=50.0), 50),
        (Limits(rate=5.5), 6),
        (Limits(rate=0.01), 5),
        (Limits(rate=50.0, burst=1), 1),
    ],
)
def test_the_burst_that_holds(limits, burst):
    assert limits.effective_burst == burst
