"""Several watch one session; whoever comes, goes or fails disturbs nobody."""

from functools import partial
from types import SimpleNamespace

import pytest
from twisted.internet.testing import StringTransport

from tcpd.taps import add_tap


@pytest.fixture
def transport():
    return SimpleNamespace(tap=None)


def watch(pieces):
    return lambda direction, data: pieces.append((direction, data))


def test_a_tap_gets_everything_until_it_is_removed(transport):
    seen = []
    remove = add_tap(transport, watch(seen))
    transport.tap("in", b"ab")
    transport.tap("out", b"c")
    remove()
    assert seen == [("in", b"ab"), ("out", b"c")]
    assert transport.tap is None


def test_removing_twice_and_after_the_end_does_no_harm(transport):
    remove = add_tap(transport, watch([]))
    transport.tap = None  # the session has ended
    remove()
    remove()
    assert transport.tap is None


def test_each_comes_and_goes_by_itself(transport):
    one, two = [], []
    remove_one = add_tap(transport, watch(one))
    transport.tap("in", b"1")
    remove_two = add_tap(transport, watch(two))
    transport.tap("in", b"2")
    remove_one()
    transport.tap("in", b"3")
    remove_two()
    assert [data for _, data in one] == [b"1", b"2"]
    assert [data for _, data in two] == [b"2", b"3"]
    assert transport.tap is None


def test_the_same_tap_may_be_there_twice(transport):
    seen = []
    tap = watch(seen)
    remove = add_tap(transport, tap)
    add_tap(transport, tap)
    remove()
    transport.tap("in", b"x")
    assert seen == [("in", b"x")]


def test_what_stood_there_before_stays(transport):
    before, seen = [], []
    transport.tap = tap = watch(before)
    remove = add_tap(transport, watch(seen))
    transport.tap("in", b"x")
    remove()
    assert before == seen == [("in", b"x")]
    assert transport.tap is tap


def test_somebody_else_may_stand_before_it_meanwhile(transport):
    seen = []
    remove = add_tap(transport, watch(seen))
    ours = transport.tap
    transport.tap = theirs = partial(ours)
    remove()
    transport.tap("in", b"x")
    assert transport.tap is theirs
    assert seen == []


def test_one_that_fails_is_off_and_the_others_go_on(transport, logged):
    def fail(direction, data):
        raise RuntimeError("disk full")

    seen = []
    add_tap(transport, fail)
    remove = add_tap(transport, watch(seen))
    transport.tap("in", b"1")
    transport.tap("in", b"2")
    assert [data for _, data in seen] == [b"1", b"2"]
    assert len([each for each in logged if "log_failure" in each]) == 1
    remove()
    assert transport.tap is None


def test_one_that_was_there_before_and_fails_is_off(transport, logged):
    seen = []

    def fail(direction, data):
        raise RuntimeError("no")

    transport.tap = fail
    remove = add_tap(transport, watch(seen))
    transport.tap("in", b"1")
    transport.tap("in", b"2")
    remove()
    assert [data for _, data in seen] == [b"1", b"2"]
    assert transport.tap is None


def test_a_tap_may_remove_itself_and_others_while_bytes_pass(transport):
    seen, removes = [], []

    def once(direction, data):
        seen.append(data)
        for remove in removes:
            remove()

    removes.append(add_tap(transport, once))
    removes.append(add_tap(transport, watch(seen)))
    transport.tap("in", b"1")
    assert seen == [b"1"]
    assert transport.tap is None


def test_a_transport_of_another_package_cant_be_tapped():
    assert add_tap(StringTransport(), watch([])) is None
