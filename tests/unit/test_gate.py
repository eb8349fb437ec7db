"""The gate: who gets in, and that every place taken is given back exactly once."""

import sys
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock

from tcpd.admission.gate import UNCOUNTED, Gate, is_among
from tcpd.admission.networks import Network, Networks
from tcpd.admission.rules import Access, Limits

UNIX = UNIXAddress(b"/run/x.sock")


def peer(host, port=5000):
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


def access(allow=(), deny=()):
    return Access(allow=tuple(map(Network.parse, allow)), deny=tuple(map(Network.parse, deny)))


def gate(rules=None, clock=None, **limits):
    return Gate(clock or Clock(), rules, Limits(**limits))


def answers(some, *hosts):
    return [some.admit(peer(host)).refused for host in hosts]


# -- who ------------------------------------------------------------------------------------------


def test_everybody_gets_in_by_default():
    some = gate()
    assert answers(some, "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1") == ["", "", ""]
    assert some.admit(UNIX).refused == ""
    assert (some.open, some.addresses) == (4, 2)


def test_deny_goes_before_allow():
    some = gate(access(["10.0.0.0/8"], ["10.6.6.0/24"]))
    assert answers(some, "10.1.2.3", "10.6.6.7", "192.0.2.1") == ["", "denied", "denied"]
    some = gate(access(["10.6.6.7"], ["10.0.0.0/8"]))
    assert answers(some, "10.6.6.7") == ["denied"]
    some = gate(access([], ["10.0.0.0/8"]))
    assert answers(some, "10.6.6.7", "192.0.2.1", "::1") == ["denied", "", ""]
    assert some.open == 2


def test_mapped_peers_are_ipv4_peers():
    some = gate(access(["10.0.0.0/8"]))
    assert answers(some, "::ffff:10.0.0.1", "::ffff:a00:1", "::ffff:11.0.0.1") == ["", "", "denied"]
    assert some.count(peer("10.0.0.1")) == 2


@pytest.mark.parametrize(
    ("rules", "unix", "ip"),
    [
        (access(), "", ""),
        (access(["10.0.0.0/8"]), "", "denied"),
        (access(["unix"]), "", "denied"),
        (access([], ["unix"]), "denied", ""),
        (access(["unix"], ["unix"]), "denied", "denied"),
    ],
)
def test_peers_on_unix_sockets(rules, unix, ip):
    some = gate(rules)
    assert some.admit(UNIX).refused == some.admit(UNIXAddress(None)).refused == unix
    assert some.admit(peer("192.0.2.1")).refused == ip


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        (access(), ""),
        (access(["10.0.0.0/8"]), "denied"),
        (access(["10.0.0.0/8", "unix"]), ""),
        (access([], ["unix"]), "denied"),
    ],
)
def test_a_unix_client_of_a_proxy_is_on_another_machine(rules, refused):
    assert gate(rules).admit_hop().identify(UNIX) == refused


@pytest.mark.parametrize(
    "address", [None, HostnameAddress(b"x", 1), peer("what:ever"), peer("1.2")]
)
def test_of_what_isnt_known_a_list_of_who_may_come_lets_nothing_in(address):
    assert gate(access(["10.0.0.0/8"])).admit(address).refused == "denied"


def test_an_address_that_cant_be_read_is_refused():
    assert gate().admit(peer("1.2")).refused == "denied"
    assert gate().admit(None).refused == ""


def test_who_is_among_networks():
    some = Networks(map(Network.parse, ("10.0.0.0/8", "unix")))
    assert is_among(peer("::ffff:10.0.0.1"), some)
    assert is_among(UNIX, some)
    assert not is_among(peer("11.0.0.1"), some)
    assert not is_among(peer("what:ever"), some)
    assert not is_among(None, some)


# -- how many -------------------------------------------------------------------------------------


def test_the_total_and_its_release():
    some = gate(sessions=2)
    places = [some.admit(peer(f"192.0.2.{n}")) for n in range(3)]
    assert [place.refused for place in places] == ["", "", "sessions"]
    assert some.admit(UNIX).refused == "sessions"
    assert some.full
    places[2].leave()
    assert some.admit(UNIX).refused == "sessions"
    places[0].leave()
    places[0].leave()
    assert (some.full, some.open) == (False, 1)
    assert answers(some, "192.0.2.9", "192.0.2.9") == ["", "sessions"]


def test_the_cap_of_an_address_and_its_release():
    some = gate(per_address=2)
    places = [some.admit(peer("192.0.2.1", port)) for port in range(3)]
    assert [place.refused for place in places] == ["", "", "per-address"]
    assert answers(some, "192.0.2.2") == [""]
    places[1].leave()
    assert answers(some, "192.0.2.1", "192.0.2.1") == ["", "per-address"]


def test_ipv6_is_counted_by_network():
    some = gate(per_address=1)
    assert answers(some, "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1") == [
        *("", "per-address", ""),
    ]
    some = gate(per_address=1, ipv6_prefix=48)
    assert answers(some, "2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::") == [
        "",
        "per-address",
        "",
    ]
    some = gate(per_address=1, ipv6_prefix=128)
    assert answers(some, "2001:db8::1", "2001:db8::2", "2001:db8::2") == ["", "", "per-address"]


def test_ipv6_prefixes_leave_ipv4_alone():
    some = gate(per_address=1, ipv6_prefix=1)
    assert answers(some, "10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3", "10.0.0.1") == [
        *("", "", "", "per-address"),
    ]


def test_off_is_no_limit():
    some = gate(sessions="off", per_address="off")
    assert not any(answers(some, *["192.0.2.1"] * 20000))
    assert not some.full


def test_the_rate_of_an_address():
    clock = Clock()
    some = gate(clock=clock, rate=1.0, burst=2)
    assert answers(some, *["192.0.2.1"] * 3, "192.0.2.2") == ["", "", "rate", ""]
    clock.advance(1)
    assert answers(some, *["192.0.2.1"] * 2) == ["", "rate"]
    assert some.admit(UNIX).refused == ""


def test_only_who_gets_in_takes_a_token():
    some = gate(rate=1.0, burst=2, per_address=1)
    place = some.admit(peer("192.0.2.1"))
    assert answers(some, *["192.0.2.1"] * 5) == ["per-address"] * 5
    place.leave()
    assert answers(some, "192.0.2.1") == [""]


def test_who_is_known_is_forgotten_when_he_has_left():
    some = gate()
    for n in range(1000):
        some.admit(peer(f"10.0.{n >> 8}.{n & 255}")).leave()
    assert (some.open, some.addresses) == (0, 0)


def test_a_hundred_thousand_known_addresses_cost_an_answer_no_more_steps():
    """Counted in lines of Python that run, which time and machine don't change."""

    def steps(some):
        lines = 0

        def trace(frame, event, argument):
            nonlocal lines
            lines += event == "line"
            return trace

        sys.settrace(trace)
        try:
            some.admit(peer("192.0.2.1")).leave()
        finally:
            sys.settrace(None)
        return lines

    rules = access(deny=[f"172.{16 + (n >> 8)}.{n & 255}.0/24" for n in range(1000)])
    crowd, empty = (gate(rules, sessions="off", rate=0.001, burst=5) for _ in range(2))
    for n in range(100_000):
        assert not crowd.admit(peer(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")).refused
    assert crowd.addresses == 100_000
    assert steps(crowd) == steps(empty) < 100


# -- a proxy in between ---------------------------------------------------------------------------


def test_behind_a_proxy_the_client_is_asked_about_in_two_steps():
    some = gate(access(deny=["10.6.6.0/24"]), sessions=3, per_address=1, rate=1.0, burst=1)
    first, second, third = (some.admit_hop() for _ in range(3))
    assert some.admit_hop().refused == "sessions"
    assert first.identify(peer("10.1.1.1")) == ""
    assert second.identify(peer("10.6.6.6")) == "denied"
    assert third.identify(peer("10.1.1.1")) == "per-address"
    assert some.open == 3
    second.leave()
    third.leave()
    assert (some.open, some.count(peer("10.1.1.1"))) == (1, 1)
    first.leave()
    assert (some.open, some.addresses) == (0, 0)
    again = some.admit_hop()
    assert again.identify(peer("10.1.1.1")) == "rate"
    again.leave()
    assert (some.open, some.addresses) == (0, 0)


def test_a_hop_that_never_tells_takes_one_of_all_places():
    some = gate(per_address=1)
    hops = [some.admit_hop() for _ in range(5)]
    assert (some.open, some.addresses) == (5, 0)
    for hop in hops:
        hop.leave()
    assert some.open == 0


def test_a_client_is_counted_once_however_often_it_is_told():
    some = gate(per_address=1)
    hop = some.admit_hop()
    assert [hop.identify(peer("10.0.0.1")) for _ in range(3)] == ["", "", ""]
    hop.leave()
    assert hop.identify(peer("10.0.0.1")) == ""  # too late to count
    assert (some.open, some.addresses) == (0, 0)


def test_an_unknown_client_is_refused_where_a_list_says_who_may_come():
    assert gate(access(["10.0.0.0/8"])).admit_hop().identify(None) == "denied"
    assert gate().admit_hop().identify(None) == ""
    assert gate(access(deny=["unix"])).admit_hop().identify(UNIX) == "denied"


def test_where_there_is_no_gate_a_place_is_nobodys():
    assert UNCOUNTED.refused == ""
    assert UNCOUNTED.identify(peer("10.0.0.1")) == ""
    UNCOUNTED.leave()


# -- waiting --------------------------------------------------------------------------------------


def test_a_listener_that_waits_hears_when_it_is_full_and_when_not():
    some = gate(sessions=2, at_limit="wait")
    heard = []
    some.on_full = heard.append
    first, second = some.admit(UNIX), some.admit(UNIX)
    assert (heard, some.holds) == ([True], True)
    assert some.admit(UNIX).refused == "sessions"  # from a port that couldn't be held back
    first.leave()
    second.leave()
    assert heard == [True, False]
    some.configure(Access(), Limits(sessions=1, at_limit="wait"))
    some.admit(UNIX)
    assert heard == [True, False, True]
    some.configure(Access(), Limits(sessions=2, at_limit="wait"))
    assert heard[3:] == [False]
    some.configure(Access(), Limits(sessions=1))
    assert not some.holds
    some.configure(Access(), Limits(sessions=1, at_limit="wait"))
    assert heard[4:] == [True]
    some.configure(Access(), Limits(sessions=1, at_limit="refuse"))
    assert heard[5:] == [False]


def test_a_listener_that_refuses_holds_nothing():
    some = gate(sessions=1)
    some.on_full = lambda full: pytest.fail("not asked for")
    some.admit(UNIX).leave()
    assert not some.holds


# -- a reload -------------------------------------------------------------------------------------


def test_a_reload_keeps_the_counts():
    some = gate(per_address=5)
    places = [some.admit(peer("192.0.2.1")) for _ in range(3)]
    some.configure(access(deny=["192.0.2.1"]), Limits(sessions=2, per_address=2))
    assert (some.open, some.count(peer("192.0.2.1"))) == (3, 3)
    assert answers(some, "192.0.2.1", "192.0.2.2") == ["denied", "sessions"]
    places.pop().leave()
    places.pop().leave()
    assert answers(some, "192.0.2.2") == [""]


def test_a_reload_keeps_the_rates():
    clock = Clock()
    some = gate(clock=clock, rate=1.0, burst=3)
    assert answers(some, *["192.0.2.1"] * 4)[-1] == "rate"
    some.configure(Access(), Limits(rate=2.0, burst=3))
    assert answers(some, "192.0.2.1") == ["rate"]
    some.configure(Access(), Limits())
    assert answers(some, "192.0.2.1") == [""]
    some.configure(Access(), Limits(rate=1.0, burst=3))
    assert answers(some, *["192.0.2.1"] * 4) == ["", "", "", "rate"]


def test_after_another_ipv6_prefix_places_are_given_back_as_they_were_taken():
    some = gate(ipv6_prefix=64)
    old = [some.admit(peer("2001:db8::1")), some.admit(peer("2001:db8:0:1::1"))]
    some.configure(Access(), Limits(ipv6_prefix=48))
    new = [some.admit(peer("2001:db8::1")), some.admit(peer("2001:db8:0:1::1"))]
    for place in (*old, *new):
        place.leave()
    assert (some.open, some.addresses) == (0, 0)


# -- anything -------------------------------------------------------------------------------------

HOSTS = st.sampled_from(
    ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db9::1", "bad"]
)
LIMITS = st.builds(
    Limits,
    sessions=st.integers(1, 6) | st.just("off"),
    per_address=st.integers(1, 3) | st.just("off"),
    rate=st.sampled_from([0.5, 5.0, "off"]),
    at_limit=st.sampled_from(["refuse", "wait"]),
    ipv6_prefix=st.sampled_from([32, 64, 128]),
)
RULES = st.sampled_from([access(), access(["10.0.0.0/8"]), access(deny=["10.0.0.2", "unix"])])
ANYBODY = st.just(UNIX) | st.none() | st.builds(peer, HOSTS)


class AnyTraffic(RuleBasedStateMachine):
    """Whatever comes and goes: the gate's counts are those of the places that are held."""

    places = Bundle("places")

    @initialize(rules=RULES, limits=LIMITS)
    def begin(self, rules, limits):
        self.clock = Clock()
        self.gate = Gate(self.clock, rules, limits)
        self.holding = False
        self.gate.on_full = self.full
        self.held = []

    def full(self, full):
        assert full != self.holding
        self.holding = full

    def taken(self, place):
        if not place.refused:
            self.held.append(place)
        return place

    @rule(target=places, address=ANYBODY)
    def admit(self, address):
        return self.taken(self.gate.admit(address))

    @rule(target=places)
    def admit_hop(self):
        return self.taken(self.gate.admit_hop())

    @rule(place=places, address=ANYBODY)
    def identify(self, place, address):
        place.identify(address)

    @rule(place=places)
    def leave(self, place):
        place.leave()
        if place in self.held:
            self.held.remove(place)

    @rule(place=consumes(places))
    def leave_twice(self, place):
        self.leave(place)
        self.leave(place)

    @rule(rules=RULES, limits=LIMITS)
    def configure(self, rules, limits):
        self.gate.configure(rules, limits)

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def the_counts_are_right(self):
        if not hasattr(self, "gate"):
            return
        assert self.gate.open == len(self.held)
        keys = Counter(place._key for place in self.held if place._key is not None)
        assert self.gate._by_address == keys
        assert self.holding == self.gate.holds

    def teardown(self):
        for place in getattr(self, "held", ()):
            place.leave()
            place.leave()
        if hasattr(self, "gate"):
            assert (self.gate.open, self.gate._by_address) == (0, {})


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
