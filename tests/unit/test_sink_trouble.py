"""What the log says of a sink in trouble: once when it begins, in summary, and when it is over."""

from dataclasses import replace

import pytest
from helpers.sinks import WELL
from twisted.logger import capturedLogs, formatEvent

from tcpd.sinks.trouble import QUIET, SUMMARY, Trouble

AWAY = replace(WELL, state="failing", queued=3, failures=1, last_error="it is away")


class Watched:
    """A sink whose numbers the test sets, and what the log says of it."""

    def __init__(self):
        self.now = 1000.0
        self.state = WELL
        self.trouble = Trouble(self)

    def status(self):
        return self.state

    def look(self, seconds=1.0, **numbers):
        """Look once a second, and return what is logged."""
        self.state = replace(self.state, **numbers)
        with capturedLogs() as log:
            for _ in range(int(seconds)):
                self.now += 1
                self.trouble.look(self.now)
        return [formatEvent(each) for each in log]


@pytest.fixture
def sink():
    return Watched()


def test_one_that_is_well_is_never_mentioned(sink):
    assert sink.look(1000, written=10) == []


def test_trouble_is_told_once_when_it_begins_and_when_it_is_over(sink):
    sink.state = AWAY
    assert sink.look() == [
        "the sink db is in trouble: it is away; 0 records lost, 3 wait",
    ]
    assert sink.look(SUMMARY - 10, failures=9) == []
    sink.state = replace(AWAY, state="waiting", failures=9, queued=0)
    assert sink.look(QUIET) == ["the sink db is well again; 0 records were lost"]
    assert sink.look(1000) == []


def test_long_trouble_is_a_line_a_minute(sink):
    sink.state = AWAY
    assert len(sink.look(10 * SUMMARY, failures=5)) == 10
    assert sink.look(SUMMARY, lost=70, queued=9) == [
        "the sink db is still in trouble: it is away; 70 more records lost, 9 wait",
    ]


def test_the_losses_in_the_log_add_up(sink):
    assert "; 5 records lost" in sink.look(lost=5)[0]
    assert sink.look(SUMMARY - 1, lost=8, state="failing") == []
    assert "; 6 more records" in sink.look(1, lost=11)[0]
    sink.state = replace(sink.state, state="waiting")
    assert sink.look(QUIET, lost=11) == ["the sink db is well again; 11 records were lost"]
    assert "; 2 records lost" in sink.look(lost=13)[0]
    with capturedLogs() as log:
        sink.state = replace(sink.state, lost=17, last_error="away")
        sink.trouble.say_end()
    assert formatEvent(log[0]) == (
        "the sink db has ended; 4 records that it had not written are lost: away"
    )


def test_one_that_fails_now_and_then_gets_no_line_for_each_failure(sink):
    lines = []
    for failures in range(1, 101):
        lines += sink.look(3, failures=failures, lost=failures, last_error="x")
    assert len(lines) == 1 + 300 // SUMMARY - 1


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"lost": 1}, "more comes than it can write, and its queue is full"),
        ({"state": "stuck", "last_error": "old"}, "it doesn't come back from what it does"),
        ({"lost": 1, "failures": 1, "last_error": "ValueError: bug"}, "ValueError: bug"),
        ({"failures": 1, "past_error": "away for half a second"}, "away for half a second"),
    ],
)
def test_it_says_why(sink, numbers, why):
    assert sink.look(**numbers)[0].startswith(f"the sink db is in trouble: {why}; ")


def test_an_end_without_losses_is_not_mentioned(sink):
    with capturedLogs() as log:
        sink.trouble.say_end()
    assert log == []
