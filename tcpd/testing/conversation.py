"""A conversation, and the check that a handler holds it however the network cuts it up."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import provider

from tcpd.testing.memory import Peer, make_handler

# How many places of a conversation are tried as the place of a cut, evenly spread.
MOST_CUTS = 400


@dataclass(frozen=True, slots=True)
class Send:
    """The peer sends bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """The handler has sent these bytes, and no others, since the last `Expect`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The peer shuts down its side."""


@dataclass(frozen=True, slots=True)
class Closes:
    """The handler has closed the connection."""


Step = Send | Expect | Wait | Finish | Closes


def check_handler(handler: Any, *steps: Step, **options: Any) -> None:
    """Check that a handler holds a conversation, however the network cuts it up.

    The conversation is played as it is written, byte by byte, with all that can be sent at once
    sent at once, and with that cut in two at each place. Each time the handler must say exactly
    what is expected, all of it by the end, raise nothing, log no error, and leave no delayed call
    behind. Finally the connection is lost after each of the steps, which must leave nothing behind
    either.

    Args:
        handler: as for `make_handler`, made anew each time; or a function that takes the `Clock`
            and returns a factory, for a handler that is given its clock or reactor.
        steps: what happens, in order.
        options: the handler's, as the configuration would hold them.

    Raises:
        AssertionError: the handler doesn't hold it; the text says where, and how it was cut.
        ConfigErrors: as `make_handler` does.
    """
    together = list(_together(steps))
    with _no_error_logged():
        _play(handler, options, steps, "as written")
        gc.collect()  # a Deferred tells of its unhandled error when it goes
    _play(handler, options, list(_in_bytes(steps)), "byte by byte")
    _play(handler, options, together, "all at once")
    for index, step in enumerate(together):
        if isinstance(step, Send):
            size = len(step.data)
            for cut in range(1, size, max(1, size // MOST_CUTS)):
                pieces = Send(step.data[:cut]), Send(step.data[cut:])
                way = f"cut before byte {cut} of {_shown(step.data)}"
                _play(handler, options, [*together[:index], *pieces, *together[index + 1 :]], way)
    for count in range(len(steps)):
        after = f"after {steps[count - 1]}" if count else "at once"
        _play(handler, options, steps[:count], f"the connection lost {after}", lose=True)


@contextmanager
def no_call_left(clock: Clock | None = None) -> Iterator[None]:
    """Assert that what runs inside leaves no delayed call behind.

    Calls on `clock` and on the process's reactor count, if that was imported at all; what waited
    there before doesn't.
    """
    before = set(map(id, _delayed_calls(clock)))
    yield
    left = [call for call in _delayed_calls(clock) if id(call) not in before]
    if left:
        raise AssertionError(f"delayed calls were left behind: {', '.join(map(str, left))}")


def _delayed_calls(clock: Clock | None) -> list[Any]:
    reactor = sys.modules.get("twisted.internet.reactor")
    sources = [each for each in (clock, reactor) if each is not None]
    return [call for source in sources for call in source.getDelayedCalls()]


@contextmanager
def _no_error_logged() -> Iterator[None]:
    failures: list[Failure] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    if failures:
        raise AssertionError(f"an error was logged: {failures[0].getTraceback()}")


def _in_bytes(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Send):
            yield from (Send(step.data[at : at + 1]) for at in range(len(step.data)))
        else:
            yield step


def _together(steps: Sequence[Step]) -> Iterator[Step]:
    """Give the steps with everything sent at once that no other step keeps apart."""
    expected = b""  # by an Expect that is still to come
    for talk, group in groupby(steps, lambda step: isinstance(step, Send | Expect)):
        if not talk:
            yield from group
            continue
        sent = b""
        for step in group:
            if isinstance(step, Send):
                sent += step.data
            elif isinstance(step, Expect):
                expected += step.data
        if sent:
            yield Send(sent)
        if isinstance(step, Expect):
            yield Expect(expected)
            expected = b""
    if expected:
        yield Expect(expected)


def _play(
    handler: Any, options: Mapping[str, Any], steps: Sequence[Step], way: str, lose: bool = False
) -> None:
    clock = Clock()
    is_function = getattr(handler, "__code__", None) is not None
    factory = make_handler(handler(clock) if is_function else handler, **options)
    try:
        with _no_error_logged(), no_call_left(clock):
            peer = Peer(factory, clock)
            for step in steps:
                _take_step(peer, step)
            if lose:
                peer.reset()
                return
            more = peer.take()
            assert not more, f"the handler says more than is expected: {_shown(more)}"  # noqa: S101
            peer.leave()
    except AssertionError as error:
        raise AssertionError(f"{way}: {error}") from None
    except Exception as error:
        error.add_note(f"The conversation was played {way}.")
        raise


def _take_step(peer: Peer, step: Step) -> None:
    if isinstance(step, Send):
        peer.send(step.data)
    elif isinstance(step, Wait):
        peer.wait(step.seconds)
    elif isinstance(step, Finish):
        peer.finish()
    elif isinstance(step, Closes):
        if not peer.closed:
            raise AssertionError("the handler has not closed the connection")
    elif (said := peer.take()) != step.data:
        raise AssertionError(f"expected {_shown(step.data)}, the handler says {_shown(said)}")


def _shown(data: bytes) -> str:
    return repr(data) if len(data) <= 200 else f"{data[:200]!r}... ({len(data)} bytes)"
