"""What becomes of a batch: written, tried again after growing pauses, or lost and counted."""

import pytest
from helpers.sinks import NOON, SOURCE, Script, records

from tcpd.sinks import batch_writer
from tcpd.sinks.batch_writer import BatchWriter
from tcpd.sinks.record import Record, SinkLost
from tcpd.sinks.settings import Retry
from tcpd.sinks.sink import TryAgainError


class Now:
    time = 100.0

    def __call__(self):
        return self.time


def writer(sink, clock=None):
    def say_lost(lost):
        return Record(SinkLost(sink="s", lost=lost), NOON, 0, SOURCE)

    return BatchWriter(sink, Retry(initial=1.0, max=5.0), say_lost, clock or Now())


def lost_in(sink):
    return [each.event.lost for each in sink.written if isinstance(each.event, SinkLost)]


def test_a_sink_is_opened_once_and_written_to():
    sink = Script()
    w = writer(sink)
    for first in (1, 3):
        w.take(records(2, first), 0)
        assert w.attempt() == 0
    assert sink.calls == ["open", "write", "write"]
    assert sink.numbers == [1, 2, 3, 4]
    assert (w.counts.written, w.counts.lost, w.counts.failures) == (4, 0, 0)


def test_a_batch_that_may_be_tried_again_stays_in_hand_and_the_pauses_grow():
    sink = Script({"write": [TryAgainError("away") for _ in range(4)]})
    w = writer(sink)
    w.take(records(2), 0)
    assert [w.attempt() for _ in range(5)] == [1, 2, 4, 5, 0]
    assert sink.calls == ["open", "write", "close"] * 4 + ["open", "write"]
    assert sink.numbers == [1, 2]
    assert (w.counts.written, w.counts.lost, w.counts.failures) == (2, 0, 4)
    assert (w.counts.failing, w.counts.last_error) == (False, "away")


def test_after_a_success_the_pauses_begin_anew():
    sink = Script({"write": [TryAgainError("a"), TryAgainError("b")]})
    w = writer(sink)
    for pauses in ([1, 2, 0], [1, 0]):
        w.take(records(1), 0)
        assert [w.attempt() for _ in pauses] == pauses
        sink.fail["write"] = [TryAgainError("c")]


def test_only_what_is_not_written_comes_again():
    sink = Script({"write": [TryAgainError("half", written=2)]})
    w = writer(sink)
    w.take(records(5), 0)
    assert w.attempt() == 1
    assert (w.counts.written, w.counts.lost) == (2, 0)
    assert w.attempt() == 0
    assert sink.numbers == [3, 4, 5]
    assert w.counts.written == 5


def test_a_sink_that_cannot_be_opened_loses_nothing():
    sink = Script({"open": [OSError("no"), OSError("no")]})
    w = writer(sink)
    w.take(records(1), 0)
    assert [w.attempt() for _ in range(3)] == [1, 2, 0]
    assert sink.numbers == [1]
    assert w.counts.last_error == "OSError: no"


@pytest.mark.parametrize("error", [ValueError("bug"), SystemExit(3), MemoryError(), KeyError("\n")])
def test_any_other_error_loses_the_batch_and_nothing_else(error):
    sink = Script({"write": [error]})
    w = writer(sink)
    w.take(records(3), 0)
    assert w.attempt() == 0
    assert (w.counts.written, w.counts.lost, w.counts.failing) == (0, 3, True)
    assert w.counts.last_error.startswith(type(error).__name__)
    assert w.counts.last_error.isprintable()
    w.take(records(2, 4), 0)
    assert w.attempt() == 0
    assert sink.calls == ["open", "write", "close", "open", "write"]
    assert sink.numbers == [4, 5]
    assert lost_in(sink) == [3]
    assert (w.counts.written, w.counts.failing) == (2, False)


def test_losses_are_told_once_and_those_of_a_teller_that_was_lost_again():
    sink = Script({"write": [ValueError("bug"), ValueError("bug")]})
    w = writer(sink)
    for refused in (0, 10, 10, 11):
        w.take(records(1), refused)
        w.attempt()
    assert lost_in(sink) == [12, 1]
    assert w.counts.lost == 2


def test_flush_is_due_so_long_after_the_first_write_and_before_close():
    sink, clock = Script(flush_every=2.0), Now()
    w = writer(sink, clock)
    assert w.seconds_to_flush() is None
    w.take(records(1), 0)
    w.attempt()
    clock.time += 1.5
    w.take(records(1), 0)
    w.attempt()
    assert w.seconds_to_flush() == 0.5
    w.flush()
    assert w.seconds_to_flush() is None
    w.take(records(1), 0)
    w.attempt()
    w.close()
    assert sink.calls == ["open", "write", "write", "flush", "write", "flush", "close"]


@pytest.mark.parametrize("call", ["flush", "reopen"])
def test_a_failure_between_batches_is_counted_and_the_sink_opened_anew(call):
    sink = Script({call: [OSError("no")]})
    w = writer(sink)
    w.take(records(1), 0)
    w.attempt()
    getattr(w, call)()
    assert (w.counts.failures, w.counts.lost) == (1, 0)
    w.take(records(1), 0)
    w.attempt()
    assert sink.calls == ["open", "write", call, "close", "open", "write"]


def test_a_sink_that_is_not_open_is_neither_reopened_nor_closed():
    sink = Script()
    w = writer(sink)
    w.reopen()
    w.close()
    assert sink.calls == []


def test_what_close_raises_concerns_nobody():
    sink = Script({"write": [TryAgainError("away")], "close": [ValueError("x"), ValueError("y")]})
    w = writer(sink)
    w.take(records(1), 0)
    assert w.attempt() == 1
    assert w.counts.last_error == "away"
    assert w.attempt() == 0
    w.close()


def test_a_long_error_is_cut():
    sink = Script({"open": [OSError("x" * 10000)]})
    w = writer(sink)
    w.take(records(1), 0)
    w.attempt()
    assert len(w.counts.last_error) < 400


def test_other_threads_may_run_while_a_large_batch_is_made(monkeypatch):
    pauses = []
    monkeypatch.setattr(batch_writer.time, "sleep", pauses.append)
    writer(Script()).take(records(100), 0)
    assert pauses == [0] * (100 // batch_writer.PACE)
