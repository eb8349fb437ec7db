"""Other terms for sessions to come: who keeps what, and when a handler is started and stopped."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpd.admission.deadlines import Deadlines
from tcpd.errors import StartError
from tcpd.events import Bus
from tcpd.handler_life import HandlerLife
from tcpd.serving import Serving, Terms
from tcpd.session import Origin
from tcpd.testing import MemoryTransport

PEER = IPv4Address("TCP", "192.0.2.7", 5000)
HOST = IPv4Address("TCP", "192.0.2.1", 80)
DONE = Failure(ConnectionDone())


class Handler(Factory):
    """Notes its starts and stops, under a name."""

    protocol = Protocol
    noisy = False

    def __init__(self, name, told):
        self.name = name
        self.told = told

    def startFactory(self):
        self.told.append(f"{self.name} starts")

    def stopFactory(self):
        self.told.append(f"{self.name} stops")


class House:
    """A serving with one open port, and what its handlers were told."""

    def __init__(self):
        self.clock = Clock()
        self.told = []
        self.one = Handler("one", self.told)
        self.two = Handler("two", self.told)
        self.serving = Serving(self.origin(), self.one, Deadlines())
        self.serving.doStart()

    def origin(self):
        return Origin(name="main", handler="x", role="listener", bus=Bus(), clock=self.clock)

    def terms(self, factory, **deadlines):
        origin = self.origin()
        return Terms(origin, factory, Deadlines(**deadlines), HandlerLife(factory, "x"))

    def change(self, factory, **deadlines):
        """Change the terms as a reload does, which starts the handler first."""
        terms = self.terms(factory, **deadlines)
        terms.life.begin_use()
        self.serving.change(terms)
        terms.life.end_use()

    def accept(self):
        transport = MemoryTransport(self.clock, PEER, HOST)
        self.serving.accept(transport)
        return transport

    def lots(self):
        return [(lot.idle, len(sessions)) for lot, sessions in self.serving.lots()]


def end(transport):
    transport.protocol.connectionLost(DONE)
    transport.observer.transport_closed(DONE)


def test_sessions_to_come_get_the_new_handler_and_open_ones_keep_theirs() -> None:
    house = House()
    early = house.accept()
    house.change(house.two)
    late = house.accept()
    assert early.protocol.factory is house.one
    assert late.protocol.factory is house.two


def test_the_old_handler_is_stopped_once_its_last_session_has_ended() -> None:
    house = House()
    early, earlier = house.accept(), house.accept()
    house.change(house.two)
    house.accept()
    assert house.told == ["one starts", "two starts"]
    end(early)
    assert house.told == ["one starts", "two starts"]
    end(earlier)
    assert house.told == ["one starts", "two starts", "one stops"]
    house.serving.doStop()
    assert house.told[3:] == []  # its session goes on


def test_a_handler_without_sessions_is_stopped_at_once() -> None:
    house = House()
    house.change(house.two)
    assert house.told == ["one starts", "two starts", "one stops"]


def test_each_open_port_is_a_start_less_for_the_one_and_more_for_the_other() -> None:
    house = House()
    house.serving.doStart()
    house.change(house.two)
    assert (house.one.numPorts, house.two.numPorts) == (0, 1)
    house.serving.doStop()
    assert house.told[-1] == "one stops"
    house.serving.doStop()
    assert house.told[-1] == "two stops"


def test_sessions_keep_the_deadlines_that_they_began_with() -> None:
    house = House()
    early = house.accept()
    house.change(house.one, idle=5.0)
    house.accept()
    house.change(house.one, idle=7.0)
    assert house.lots() == [(7.0, 0), (600.0, 1), (5.0, 1)]
    end(early)
    assert house.lots() == [(7.0, 0), (5.0, 1)]


def test_the_same_handler_on_other_terms_is_neither_started_nor_stopped() -> None:
    house = House()
    early = house.accept()
    house.change(house.one, idle=5.0)
    end(early)
    house.change(house.one, idle=6.0)
    assert house.told == ["one starts"]
    house.change(house.two)
    assert house.told == ["one starts", "two starts", "one stops"]


def test_a_handler_that_comes_back_is_started_anew_beside_its_former_self() -> None:
    house = House()
    early = house.accept()
    house.change(house.two)
    house.change(house.one)
    assert house.told == ["one starts", "two starts", "two stops"]
    end(early)
    assert house.told[3:] == []  # in use still
    house.serving.doStop()
    assert house.told[3:] == ["one stops"]


def test_who_is_amid_a_handshake_is_served_on_the_new_terms() -> None:
    house = House()
    transport = MemoryTransport(house.clock, PEER, HOST)
    house.serving.arriving(transport)
    house.change(house.two)
    house.serving.accept(transport)
    assert transport.protocol.factory is house.two


def test_a_closed_ports_handler_waits_for_handshakes_and_their_sessions() -> None:
    house = House()
    transport, other = (MemoryTransport(house.clock, PEER, HOST) for _ in range(2))
    transport.stage = other.stage = "handshake"  # as a port's own transports have it
    gone = []
    house.serving.arriving(transport)
    house.serving.arriving(other)
    house.serving.doStop()
    house.serving.once_gone(lambda: gone.append("gone"))
    house.serving.accept(transport)
    end(transport)
    assert (house.told, gone) == (["one starts"], [])
    house.serving.abandoned(other, DONE)
    assert (house.told, gone) == (["one starts", "one stops"], ["gone"])


def test_what_waits_for_everybody_to_be_gone_is_called_after_the_last_of_all_terms() -> None:
    house = House()
    early = house.accept()
    house.change(house.two)
    late = house.accept()
    gone = []
    house.serving.once_gone(lambda: gone.append("gone"))
    end(late)
    house.serving.doStop()
    assert gone == []
    end(early)
    assert gone == ["gone"]
    house.serving.once_gone(lambda: gone.append("again"))
    assert gone == ["gone", "again"]


def test_a_stop_of_ours_marks_the_sessions_of_former_terms_too() -> None:
    house = House()
    early = house.accept()
    house.change(house.two)
    house.serving.expect_shutdown()
    assert early.observer.stopping


def test_a_handler_that_fails_to_start_leaves_its_life_as_it_was() -> None:
    house = House()
    house.two.startFactory = lambda: 1 / 0
    terms = house.terms(house.two)
    with pytest.raises(StartError, match="the handler x failed to start: ZeroDivisionError"):
        terms.life.begin_use()
    assert house.told == ["one starts"]
