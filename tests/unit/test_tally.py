"""The numbers: what a session comes to, and that they belong to names."""

from types import SimpleNamespace

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tcpd.events import Bus
from tcpd.serving import Serving
from tcpd.session import Origin, Session
from tcpd.tally import DURATIONS, MOST_REASONS, OTHER, SIZES, Histogram, Tallies, Tally
from tcpd.testing.memory import MemoryTransport


def ended(**numbers):
    return SimpleNamespace(**{"bytes_in": 0, "bytes_out": 0, **numbers})


def test_a_session_is_counted_by_its_reason_its_bytes_and_its_time() -> None:
    tally = Tally()
    tally.session_ended(ended(bytes_in=10, bytes_out=2000), "peer-closed", 0.5)
    tally.session_ended(ended(bytes_in=5), "idle", 700.0)
    tally.session_ended(ended(), "idle", 0.5)
    assert tally.ended == {"peer-closed": 1, "idle": 2}
    assert tally.total == 3
    assert (tally.received.sum, tally.sent.sum, tally.durations.sum) == (15, 2000, 701.0)
    assert [tally.received.count, tally.sent.count, tally.durations.count] == [3, 3, 3]


@pytest.mark.parametrize("bounds", [DURATIONS, SIZES])
def test_a_bound_belongs_to_its_bucket_and_what_is_above_to_the_next(bounds) -> None:
    for place, bound in enumerate(bounds):
        histogram = Histogram(bounds)
        histogram.add(bound)
        histogram.add(bound * 1.001)
        assert histogram.counts[place : place + 2] == [1, 1]
        assert histogram.count == 2


def test_pauses_are_taken_over_where_there_were_any() -> None:
    tally = Tally()
    tally.session_ended(ended(), "idle", 1)
    tally.session_ended(ended(pauses=3), "idle", 1)
    tally.session_ended(ended(pauses=2), "idle", 1)
    assert tally.pauses == 5


def test_reasons_that_a_handler_makes_up_are_bounded() -> None:
    tally = Tally()
    for number in range(1000):
        tally.session_ended(ended(), f"because {number}", 1)
    tally.session_ended(ended(), "because 3", 1)
    assert len(tally.ended) == MOST_REASONS + 1
    assert tally.ended[OTHER] == 1000 - MOST_REASONS
    assert tally.ended["because 3"] == 2


def test_numbers_belong_to_names() -> None:
    tallies = Tallies()
    first = tallies.of("a").of("echo")
    assert tallies.of("a").of("echo") is first
    assert tallies.of("a").of("discard") is not first
    assert tallies.of("b").of("echo") is not first
    assert first.counts is tallies.of("a")
    assert [name for name, _ in tallies.items()] == ["a", "b"]


class Acceptance:
    stage = "handshake"
    close_cause = "tls-failed"
    tls = None

    def getPeer(self):
        return IPv4Address("TCP", "192.0.2.1", 5)


@pytest.fixture
def counts():
    return Tallies().of("a")


@pytest.fixture
def origin(counts):
    return Origin(
        name="a", handler="x", role="listener", bus=Bus(), clock=Clock(), tally=counts.of("x")
    )


def test_a_session_is_counted_at_its_end_and_its_handlers_failures_at_once(origin, counts) -> None:
    transport = MemoryTransport(origin.clock, Acceptance().getPeer(), Acceptance().getPeer())
    transport.close_cause, transport.bytes_in = "handler-failed", 3
    session = Session(origin, transport)
    session.begin()
    with capturedLogs():
        session.handler_failed(Failure(RuntimeError("not this")))
    tally = counts.of("x")
    assert (tally.failures, tally.total) == (1, 0)
    origin.clock.advance(2)
    session.transport_closed(Failure(ConnectionDone()))
    assert tally.ended == {"handler-failed": 1}
    assert (tally.received.sum, tally.durations.sum) == (3, 2)


def test_handshakes_are_counted_when_their_sessions_begin(origin, counts) -> None:
    serving = Serving(origin, Factory.forProtocol(Protocol))
    for tls in (None, object(), object()):
        transport = MemoryTransport(origin.clock, Acceptance().getPeer(), Acceptance().getPeer())
        transport.tls = tls
        serving.accept(transport)
    assert counts.handshakes == 2


def test_what_fails_before_a_session_is_counted_with_the_listener(origin, counts) -> None:
    serving = Serving(origin, Factory.forProtocol(Protocol))
    other = Acceptance()
    other.stage, other.close_cause = "header", "peer-closed"
    with capturedLogs():
        serving.abandoned(Acceptance(), Failure(ConnectionDone()))
        serving.abandoned(other, Failure(ConnectionDone()))
        serving.accept_failed("starved")
        serving.accept_failed("starved")
        serving.refusals.flush()
    assert counts.handshake_failures == 1
    assert counts.refused == {"tls-failed": 1, "peer-closed": 1}
    assert counts.accept_failures == {"starved": 2}
