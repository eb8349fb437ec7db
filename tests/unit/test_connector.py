"""The reconnecting client service, on a clock and an endpoint that does as the test says."""

import errno
from dataclasses import replace

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionRefusedError,
    DNSLookupError,
    NoProtocol,
    TimeoutError,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tcpd.admission.deadlines import ConnectorDeadlines
from tcpd.config.schema import Reconnect
from tcpd.connector import Connector
from tcpd.errors import StartError
from tcpd.events import Bus, ConnectorChanged, SessionClosed, SessionOpened
from tcpd.handler_life import HandlerLife
from tcpd.net.tls_transport import HandshakeError
from tcpd.serving import Terms
from tcpd.session import Origin
from tcpd.tries import Tries
from tcpd.units import Seconds

STEADY = Reconnect(initial=Seconds(1), max=Seconds(8), factor=2.0, jitter=0.0)
REFUSED = "connection refused"


@implementer(IStreamClientEndpoint)
class Scripted:
    """An endpoint whose tries the test answers."""

    def __init__(self):
        self.tries = []

    def connect(self, factory):
        self.factory = factory
        self.tries.append(Deferred())
        return self.tries[-1]

    def refuse(self):
        self.tries[-1].errback(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))

    def accept(self):
        """Answer the last try with a connection; returns what loses it."""
        protocol = self.factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        self.tries[-1].callback(protocol)
        self.transport = transport

        def lose():
            protocol.connectionLost(Failure(ConnectionDone()))

        return lose


class Quiet(Factory):
    noisy = False
    protocol = Protocol


class House:
    """A connector and everything that it reports."""

    def __init__(self, reconnect=STEADY, factory=None):
        self.clock, self.endpoint, self.events = Clock(), Scripted(), []
        self.bus = bus = Bus()
        bus.subscribe(ConnectorChanged, lambda event: self.events.append(event.state))
        self.sessions = []
        for kind in (SessionOpened, SessionClosed):
            bus.subscribe(kind, self.sessions.append)
        self.connector = Connector(
            self.clock,
            self.endpoint,
            factory or Quiet(),
            name="uplink",
            reconnect=reconnect,
            bus=bus,
        )
        self.connector.startService()

    @property
    def tried(self):
        return len(self.endpoint.tries)

    def next_pause(self):
        """Let time pass until the next try; returns how many seconds that took."""
        self.clock.advance(0)
        (call,) = self.clock.getDelayedCalls()
        seconds = call.getTime() - self.clock.seconds()
        before = self.tried
        self.clock.advance(seconds)
        assert self.tried == before + 1
        return seconds


def logged(logs, least=LogLevel.info):
    return [event["detail"] for event in logs if event["log_level"] >= least and "detail" in event]


def test_its_endpoint_is_one() -> None:
    assert verifyObject(IStreamClientEndpoint, Tries(Scripted(), None))


def test_pauses_grow_by_the_factor_up_to_the_cap() -> None:
    house = House()
    pauses = []
    for _ in range(6):
        house.endpoint.refuse()
        pauses.append(house.next_pause())
    assert pauses == [1, 2, 4, 8, 8, 8]


def test_state_changes_are_told_once_each_and_not_once_a_try() -> None:
    with capturedLogs() as logs:
        house = House()
        for _ in range(5):
            house.endpoint.refuse()
            house.next_pause()
        lose = house.endpoint.accept()
        house.clock.advance(100)
        lose()
        house.next_pause()
        house.endpoint.accept()
        house.connector.stopService()
    expected = ["connecting", "retrying", "connected", "retrying", "connected", "stopped"]
    assert house.events == expected
    where = "<"  # an endpoint of the test's own, by its repr
    texts = logged(logs)
    assert len(texts) == 6
    assert texts[1].startswith(f"can't connect to {where}")
    assert texts[1].endswith(f"{REFUSED}; tries again, with pauses from 1s to 8s")
    assert texts[2].endswith(" at try 6")
    assert texts[3].endswith("; connects again in 1s")
    visible = [event for event in logs if event["log_level"] >= LogLevel.info]
    assert len(visible) == 6  # ClientService itself says nothing above debug
    assert visible[1]["record"]["state"] == "retrying"


def test_each_failed_try_is_there_for_who_looks_at_debug() -> None:
    with capturedLogs() as logs:
        house = House()
        for _ in range(3):
            house.endpoint.refuse()
            house.next_pause()
    tries = [
        event["tries"] for event in logs if event["log_level"] is LogLevel.debug and "why" in event
    ]
    assert tries == [1, 2, 3]


def test_pauses_begin_anew_after_a_connection_that_lasted() -> None:
    house = House()
    for _ in range(3):
        house.endpoint.refuse()
        house.next_pause()
    lose = house.endpoint.accept()
    house.clock.advance(1)
    lose()
    assert house.next_pause() == 1


def test_a_server_that_accepts_and_closes_is_tried_ever_more_seldom() -> None:
    house = House()
    pauses = []
    for _ in range(6):
        house.endpoint.accept()()
        pauses.append(house.next_pause())
    assert pauses == [1, 2, 4, 8, 8, 8]


def test_it_gives_up_once_after_as_many_failures_in_a_row_as_it_may_have() -> None:
    with capturedLogs() as logs:
        house = House(replace(STEADY, tries=3))
        waiting = house.connector.whenConnected()
        house.endpoint.refuse()
        house.next_pause()
        house.endpoint.accept()()  # a connection: counts anew
        for _ in range(3):
            house.next_pause()
            house.endpoint.refuse()
        late = house.connector.whenConnected()
        house.clock.advance(0)
    assert house.connector.state == "gave-up"
    counts = house.connector.serving.counts
    assert (counts.tries, counts.failed_tries, counts.handshake_failures) == (5, 4, 0)
    assert house.events.count("gave-up") == 1
    assert not house.connector.running
    assert house.clock.getDelayedCalls() == []
    assert logged(logs, LogLevel.error)[0].endswith(f"after 3 tries: {REFUSED}")
    assert len(logged(logs, LogLevel.error)) == 1
    assert waiting.called
    late.addErrback(lambda failure: failure.trap(CancelledError))
    house.connector.stopService()
    assert house.events[-1] == "gave-up"


def test_after_giving_up_it_may_be_started_again_with_as_many_tries() -> None:
    house = House(replace(STEADY, tries=2))
    for again in range(2):
        house.endpoint.refuse()
        house.next_pause()
        house.endpoint.refuse()
        house.clock.advance(0)
        assert house.events.count("gave-up") == again + 1
        house.connector.startService()
    assert house.connector.state == "connecting"


def test_stopped_and_started_amid_giving_up_it_goes_on() -> None:
    house = House(replace(STEADY, tries=1))
    house.endpoint.refuse()
    house.connector.stopService()
    house.connector.startService()
    house.clock.advance(0)
    assert house.connector.running
    assert house.tried == 2


def test_stopping_while_it_connects_cancels_the_try() -> None:
    house = House()
    waiting = house.connector.whenConnected()
    stopping = house.connector.stopService()
    house.clock.advance(0)
    assert stopping.called
    assert house.events == ["connecting", "stopped"]
    waiting.addErrback(lambda failure: failure.trap(CancelledError))
    assert house.clock.getDelayedCalls() == []


def test_stopping_while_it_waits_ends_the_wait() -> None:
    house = House()
    house.endpoint.refuse()
    stopping = house.connector.stopService()
    house.clock.advance(0)
    assert stopping.called
    assert house.events == ["connecting", "retrying", "stopped"]
    assert house.clock.getDelayedCalls() == []


def test_stopping_while_connected_closes_and_waits_for_the_end() -> None:
    house = House()
    lose = house.endpoint.accept()
    stopping = house.connector.stopService()
    assert house.endpoint.transport.disconnecting
    lose()
    assert not stopping.called
    house.clock.advance(0)
    assert stopping.called
    assert house.events == ["connecting", "connected", "stopped"]
    assert house.sessions[-1].reason == "shutdown"
    assert house.clock.getDelayedCalls() == []


@pytest.mark.parametrize("state", ["connected", "retrying", "gave-up"])
def test_who_hears_of_a_change_of_state_may_stop_it(state: str) -> None:
    house = House(replace(STEADY, tries=2))
    stopped = []

    def stop(event: ConnectorChanged) -> None:
        if event.state == state and not stopped:
            house.connector.stopService().addCallback(stopped.append)

    house.bus.subscribe(ConnectorChanged, stop)
    house.endpoint.refuse()
    if state != "retrying":
        house.next_pause()
        if state == "connected":
            house.endpoint.accept()
        else:
            house.endpoint.refuse()
    house.clock.advance(0)
    if state == "connected":
        assert house.endpoint.transport.disconnecting
    else:
        house.clock.advance(0)
        assert stopped == [None]
        assert house.clock.getDelayedCalls() == []
    assert not house.connector.running


def test_callbacks_may_ask_the_service_for_more() -> None:
    house = House()
    done = []

    async def use() -> None:
        await house.connector.whenConnected()
        stopping = house.connector.stopService()
        lose()
        await stopping
        await house.connector.stopService()
        done.append(True)

    Deferred.fromCoroutine(use())
    lose = house.endpoint.accept()
    for _ in range(3):
        house.clock.advance(0)
    assert done == [True]


def test_what_is_stopped_twice_or_never_started_says_nothing() -> None:
    connector = Connector(Clock(), Scripted(), Quiet())
    with capturedLogs() as logs:
        connector.stopService()
    assert (logs, connector.state) == ([], "idle")
    house = House()
    house.connector.stopService()
    house.connector.stopService()
    assert house.events == ["connecting", "stopped"]


def test_started_twice_it_connects_once() -> None:
    house = House()
    house.connector.startService()
    assert (house.tried, house.events) == (1, ["connecting"])


def test_when_connected_gives_the_handlers_own_protocol() -> None:
    class Mine(Protocol):
        pass

    house = House(factory=Quiet.forProtocol(Mine))
    heard = []
    house.connector.whenConnected().addCallback(heard.append)
    house.endpoint.accept()
    house.connector.whenConnected().addCallback(heard.append)
    house.clock.advance(0)
    assert [type(each) for each in heard] == [Mine, Mine]
    assert heard[0] is heard[1]


def test_when_connected_fails_if_the_handler_refused() -> None:
    class Refuses(Quiet):
        def buildProtocol(self, addr):
            return None

    house = House(factory=Refuses())
    waiting = house.connector.whenConnected()
    house.endpoint.accept()
    caught = []
    waiting.addErrback(caught.append)
    house.clock.advance(0)
    assert caught[0].check(NoProtocol)


def test_when_connected_fails_after_as_many_tries_as_were_asked_for() -> None:
    house = House()
    caught = []
    house.connector.whenConnected(failAfterFailures=1).addErrback(caught.append)
    house.endpoint.refuse()
    house.clock.advance(0)
    assert caught[0].check(ConnectionRefusedError)


def test_each_connection_is_a_session_and_ends_once() -> None:
    house = House()
    for _ in range(3):
        house.endpoint.accept()()
        house.next_pause()
    kinds = [type(event) for event in house.sessions]
    assert kinds == [SessionOpened, SessionClosed] * 3
    assert house.sessions[0].fields()["connector"] == "uplink"
    assert house.sessions[0].identity.handler == "Quiet"


def test_the_factory_starts_and_stops_with_the_service_not_with_each_try() -> None:
    class Loud(Factory):
        protocol = Protocol
        told = []

        def startFactory(self):
            self.told.append("start")

        def stopFactory(self):
            self.told.append("stop")

    house = House(factory=Loud())
    for _ in range(3):
        house.endpoint.factory.doStart()  # as Twisted's connectors do at each try
        house.endpoint.factory.doStop()
        house.endpoint.refuse()
        house.next_pause()
    assert Loud.told == ["start"]
    house.connector.stopService()
    house.clock.advance(0)
    assert Loud.told == ["start", "stop"]


def test_other_pauses_and_terms_leave_the_connection_alone() -> None:
    house = House()
    serving = house.connector.serving
    lose = house.endpoint.accept()
    (session,) = serving.origin.sessions.values()
    origin = Origin(
        name="uplink", handler="Quiet", role="connector", bus=house.bus, clock=house.clock
    )
    deadlines = ConnectorDeadlines(lifetime=Seconds(9))
    terms = Terms(origin, serving.factory, deadlines, HandlerLife(serving.factory, "Quiet"))
    house.connector.change(replace(STEADY, initial=Seconds(5)), terms)
    assert house.connector.state == "connected"
    assert [(lot, [*sessions]) for lot, sessions in serving.lots()] == [
        (deadlines, []),
        (None, [session]),
    ]
    lose()
    assert house.next_pause() == 5
    house.endpoint.accept()
    assert len(origin.sessions) == 1


def test_a_handler_may_be_started_before_the_service_and_stopped_without_it() -> None:
    told = []

    class Loud(Quiet):
        def startFactory(self):
            told.append("start")

        def stopFactory(self):
            told.append("stop")

    connector = Connector(Clock(), Scripted(), Loud())
    connector.start_handler()
    connector.start_handler()
    connector.stop_handler()
    connector.stop_handler()
    assert told == ["start", "stop"]
    connector.start_handler()
    connector.startService()
    assert told == ["start", "stop", "start"]


def test_a_handler_that_fails_to_start_is_told_and_nothing_is_tried() -> None:
    class Broken(Quiet):
        def startFactory(self):
            raise KeyError("x")

    endpoint, clock = Scripted(), Clock()
    connector = Connector(clock, endpoint, Broken(), handler="broken")
    with pytest.raises(StartError, match="handler broken failed to start: KeyError: 'x' "):
        connector.startService()
    assert (connector.state, connector.running) == ("idle", False)
    assert not endpoint.tries
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectError(errno.ENOENT, "No such file or directory"), "no such file or directory"),
        (TimeoutError(), "timed out"),
        (DNSLookupError("no results for x"), "DNS lookup failed: no results for x"),
        (HandshakeError(string="it hung up"), "the TLS handshake failed: it hung up"),
        (ConnectionRefusedError(), "Connection was refused by other side"),
    ],
)
def test_why_a_try_failed_is_in_plain_words(error: Exception, words: str) -> None:
    with capturedLogs() as logs:
        house = House(replace(STEADY, tries=1))
        house.endpoint.tries[-1].errback(error)
    assert logged(logs)[1].endswith(words)


def test_what_went_wrong_is_escaped() -> None:
    with capturedLogs() as logs:
        house = House()
        house.endpoint.tries[-1].errback(ValueError("bad\x1b[31m\nthing"))
    assert r"bad\x1b[31m\nthing" in logged(logs)[-1]


def test_a_string_that_is_no_endpoint_says_what_would_be_right() -> None:
    from twisted.internet import reactor

    with pytest.raises(ValueError, match=r"write 'tcp:127\.0\.0\.1:7000'"):
        Connector(reactor, "127.0.0.1:7000", Quiet())
