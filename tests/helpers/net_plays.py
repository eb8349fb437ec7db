"""Plays: what a handler calls in each of its callbacks, and what is done to its connection."""

import os
import socket

from hypothesis import strategies as st
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

# Each is taken as often as its weight says; None is nothing at all, and what failures shrink to.
CALLS = [
    (80, None),
    *((16, ("write", size)) for size in (1, 1000, 100_000, 400_000)),
    *((8, ("sequence", size)) for size in (2, 30_000)),
    *((8, (call,)) for call in ("pause", "resume", "push producer", "pull producer", "unproduce")),
    *((16, (call,)) for call in ("lose", "lose write")),
    *((8, (call,)) for call in ("abort", "reset", "raise")),
]
EVENTS = [
    (39, None),
    *((16, ("send", size)) for size in (1, 70_000, 300_000)),
    (50, ("later",)),
    *((20, (event,)) for event in ("turn", "turns")),
    *((16, (event,)) for event in ("stop reading", "nibble", "read on", "finish")),
    *((5, (event,)) for event in ("reset", "close", "cut")),
]
CUTS = {"abort", "reset", "raise", "close", "cut"}
# The callbacks, how many of their calls are scripted, and by how many steps each.
CALLBACKS = {
    "made": (1, 3),
    "data": (3, 2),
    "read lost": (1, 2),
    "write lost": (1, 2),
    "resume": (2, 2),
    "pause": (1, 1),
    "stop": (1, 1),
    "lost": (1, 1),
}
COURSE = 12


def table(weighted):
    return [what for weight, what in weighted for _ in range(weight)]


CALLS, EVENTS = table(CALLS), table(EVENTS)
assert len(CALLS) == len(EVENTS) == 256, (len(CALLS), len(EVENTS))
SIZE = 1 + sum(times * steps for times, steps in CALLBACKS.values()) + 3 * COURSE


def play_of(numbers):
    """A play: whether the handler knows of half-close, what it does where, and what is done to it.

    Lists of strategies would mostly give plays that are short or much alike; this gives each step
    a number of its own.
    """
    numbers = iter(numbers)
    first = next(numbers)
    peaceful = bool(first & 2)  # with neither aborts nor failures nor resets: all must get through

    def step(choices):
        what = choices[next(numbers)]
        return None if what is None or (peaceful and what[0] in CUTS) else what

    def calls(steps):
        return [call for call in [step(CALLS) for _ in range(steps)] if call]

    script = {
        where: [calls(steps) for _ in range(times)] for where, (times, steps) in CALLBACKS.items()
    }
    course = []
    for _ in range(COURSE):
        event, done_then = step(EVENTS), calls(2)
        if event == ("later",):
            event = ("later", done_then)
        if event:
            course.append(event)
    return bool(first & 1), {where: done for where, done in script.items() if any(done)}, course


PLAYS = st.binary(min_size=SIZE, max_size=SIZE).map(play_of)


class AsToldError(Exception):
    """What a handler raises, when its script says so."""


class Handler(Protocol):
    """Makes the calls of its script, and notes everything."""

    def __init__(self, script):
        self.script = {where: list(calls) for where, calls in script.items()}
        self.deaf = False  # whether it needn't hear all that its peer says
        self.told = []
        self.heard = b""
        self.written = b""
        self.raised = 0
        self.closing = False  # whether anybody may have ended it already
        self.cut_short = False  # whether it needn't have got everything through
        self.wrote_last = False  # whether the peer may rightly see the end before an abort
        self.closed = 0
        self.failures = 0
        self.transport = None

    # As the transport's observer.

    def transport_closed(self, reason):
        assert self.told[-1] == "lost", "the observer is told after the handler"
        self.closed += 1

    def handler_failed(self, failure):
        assert failure.check(AsToldError), failure.getTraceback()
        self.failures += 1

    # As a protocol.

    def makeConnection(self, transport):
        transport.observer = self
        # So small that much of what is written doesn't fit.
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.descriptor = transport.fileno()
        self.inode = os.fstat(self.descriptor).st_ino
        super().makeConnection(transport)

    def connectionMade(self):
        self.note("made")
        self.act("made")

    def dataReceived(self, data):
        self.note("data")
        self.heard += data
        self.act("data")

    def connectionLost(self, reason):
        assert self.told.count("made") == 1
        self.note("lost")
        self.closing = True
        self.act("lost")

    def note(self, what):
        assert "lost" not in self.told, f"{what} after the end"
        self.told.append(what)

    # As a producer.

    def pauseProducing(self):
        self.act("pause")

    def resumeProducing(self):
        self.act("resume")

    def stopProducing(self):
        self.act("stop")

    # The script.

    def act(self, where):
        calls = self.script.get(where)
        if calls:
            self.perform(calls.pop(0))

    def perform(self, calls):
        for call, *arguments in calls:
            getattr(self, "call_" + call.replace(" ", "_"))(*arguments)

    def call_write(self, size):
        data = self._some(size)
        self._count(self.transport.write, data, data)

    def call_sequence(self, size):
        data = self._some(size)
        self._count(self.transport.writeSequence, data, [data[: size // 3], data[size // 3 :]])

    def _some(self, size):
        number = b"%09d|" % len(self.written)
        return (number * (size // 10 + 1))[:size]

    def _count(self, write, data, argument):
        """Write, and note whether it was taken: it must be as long as nothing has ended."""
        transport = self.transport
        before = transport.bytes_out + transport.queued
        place = len(self.written)
        self.written += data  # already now, since a producer may be paused in this call, and write
        try:
            write(argument)
        finally:
            taken = transport.bytes_out + transport.queued > before
            if not taken:
                self.written = self.written[:place] + self.written[place + len(data) :]
        assert taken or self.closing

    def call_lose(self):
        self.closing = self.deaf = True
        self.transport.loseConnection()

    def call_abort(self):
        self.closing = self.cut_short = True
        self.transport.abortConnection()

    def call_reset(self):
        self.closing = self.cut_short = True
        self.transport.reset_connection()

    def call_pause(self):
        self.deaf = True
        self.transport.pauseProducing()

    def call_resume(self):
        self.transport.resumeProducing()

    def call_lose_write(self):
        self.closing = self.wrote_last = True
        self.transport.loseWriteConnection()

    def call_push_producer(self):
        if self.transport.producer is None:
            self.transport.registerProducer(self, True)

    def call_pull_producer(self):
        if self.transport.producer is None:
            self.transport.registerProducer(self, False)

    def call_unproduce(self):
        self.transport.unregisterProducer()

    def call_raise(self):
        self.closing = True
        self.cut_short = self.cut_short or "lost" not in self.told
        self.raised += 1
        raise AsToldError


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Handler):
    def readConnectionLost(self):
        self.note("read lost")
        self.act("read lost")

    def writeConnectionLost(self):
        self.note("write lost")
        self.act("write lost")
