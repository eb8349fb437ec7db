"""Failures that are repeated: which of them the log gets."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tcpd.sinks.log_format import format_json, format_text
from tcpd.sinks.repeats import KINDS, MINUTE, SHOWN, Repeats


def fails(error=ValueError):
    try:
        raise error("on purpose")
    except Exception:
        return Failure()


def elsewhere():
    try:
        raise ValueError("on purpose")
    except ValueError:
        return Failure()


def event(failure, session=1):
    return {
        "log_time": 1.0,
        "log_level": LogLevel.critical,
        "log_format": "it failed in {session}",
        "log_failure": failure,
        "session": session,
    }


class Log:
    def __init__(self):
        self.events = []
        self.clock = Clock()
        self.repeats = Repeats(self.events.append, self.clock.seconds)

    def fail(self, times=1, failure=None):
        for _ in range(times):
            self.repeats(event(failure or fails()))

    @property
    def shown(self):
        return sum("log_failure" in each for each in self.events)

    @property
    def told(self):
        return [each["count"] for each in self.events if "count" in each]


@pytest.fixture
def log():
    return Log()


def test_it_is_an_observer(log):
    verifyObject(ILogObserver, log.repeats)


def test_what_is_no_failure_passes(log):
    plain = {"log_format": "hello"}
    for _ in range(1000):
        log.repeats(plain)
    assert log.events == [plain] * 1000


def test_the_first_ones_pass_as_they_are(log):
    sent = [event(fails(), number) for number in range(SHOWN)]
    for each in sent:
        log.repeats(each)
    assert log.events == sent


def test_of_the_others_the_number_is_told_at_round_numbers(log):
    log.fail(1000)
    assert log.shown == SHOWN
    assert log.told == [5, 10, 30, 50, 100, 300, 500]
    assert sum(log.told) + log.shown == 1000


def test_in_another_minute_the_rest_is_told_and_they_are_shown_again(log):
    log.fail(1003)
    log.clock.advance(MINUTE)
    log.fail()
    assert log.told[-1] == 3
    assert "count" in log.events[-2]
    assert "log_failure" in log.events[-1]
    assert log.shown == SHOWN + 1


def test_before_the_minute_is_over_they_are_not(log):
    log.fail(SHOWN + 1)
    log.clock.advance(MINUTE - 0.1)
    log.fail()
    assert log.shown == SHOWN


def raises():
    raise ValueError("on purpose")


def one_way():
    try:
        raises()
    except ValueError:
        return Failure()


def another_way():
    try:
        raises()
    except ValueError:
        return Failure()


@pytest.mark.parametrize("other", [lambda: fails(KeyError), elsewhere, another_way])
def test_another_exception_another_line_and_another_way_there_are_another_failure(log, other):
    log.fail(1000, (one_way if other is another_way else fails)())
    log.fail(1, other())
    assert log.shown == SHOWN + 1


def test_what_was_never_raised_can_be_counted_too(log):
    log.fail(SHOWN + 1, Failure(ValueError("never raised")))
    assert log.shown == SHOWN


def test_memory_is_bounded(log):
    for number in range(10 * KINDS):
        log.fail(1, fails(type(f"Error{number}", (Exception,), {})))
    assert len(log.repeats._counts) == KINDS


def test_what_is_told_says_what_where_and_how_many(log):
    log.fail(10)
    text = format_text(log.events[-1])
    assert text.startswith("1970-01-01T00:00:01.000Z critical: 5 more failures like those before,")
    assert "ValueError in " in text
    assert "test_repeats.py:" in text
    assert '"count": 5' in format_json(log.events[-1])
