"""Refusals: exact counts, and a log that stays small and adds up."""

import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from tcpd.admission.refusals import COUNTERS, WINDOW, Busiest, Refusals
from tcpd.events import Bus, SessionRefused
from tcpd.sinks.log_format import format_json


def peer(host, port=5000):
    return IPv4Address("TCP", host, port)


class House:
    def __init__(self):
        self.clock = Clock()
        self.bus = Bus()
        self.refusals = Refusals("main", self.bus, self.clock)


@pytest.fixture
def house():
    house = House()
    yield house
    house.refusals.flush()
    assert not house.clock.getDelayedCalls()


def lines(logs):
    return [formatEvent(each) for each in logs]


def logged(logs):
    """Return how many refusals the log tells of, by reason."""
    total = Counter()
    for each in logs:
        record = each["record"]
        total.update(record.get("reasons") or {record["refuse.reason"]: 1})
        assert record["count"] == sum((record.get("reasons") or {"": 1}).values())
    return total


def test_the_first_is_logged_at_once_and_the_others_in_summary(house):
    with capturedLogs() as logs:
        house.refusals.note("sessions", peer("192.0.2.7"))
        assert lines(logs) == [
            "listener main refused 192.0.2.7:5000: all sessions are taken (sessions)"
        ]
        for n in range(999):
            house.refusals.note("sessions", peer(f"192.0.2.{n % 4}"))
        assert len(logs) == 1
        house.clock.advance(WINDOW)
    (summary,) = lines(logs)[1:]
    assert summary == (
        "listener main: 999 more without a session in 10 s: sessions 999;"
        " most from 192.0.2.0 (250), 192.0.2.1 (250), 192.0.2.2 (250)"
    )
    assert house.refusals.counts == {"sessions": 1000} == logged(logs)
    assert {each["log_level"] for each in logs} == {LogLevel.warn}


def test_each_reason_has_a_first_of_its_own(house):
    with capturedLogs() as logs:
        for reason in ("denied", "rate", "denied", "tls-failed", "rate", "denied"):
            house.refusals.note(reason, peer("192.0.2.7"), "bad version" if "-" in reason else "")
        house.refusals.flush()
    assert lines(logs) == [
        "listener main refused 192.0.2.7:5000: the access list doesn't let it in (denied)",
        "listener main refused 192.0.2.7:5000: its address opens sessions too fast (rate)",
        "listener main: 192.0.2.7:5000 was gone before its session began: bad version (tls-failed)",
        "listener main: 3 more without a session in 0 s: denied 2, rate 1; most from 192.0.2.7 (3)",
    ]
    assert house.refusals.counts == {"denied": 3, "rate": 2, "tls-failed": 1} == logged(logs)
    assert [each["log_level"] for each in logs][:3] == [LogLevel.info, LogLevel.warn, LogLevel.info]


def test_after_a_quiet_time_the_next_is_a_first_again(house):
    with capturedLogs() as logs:
        house.refusals.note("denied", peer("192.0.2.7"))
        house.clock.advance(WINDOW)
        house.refusals.note("denied", peer("192.0.2.8"))
        house.refusals.note("denied", peer("192.0.2.9"))
        house.clock.advance(WINDOW)
        house.refusals.note("denied", peer("192.0.2.9"))
        house.clock.advance(WINDOW)
        assert not lines(logs)[4:]
        house.clock.advance(WINDOW)
        house.refusals.note("denied", peer("192.0.2.7"))
    texts = lines(logs)
    assert ["refused" in text for text in texts] == [True, True, False, False, True]
    assert logged(logs) == {"denied": 5}


def test_an_endless_flood_is_a_line_in_ten_seconds(house):
    with capturedLogs() as logs:
        for second in range(600):
            for reason in ("denied", "sessions", "rate"):
                house.refusals.note(reason, peer(f"10.0.{second % 200}.{len(reason)}"))
            house.clock.advance(1)
        house.refusals.flush()
    assert len(logs) <= 3 + 60 + 1
    assert (
        logged(logs) == house.refusals.counts == dict.fromkeys(("denied", "sessions", "rate"), 600)
    )


def test_a_thousand_refusals_are_a_few_kilobytes_and_add_up_in_the_log_itself(house):
    with capturedLogs() as logs:
        for n in range(1000):
            house.refusals.note("rate", peer(f"10.{n % 256}.{n // 256}.1"), "x" * 5000)
        house.refusals.flush()
    text = "".join(map(format_json, logs))
    assert len(text) < 3000
    assert sum(json.loads(line)["count"] for line in text.splitlines()) == 1000
    assert sum(map(int, re.findall(r"(\d+) more without", text))) == 999


def test_details_are_escaped_and_bounded(house):
    with capturedLogs() as logs:
        house.refusals.note(
            "proxy-invalid", peer("192.0.2.7"), "\x1b[2J\r\n{log_level}" + "y" * 10**6
        )
    (line,) = lines(logs)
    assert line.isprintable()
    assert r"\x1b[2J\r\n{log_level}yyy" in line
    assert len(line) < 400


def test_a_reason_without_words_and_peers_without_an_address(house):
    with capturedLogs() as logs:
        house.refusals.note("lost", UNIXAddress(b"/x"))
    assert lines(logs) == [
        "listener main: unix was gone before its session began: its connection ended (lost)"
    ]


def test_through_a_proxy_both_are_named(house):
    events = []
    house.bus.subscribe(SessionRefused, events.append)
    with capturedLogs() as logs:
        house.refusals.note("denied", peer("192.0.2.7"), hop=peer("10.0.0.1", 80))
    (line,) = lines(logs)
    assert line == (
        "listener main refused 192.0.2.7:5000 (by way of 10.0.0.1:80):"
        " the access list doesn't let it in (denied)"
    )
    (event,) = events
    assert event.fields() == {
        "listener": "main",
        "client.address": "192.0.2.7",
        "client.port": 5000,
        "refuse.reason": "denied",
        "network.peer.address": "10.0.0.1:80",
    }


def test_every_refusal_is_an_event_and_none_is_made_for_nobody(house, monkeypatch):
    events = []
    unsubscribe = house.bus.subscribe(SessionRefused, events.append)
    for _ in range(5):
        house.refusals.note("rate", peer("192.0.2.7"))
    assert [event.reason for event in events] == ["rate"] * 5
    assert "network.peer.address" not in events[0].fields()
    unsubscribe()
    monkeypatch.setattr(house.bus, "emit", lambda event: pytest.fail("nobody wants it"))
    house.refusals.note("rate", peer("192.0.2.7"))


def test_a_spray_leaves_nothing_behind(house):
    for n in range(100_000):
        house.refusals.note("rate", peer(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"))
        assert len(house.refusals._busiest._counts) <= COUNTERS
    with capturedLogs() as logs:
        house.clock.advance(WINDOW)
    assert lines(logs) == [
        "listener main: 99999 more without a session in 10 s: rate 99999; from many addresses"
    ]


def test_amid_a_spray_the_one_who_comes_most_is_found(house):
    for n in range(10_000):
        house.refusals.note("rate", peer(f"10.0.{n >> 8}.{n & 255}"))
        house.refusals.note("rate", peer("192.0.2.7"))
    with capturedLogs() as logs:
        house.clock.advance(WINDOW)
    (found,) = re.findall(r"most from 192\.0\.2\.7 \((\d+) or more\)$", lines(logs)[0])
    assert 5000 < int(found) <= 10_000


@given(st.lists(st.sampled_from("aaabbcdefghijklmnop"), max_size=300))
def test_the_busiest_are_never_overstated_and_never_missed(names):
    busiest = Busiest(4)
    for name in names:
        busiest.add(name)
    real = Counter(names)
    most = busiest.most(4)
    assert all(count <= real[name] for name, count in most.items())
    assert {name for name, count in real.items() if count > len(names) / 5} <= most.keys()
    if busiest.exact:
        assert most == real


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["denied", "sessions", "rate", "tls-failed", "flush"]),
            st.integers(0, 99),
            st.floats(0, 30),
        ),
        max_size=60,
    )
)
def test_whatever_comes_the_log_adds_up(happenings):
    house = House()
    with capturedLogs() as logs:
        for reason, number, pause in happenings:
            if reason == "flush":
                house.refusals.flush()
            else:
                house.refusals.note(reason, peer(f"192.0.2.{number}"))
            house.clock.advance(pause)
        house.refusals.flush()
    assert logged(logs) == house.refusals.counts
    assert not house.clock.getDelayedCalls()
