"""Attempts that race: their order, their stagger, and what becomes of the losers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tcpd.client.dialing import in_turn
from tcpd.client.race import STAGGER, Race


class Attempts:
    """Attempts that a test settles by hand."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.running: list[Deferred[str]] = [
            Deferred(lambda _, i=i: self.cancelled.append(i)) for i in range(count)
        ]
        self.results: list[str] = []
        self.failures: list[BaseException] = []
        self.race = Race(self.clock, [lambda i=i: self.start(i) for i in range(count)])
        self.result = self.race.start()
        self.result.addCallbacks(
            self.results.append, lambda failure: self.failures.append(failure.value)
        )

    def start(self, number: int) -> "Deferred[str]":
        self.started.append(number)
        return self.running[number]


def test_the_next_starts_after_the_stagger_while_the_first_goes_on() -> None:
    attempts = Attempts(3)
    assert attempts.started == [0]
    attempts.clock.advance(STAGGER)
    assert attempts.started == [0, 1]
    attempts.running[0].callback("first")
    assert attempts.results == ["first"]
    assert attempts.cancelled == [1]
    attempts.clock.advance(10 * STAGGER)
    assert attempts.started == [0, 1]
    assert attempts.clock.getDelayedCalls() == []


def test_a_failure_starts_the_next_at_once() -> None:
    attempts = Attempts(2)
    attempts.running[0].errback(OSError("no"))
    assert attempts.started == [0, 1]
    attempts.running[1].callback("second")
    assert attempts.results == ["second"]


def test_when_all_fail_every_reason_is_given() -> None:
    attempts = Attempts(2)
    attempts.running[0].errback(OSError("one"))
    attempts.running[1].errback(OSError("two"))
    (failure,) = attempts.failures
    assert isinstance(failure, BaseExceptionGroup)
    assert [str(error) for error in failure.exceptions] == ["one", "two"]
    assert attempts.clock.getDelayedCalls() == []


def test_cancelling_it_cancels_all_and_leaves_no_timer() -> None:
    attempts = Attempts(3)
    attempts.clock.advance(STAGGER)
    attempts.result.cancel()
    assert attempts.cancelled == [0, 1]
    assert attempts.clock.getDelayedCalls() == []
    assert isinstance(attempts.failures[0], CancelledError)


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ([], []),
        (["::1", "::2", "1.1.1.1", "2.2.2.2"], ["::1", "1.1.1.1", "::2", "2.2.2.2"]),
        (["1.1.1.1", "2.2.2.2", "::1"], ["1.1.1.1", "::1", "2.2.2.2"]),
    ],
)
def test_families_take_turns(found: list[str], tried: list[str]) -> None:
    assert in_turn(found) == tried


@given(st.lists(st.sampled_from(["::1", "::2", "1.1.1.1", "2.2.2.2"]), unique=True))
def test_every_address_is_tried_once(found: list[str]) -> None:
    assert sorted(in_turn(found)) == sorted(found)
