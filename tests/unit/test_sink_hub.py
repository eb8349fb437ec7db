"""All sinks together: who gets what, what nobody wants isn't made, and no sink harms another."""

import signal
import threading

import pytest
from helpers.sinks import Script, closed, config, identity, said, until
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tcpd.events import (
    Bus,
    ConnectorChanged,
    HandlerEvent,
    HandlerFailed,
    ListenerChanged,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from tcpd.sinks.hub import Sinks
from tcpd.sinks.settings import Retry
from tcpd.sinks.sink import TryAgainError
from tcpd.units import Seconds

OPENED = SessionOpened(identity=identity())
FAILED = HandlerFailed(identity=identity(), error="ValueError")
REFUSED = SessionRefused(listener="main", client_address="::1", client_port=1, reason="denied")
UP = ListenerChanged(listener="main", address="tcp:1", up=True)
CONNECTED = ConnectorChanged(connector="uplink", state="connected")
EVERYTHING = [OPENED, closed(), FAILED, REFUSED, UP, CONNECTED, said("login")]


class Many:
    """Sinks by name, on a bus and a clock of their own."""

    def __init__(self, started=True, **configs):
        self.bus, self.clock = Bus(), Clock()
        self.sinks = Sinks(self.bus, self.clock, configs)
        if started:
            self.sinks.start()

    def emit(self, *events):
        for event in events:
            self.bus.emit(event)

    def status(self, name):
        (found,) = [each for each in self.sinks.status() if each.name == name]
        return found

    def settle(self):
        until(lambda: not any(each.queued for each in self.sinks.status()))

    def change(self, **configs):
        change = self.sinks.prepare(configs)
        change.commit()
        return change


def names(sink):
    return [each.name for each in sink.written]


@pytest.fixture
def many():
    made = []

    def make(*args, **kwargs):
        made.append(Many(*args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.sinks.finish()
        assert each.clock.getDelayedCalls() == []


def test_every_event_becomes_a_record_in_every_sink_that_wants_it(many):
    one, other = Script(), Script()
    all_ = many(one=config(one), other=config(other, events=("session.*",)))
    all_.emit(*EVERYTHING)
    all_.settle()
    assert names(one) == [
        "session.opened", "session.closed", "handler.failed", "session.refused",
        "listener.changed", "connector.changed", "login",
    ]  # fmt: skip
    assert names(other) == ["session.opened", "session.closed", "session.refused"]
    assert [each.sequence for each in one.written] == [1, 2, 3, 4, 5, 6, 7]
    assert [each.sequence for each in other.written] == [1, 2, 4]
    assert one.written[0] is other.written[0]
    assert all_.status("one").written == 7


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        (("session.closed",), {SessionClosed}),
        (("session.*",), {SessionOpened, SessionClosed, SessionRefused}),
        (("login", "logout"), {HandlerEvent}),
    ],
)
def test_nothing_is_made_that_no_sink_wants(many, events, wanted):
    all_ = many(one=config(Script(), events=events))
    kinds = {type(each) for each in EVERYTHING}
    assert {each for each in kinds if all_.bus.wants(each)} == wanted
    all_.sinks.finish()
    assert not any(all_.bus.wants(each) for each in kinds)


def test_without_sinks_nothing_is_wanted(many):
    bus = many().bus
    assert not any(bus.wants(type(each)) for each in EVERYTHING)


def test_without_sinks_the_loop_is_never_woken_and_with_the_last_that_is_so_again(many):
    all_ = many()
    assert all_.clock.getDelayedCalls() == []
    all_.change(one=config(Script()))
    assert len(all_.clock.getDelayedCalls()) == 1
    all_.change()
    until(lambda: all_.sinks.status()[0].state == "closed")
    all_.clock.advance(1)
    assert all_.clock.getDelayedCalls() == []


def test_a_sink_gets_the_events_of_its_listeners_and_connectors(many):
    sink = Script()
    all_ = many(one=config(sink, listeners=("web*", "uplink"), events=("*.closed", "*.changed")))
    all_.emit(closed(1), closed(2, "web"), closed(3, "web2"), UP, CONNECTED)
    all_.settle()
    assert names(sink) == ["session.closed", "session.closed", "connector.changed"]
    assert sink.numbers == [2, 3]


def test_handlers_events_are_chosen_by_the_name_they_have_in_records(many):
    sink = Script()
    all_ = many(one=config(sink, events=("handler.session.*", "log?n")))
    all_.emit(said("login"), said("session.closed"), said("logout"), closed())
    all_.settle()
    assert names(sink) == ["login", "handler.session.closed"]


def test_a_handler_that_invents_names_takes_no_memory(many):
    sink = Script()
    all_ = many(one=config(sink, events=("no.such",)))
    for number in range(3000):
        all_.emit(said(f"peer.said.{number}"))
    (cell,) = [
        each.cell_contents.__closure__[1].cell_contents
        for each in all_.bus._subscriptions[HandlerEvent][0].subscriber.__closure__
    ]
    assert cell.cache_info().currsize <= 1024


def test_events_wait_for_the_start(many):
    sink = Script()
    all_ = many(started=False, one=config(sink))
    all_.emit(UP)
    assert sink.calls == []
    all_.sinks.start()
    all_.settle()
    assert names(sink) == ["listener.changed"]


def test_one_that_blocks_for_ever_loses_its_own_and_harms_nobody(many):
    gate = threading.Event()
    stuck, well = Script(gate=gate), Script()
    all_ = many(stuck=config(stuck, queue=10, batch=4, stop=0.05), well=config(well, queue=10_000))
    with capturedLogs() as log:
        for number in range(1000):
            all_.emit(closed(number))
        until(lambda: all_.status("well").written == 1000)
        status = all_.status("stuck")
        assert (status.queued, status.lost, status.written) == (10, 990, 0)
        all_.clock.advance(1)
        all_.sinks.finish()  # doesn't wait for it
    gate.set()
    assert [formatEvent(each) for each in log] == [
        (
            "the sink stuck is in trouble: more comes than it can write, and its queue is full; 990"
            " records lost, 10 wait"
        ),
        "the sink stuck has ended; 10 records that it had not written are lost",
    ]
    assert well.numbers == list(range(1000))


@pytest.mark.parametrize("error", [ValueError("bug"), SystemExit(1)])
def test_one_that_raises_loses_its_own_and_harms_nobody(many, error):
    bad, well = Script({"write": [error] * 1000}), Script()
    all_ = many(bad=config(bad), well=config(well))
    for number in range(10):
        all_.emit(closed(number))
        all_.settle()
    assert (all_.status("bad").lost, all_.status("bad").written) == (10, 0)
    assert all_.status("well").written == 10


def test_while_it_may_be_tried_again_nothing_is_lost(many):
    sink = Script({"write": [TryAgainError("away") for _ in range(5)]})
    all_ = many(one=config(sink, batch=7))
    for number in range(100):
        all_.emit(closed(number))
    all_.settle()
    assert sink.numbers == list(range(100))
    assert (all_.status("one").written, all_.status("one").lost) == (100, 0)


def test_what_overflows_while_it_is_away_is_told_in_the_sink_itself(many):
    sink = Script({"open": [OSError("away") for _ in range(20)]})
    all_ = many(one=config(sink, queue=5, batch=5))
    for number in range(12):
        all_.emit(closed(number))
    all_.settle()
    all_.emit(closed(12))
    all_.settle()
    assert sink.numbers == [0, 1, 2, 3, 4, 12]
    # The first batch was taken in hand before the losses, or after some of them.
    told = [each.event.lost for each in sink.written if each.name == "sink.lost"]
    assert sum(told) == all_.status("one").lost == 7


def test_at_the_end_what_waits_is_written(many):
    sink = Script()
    all_ = many(one=config(sink, batch_delay=1000.0))
    all_.emit(closed(1), closed(2))
    all_.sinks.finish()
    assert sink.numbers == [1, 2]
    assert sink.calls[-2:] == ["flush", "close"]


def test_at_the_end_one_that_is_away_gets_its_time_and_no_more(many):
    back = Script({"write": [TryAgainError("away") for _ in range(3)]})
    gone = Script({"write": [TryAgainError("away") for _ in range(10_000)]})
    slow = Retry(initial=1000.0, max=1000.0)
    all_ = many(back=config(back, retry=slow, stop=20.0), gone=config(gone, retry=slow, stop=0.3))
    all_.emit(closed(1))
    until(lambda: all_.status("gone").failures and all_.status("back").failures)
    with capturedLogs() as log:
        all_.sinks.finish()
    assert back.numbers == [1]
    (line,) = map(formatEvent, log)
    assert line == ("the sink gone has ended; 1 records that it had not written are lost: away")


def test_the_error_of_one_that_is_well_again_is_past(many):
    sink = Script({"open": [OSError("away") for _ in range(100_000)]})
    all_ = many(one=config(sink))
    assert (all_.status("one").last_error, all_.status("one").failed_at) == ("", None)
    all_.emit(closed(1))
    until(lambda: all_.status("one").state == "failing")
    bad = all_.status("one")
    assert (bad.last_error, bad.past_error) == ("OSError: away", "")
    sink.fail.clear()
    until(lambda: all_.status("one").state == "waiting")
    well = all_.status("one")
    assert (well.last_error, well.past_error) == ("", "OSError: away")
    assert well.failed_at >= bad.failed_at > 1_700_000_000


def test_at_the_end_one_that_never_started_is_no_trouble(many):
    all_ = many(started=False, one=config(Script()))
    all_.sinks.finish()


def test_files_are_opened_anew_between_batches_and_while_nothing_happens(many):
    sink = Script()
    all_ = many(one=config(sink))
    all_.emit(closed())
    all_.settle()
    all_.sinks.reopen()
    until(lambda: "reopen" in sink.calls)


def test_signals_are_left_to_the_main_thread(many):
    masks = []

    class Masked(Script):
        def open(self):
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    all_ = many(one=config(Masked()))
    all_.emit(closed())
    all_.settle()
    assert {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT} <= masks[0]


def test_a_flush_comes_though_nothing_happens(many):
    sink = Script(flush_every=0.01)
    all_ = many(one=config(sink))
    all_.emit(closed())
    until(lambda: "flush" in sink.calls)


def test_a_change_touches_only_what_is_different(many):
    kept, gone, old = Script(), Script(), Script()
    first = {"kept": config(kept), "gone": config(gone), "changed": config(old)}
    all_ = many(**first)
    all_.emit(closed(1))
    new, fresh = Script(), Script()
    change = all_.change(kept=config(Script()), changed=config(new, batch=9), added=config(fresh))
    assert (change.added, change.removed, change.changed) == (["added"], ["gone"], ["changed"])
    all_.emit(closed(2))
    all_.settle()
    until(lambda: old.calls[-1:] == gone.calls[-1:] == ["close"])
    assert (kept.numbers, gone.numbers, old.numbers) == ([1, 2], [1], [1])
    assert (new.numbers, fresh.numbers) == ([2], [2])
    all_.clock.advance(1)
    assert [each.name for each in all_.sinks.status()] == ["kept", "changed", "added"]
    written = {name: each.written for name, each in all_.sinks.totals().items()}
    assert written == {"kept": 2, "gone": 1, "changed": 2, "added": 1}  # none goes back


def test_a_change_that_is_not_committed_changes_nothing(many):
    sink = Script()
    all_ = many(one=config(sink))
    all_.sinks.prepare({})
    all_.emit(closed())
    all_.settle()
    assert sink.numbers == [1]


def test_the_new_one_begins_when_the_old_one_has_ended(many):
    gate = threading.Event()
    old, new = Script(gate=gate), Script()
    all_ = many(one=config(old))
    all_.emit(closed(1))
    until(lambda: "blocked" in old.calls)
    all_.change(one=config(new, batch=9))
    all_.emit(closed(2))
    assert new.calls == []
    gate.set()
    all_.settle()
    assert (old.numbers, new.numbers) == ([1], [2])


def test_an_old_one_that_never_ends_is_left_alone(many):
    gate = threading.Event()
    old, new = Script(gate=gate), Script()
    all_ = many(one=config(old, stop=0.05))
    all_.emit(closed(1))
    until(lambda: "blocked" in old.calls)
    with capturedLogs() as log:
        all_.change(one=config(new, batch=9))
        all_.emit(closed(2))
        until(lambda: new.numbers == [2])
        all_.clock.advance(1)
    gate.set()
    assert [formatEvent(each) for each in log][-1] == (
        "the sink one has ended; 1 records that it had not written are lost"
    )
    assert len(all_.sinks.status()) == 1
    assert all_.sinks.totals()["one"].lost == 1


@pytest.mark.parametrize(
    ("settings", "event"),
    [
        ({"queue": 200}, closed()),
        ({"queue": 10_000, "queue_size": 65_536}, said("e", x="x" * 3000)),
    ],
    ids=["few records", "little memory"],
)
def test_a_sink_with_a_small_queue_does_not_sleep_on_a_full_one(many, settings, event):
    sink = Script()
    all_ = many(one=config(sink, **settings, batch_delay=Seconds(3600.0)))
    for _ in range(20):
        # Half of what the queue holds, and a little: the other half is for while it wakes.
        for _ in range(110 if "queue_size" not in settings else 9):
            all_.emit(event)
        until(lambda: all_.status("one").queued < (100 if "queue_size" not in settings else 8))
    assert all_.status("one").lost == 0
