"""Deadlines: what the sweep ends, when, and how; on a clock of the test's own."""

import pytest
from twisted.internet.task import Clock

from tcpd.admission.deadlines import ConnectorDeadlines, Deadlines
from tcpd.admission.sweep import GRACE, SLICE, STOOD_STILL, SWEEP, Sweep
from tcpd.config.load import build_config
from tcpd.errors import ConfigErrors
from tcpd.registry import build_handler
from tcpd.toml_file import TomlFile

ALL_OFF = dict.fromkeys(("handshake", "header", "idle", "write_stall", "lifetime"), "off")


class Wire:
    """A transport as the sweep sees it."""

    def __init__(self, now):
        self.last_read = self.last_write = self.stage_since = now
        self.queued = self.bytes_out = 0
        self.stage = ""
        self.ended = []

    def close_because(self, cause):
        self.ended.append(("close", cause))

    def abort_because(self, cause):
        self.ended.append(("abort", cause))


class House:
    """Sessions under some deadlines, and the sweep over them."""

    def __init__(self, **limits):
        self.clock = Clock()
        self.clock.advance(1000)
        self.deadlines = Deadlines(**{**ALL_OFF, **limits})
        self.arrivals = set()
        self.sessions = []
        self.sweep = Sweep(self.clock)
        self.sweep.watch(self)
        self.sweep.start()

    def lots(self):
        yield self.deadlines, self.sessions

    def session(self):
        now = self.clock.seconds()
        session = _Session(Wire(now), now)
        self.sessions.append(session)
        return session.transport

    def arrival(self, stage):
        wire = Wire(self.clock.seconds())
        wire.stage = stage
        self.arrivals.add(wire)
        return wire

    def wait(self, seconds):
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)


class _Session:
    close_reason = ""

    def __init__(self, transport, opened):
        self.transport = transport
        self.opened = opened


def test_an_idle_session_is_closed_politely_within_a_second() -> None:
    house = House(idle=10)
    wire = house.session()
    house.wait(9.9)
    assert wire.ended == []
    house.wait(1.1)
    assert wire.ended == [("close", "idle")]


@pytest.mark.parametrize("direction", ["last_read", "last_write"])
def test_a_byte_in_either_direction_begins_the_idle_time_anew(direction: str) -> None:
    house = House(idle=10)
    wire = house.session()
    house.wait(8)
    setattr(wire, direction, house.clock.seconds())
    house.wait(9.9)
    assert wire.ended == []
    house.wait(1.1)
    assert wire.ended == [("close", "idle")]


def test_a_polite_close_that_takes_too_long_becomes_an_abort() -> None:
    house = House(idle=10)
    wire = house.session()
    house.wait(11 + GRACE - 2)
    assert wire.ended == [("close", "idle")]
    house.wait(3)
    assert wire.ended[:2] == [("close", "idle"), ("abort", "idle")]


def test_a_session_ends_with_its_lifetime_however_busy_it_is() -> None:
    house = House(lifetime=20)
    wire = house.session()
    for _ in range(21):
        house.wait(1)
        wire.last_read = wire.last_write = house.clock.seconds()
    assert wire.ended[0] == ("close", "lifetime")


def test_a_peer_that_takes_nothing_is_aborted() -> None:
    house = House(write_stall=5)
    wire = house.session()
    house.wait(100)
    wire.queued = 1  # from now on, after a long silence
    house.wait(4.9)
    assert wire.ended == []
    house.wait(1.1)
    assert wire.ended[0] == ("abort", "write-stall")


def test_a_peer_that_takes_a_little_now_and_then_is_not_stalled() -> None:
    house = House(write_stall=5)
    wire = house.session()
    wire.queued = 1_000_000
    for _ in range(20):
        house.wait(3)
        wire.bytes_out += 1
        wire.last_write = house.clock.seconds()
    assert wire.ended == []


def test_a_queue_that_was_empty_in_between_begins_anew() -> None:
    house = House(write_stall=5)
    wire = house.session()
    for _ in range(4):
        wire.queued = 1
        house.wait(4)
        wire.queued = 0
        house.wait(1)
    assert wire.ended == []


@pytest.mark.parametrize("stage", ["handshake", "header"])
def test_who_never_arrives_is_aborted(stage: str) -> None:
    house = House(**{stage: 3})
    late, other = house.arrival(stage), house.arrival("open")
    house.wait(2.9)
    assert late.ended == []
    house.wait(1.1)
    assert late.ended[0] == ("abort", f"{stage}-timeout")
    assert other.ended == []


def test_with_everything_off_nothing_ends() -> None:
    house = House()
    wire, late = house.session(), house.arrival("handshake")
    wire.queued = 1
    house.clock.advance(SWEEP)
    house.wait(100)
    assert wire.ended == late.ended == []


def test_after_the_process_stood_still_peers_are_heard_first() -> None:
    house = House(idle=10)
    wire = house.session()
    house.wait(1)
    house.clock.advance(60 + STOOD_STILL)
    assert wire.ended == []
    wire.last_read = house.clock.seconds()  # what had come in meanwhile is read now
    house.wait(9)
    assert wire.ended == []
    house.wait(2)
    assert wire.ended == [("close", "idle")]


def test_a_session_that_has_ended_is_left_alone() -> None:
    house = House(idle=10)
    wire = house.session()
    house.sessions[0].close_reason = "peer-closed"
    house.wait(20)
    assert wire.ended == []


def test_a_large_house_is_swept_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(idle=10)
    wires = [house.session() for _ in range(2 * SLICE + 1)]
    ended = []  # how many had ended when the others got their turn
    call_later = house.clock.callLater

    def spied(delay, *call):
        if delay == 0:
            ended.append(sum(bool(wire.ended) for wire in wires))
        return call_later(delay, *call)

    monkeypatch.setattr(house.clock, "callLater", spied)
    house.clock.advance(11)
    assert ended == []  # the clock made a leap, and the peers are heard first
    house.clock.advance(SWEEP)
    assert ended == [SLICE, 2 * SLICE, 2 * SLICE + 1]


def test_what_is_forgotten_or_stopped_is_not_swept() -> None:
    house = House(idle=10)
    wire = house.session()
    house.sweep.forget(house)
    house.wait(20)
    assert wire.ended == []
    house.sweep.watch(house)
    house.sweep.stop()
    assert house.clock.getDelayedCalls() == []


@pytest.mark.parametrize("deadlines", [Deadlines, ConnectorDeadlines])
def test_write_stalls_and_handshakes_have_limits_by_default(deadlines: type) -> None:
    assert deadlines().write_stall == 30
    assert deadlines().handshake == 10


def read(text: str):
    file = TomlFile.parse(text, "t.toml")
    return build_config(file.table, file, build_handler)


def test_deadlines_are_read_from_the_configuration() -> None:
    config = read('[listeners.a]\nlisten = "tcp:0"\ndeadlines = { idle = "1h", header = "off" }\n')
    assert config.listeners["a"].deadlines == Deadlines(idle=3600.0, header="off")


def test_a_deadline_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigErrors) as caught:
        read('[listeners.a]\nlisten = "tcp:0"\ndeadlines = { idle = "0s" }\n')
    assert str(caught.value) == (
        "t.toml:3: listeners.a.deadlines.idle: a deadline has to be longer than 0; 'off' is none"
        " at all"
    )
