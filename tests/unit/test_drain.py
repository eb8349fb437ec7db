"""The end of all sessions, on a clock and transports in memory."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tcpd.drain import LAST, QUICK, TICK, Drain
from tcpd.events import Bus, SessionClosed
from tcpd.framing import FrameProtocol
from tcpd.handlers.chargen import ChargenProtocol
from tcpd.interfaces import IDrainable
from tcpd.serving import Serving
from tcpd.session import Origin
from tcpd.testing import MemoryTransport

PEER = IPv4Address("TCP", "192.0.2.7", 5000)
HOST = IPv4Address("TCP", "192.0.2.1", 80)


class Plain(Protocol):
    pass


@implementer(IDrainable)
class Asked(Protocol):
    asked = 0

    def drain(self):
        self.asked += 1


@implementer(IDrainable)
class Raises(Protocol):
    def drain(self):
        raise ValueError("no end")


class Transport(MemoryTransport):
    """One that ends in the next turn once it is told to, unless it has bytes queued."""

    stuck = False

    def loseConnection(self):
        super().loseConnection()
        if not self.stuck:
            self.clock.callLater(0, self.end, Failure(ConnectionDone()), "handler-closed")

    def abort_because(self, cause):
        super().abort_because(cause)
        self.clock.callLater(0, self.end, Failure(ConnectionAborted()), cause)

    def perform(self, step):
        try:
            step()
        except Exception:
            self.observer.handler_failed(Failure())
            self.abort_because("handler-failed")

    def end(self, reason, cause):
        observer, self.observer = self.observer, None
        if observer is not None:
            self.close_cause = self.close_cause or cause
            self.protocol.connectionLost(reason)
            observer.transport_closed(reason)


class House:
    def __init__(self, limit=10.0):
        self.clock, self.bus, self.ends, self.reports, self.over = Clock(), Bus(), {}, [], []
        self.bus.subscribe(SessionClosed, self.note)
        self.servings = []
        self.numbers = {}
        self.drain = Drain(self.clock, self.bus, self.servings, limit, self.report)
        self.drain.over.addCallback(lambda _: self.over.append(self.clock.seconds()))

    def report(self, left, seconds):
        self.reports.append((left, seconds))

    def note(self, event):
        self.ends[event.identity.listener] = event.reason

    def connect(self, name, factory, *, stuck=False):
        origin = Origin(name=name, handler="h", role="listener", bus=self.bus, clock=self.clock)
        serving = Serving(origin, factory)
        self.servings.append(serving)
        self.drain._servings = self.servings
        transport = Transport(self.clock, PEER, HOST)
        transport.stuck = stuck
        serving.accept(transport)
        return transport

    def turn(self, times=4):
        for _ in range(times):
            self.clock.advance(0)


def quiet(protocol):
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory


def test_with_nothing_open_it_is_over_in_the_next_turn() -> None:
    house = House()
    house.drain.start()
    assert house.over == []
    house.turn(1)
    assert house.over == [0]
    assert house.clock.getDelayedCalls() == []
    assert house.reports == []


def test_a_plain_session_is_closed_and_one_that_wants_to_is_asked_once() -> None:
    house = House()
    house.connect("plain", quiet(Plain))
    asked = house.connect("asked", quiet(Asked))
    house.drain.start()
    house.turn()
    assert house.ends == {"plain": "shutdown"}
    house.clock.pump([TICK] * 3)
    assert asked.protocol.asked == 1
    assert [left for left, _ in house.reports] == [2, 1, 1, 1]
    assert house.over == []
    asked.loseConnection()
    house.turn()
    assert house.ends == {"plain": "shutdown", "asked": "shutdown"}
    assert house.over == [3 * TICK]
    assert house.clock.getDelayedCalls() == []


def test_what_is_open_at_the_deadline_is_cut() -> None:
    house = House(limit=5.0)
    house.connect("asked", quiet(Asked))
    house.connect("stuck", quiet(Plain), stuck=True)
    with capturedLogs() as logs:
        house.drain.start()
        house.clock.pump([0, 0, 4.9])
        assert house.ends == {}
        house.clock.pump([0.1, 0, 0])
    assert house.ends == {"asked": "drain-timeout", "stuck": "drain-timeout"}
    assert house.over == [5.0]
    assert [each["log_format"] for each in logs][-1].startswith("{sessions} could not finish")
    assert house.clock.getDelayedCalls() == []


def test_who_hurries_has_the_rest_cut_soon() -> None:
    house = House(limit=1000.0)
    asked = house.connect("asked", quiet(Asked))
    house.connect("stuck", quiet(Plain), stuck=True)
    house.drain.start()
    house.turn()
    house.drain.hurry()
    house.drain.hurry()
    house.turn()
    assert house.ends == {"asked": "shutdown"}  # nothing kept it
    assert asked.protocol.asked == 1
    house.clock.pump([QUICK, 0, 0])
    assert house.ends == {"asked": "shutdown", "stuck": "shutdown"}  # it missed no deadline
    assert house.over == [QUICK]
    house.drain.hurry()
    assert house.clock.getDelayedCalls() == []


def test_without_time_nobody_is_asked() -> None:
    house = House(limit=0.0)
    asked = house.connect("asked", quiet(Asked))
    house.drain.start()
    house.turn()
    assert asked.protocol.asked == 0
    assert house.ends == {"asked": "shutdown"}
    assert house.over == [0]


def test_one_that_raises_ends_its_own_session_alone() -> None:
    house = House()
    house.connect("raises", quiet(Raises))
    house.connect("asked", quiet(Asked))
    with capturedLogs():
        house.drain.start()
        house.turn()
    assert house.ends == {"raises": "handler-failed"}


def test_a_session_that_its_handler_has_closed_is_left_to_it() -> None:
    house = House()
    closing = house.connect("closing", quiet(Asked), stuck=True)
    closing.loseConnection()
    house.drain.start()
    house.turn()
    assert closing.protocol.asked == 0
    closing.end(Failure(ConnectionDone()), "handler-closed")
    house.turn()
    assert house.ends == {"closing": "handler-closed"}
    assert house.over == [0]


def test_what_waits_for_its_session_ends_at_once() -> None:
    house = House()
    house.connect("asked", quiet(Asked))
    shaking = Transport(house.clock, PEER, HOST)
    house.servings[0].arriving(shaking)
    house.drain.start()
    assert shaking.close_cause == "shutdown"


def test_a_session_that_never_ends_does_not_keep_it() -> None:
    house = House(limit=5.0)
    transport = house.connect("undead", quiet(Plain), stuck=True)
    transport.end = lambda *arguments: None
    with capturedLogs() as logs:
        house.drain.start()
        house.clock.pump([0, 0, 5.0, LAST])
    assert house.over == [5.0 + LAST]
    assert logs[-1]["log_format"] == "{sessions} can't be ended"


def test_a_handler_behind_a_wrapper_of_twisteds_is_asked() -> None:
    class Wrapping(WrappingFactory):
        noisy = False
        protocol = ProtocolWrapper

    house = House()
    transport = house.connect("wrapped", Wrapping(quiet(Asked)))
    house.drain.start()
    house.turn()
    assert transport.protocol.wrappedProtocol.asked == 1


@pytest.mark.parametrize("kind", [FrameProtocol, ChargenProtocol, Asked])
def test_who_offers_it(kind) -> None:
    assert verifyObject(IDrainable, kind())


def test_chargen_has_an_end() -> None:
    house = House()
    transport = house.connect("chargen", quiet(ChargenProtocol))
    house.drain.start()
    house.turn()
    assert transport.producer is None
    assert house.ends == {"chargen": "shutdown"}


# -- frames ----------------------------------------------------------------------------------


class Slow(FrameProtocol):
    """Answers a frame when the test says so."""

    def __init__(self):
        self.held = []

    def frame_received(self, frame):
        self.held.append(frame)
        self.pause()

    def answer(self):
        self.send_frame(self.held.pop(0).upper())
        self.resume()


class Stays(FrameProtocol):
    def __init__(self):
        self.received = []

    def frame_received(self, frame):
        self.received.append(frame)

    def input_ended(self):
        self.received.append(None)


def test_frames_that_have_arrived_are_answered_and_no_more() -> None:
    house = House()
    transport = house.connect("slow", quiet(Slow))
    protocol = transport.protocol
    protocol.dataReceived(b"one\ntwo\nthr")
    house.drain.start()
    house.turn()
    assert house.ends == {}
    protocol.answer()
    protocol.answer()
    assert transport.value() == b"ONE\nTWO\n"
    house.turn()
    assert house.ends == {"slow": "shutdown"}


def test_an_idle_session_of_frames_closes_at_once() -> None:
    house = House()
    house.connect("slow", quiet(Slow)).protocol.dataReceived(b"unfinis")
    house.drain.start()
    house.turn()
    assert house.ends == {"slow": "shutdown"}


def test_who_stays_after_the_end_of_input_hears_nothing_more() -> None:
    house = House()
    protocol = house.connect("stays", quiet(Stays)).protocol
    protocol.dataReceived(b"one\n")
    house.drain.start()
    house.turn()
    protocol.dataReceived(b"two\n")
    assert protocol.received == [b"one", None]
    protocol.drain()
    assert protocol.received == [b"one", None]


def test_the_peers_own_end_counts_once() -> None:
    house = House()
    protocol = house.connect("stays", quiet(Stays)).protocol
    protocol.readConnectionLost()
    house.drain.start()
    house.turn()
    assert protocol.received == [None]
