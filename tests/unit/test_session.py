"""A session: who it is, what it reads off its transport, and its one end."""

import json
import subprocess
import sys

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tcpd.events import Bus, HandlerEvent, HandlerFailed, SessionClosed, SessionOpened
from tcpd.session import Origin, Session, address_and_port, format_address
from tcpd.sinks.log_format import format_json

DONE = Failure(ConnectionDone())


class Transport:
    def __init__(self, peer=None, host=None):
        self.peer = peer or IPv4Address("TCP", "192.0.2.7", 5000)
        self.host = host or IPv4Address("TCP", "192.0.2.1", 80)
        self.bytes_in = self.bytes_out = 0
        self.close_cause = ""

    def getPeer(self):
        return self.peer

    def getHost(self):
        return self.host


class Recorder:
    def __init__(self):
        self.bus = Bus()
        self.clock = Clock()
        self.events = []
        for kind in (SessionOpened, SessionClosed, HandlerEvent, HandlerFailed):
            self.bus.subscribe(kind, self.events.append)
        self.origin = Origin(
            name="main", handler="echo", role="listener", bus=self.bus, clock=self.clock
        )

    def session(self, transport=None):
        return Session(self.origin, transport or Transport())


def test_ends_are_heeded_before_their_record_and_one_that_fails_harms_nobody():
    recorder, heeded = Recorder(), []
    recorder.bus.at_ends += [lambda session: 1 / 0, lambda session: heeded.append(session.record())]
    recorder.bus.subscribe(SessionClosed, lambda event: heeded.append("the record"))
    session = recorder.session()
    session.begin()
    recorder.clock.advance(2)
    with capturedLogs() as logged:
        session.transport_closed(DONE)
    assert heeded == [recorder.events[-1], "the record"]
    assert heeded[0].duration == 2
    assert [each["log_failure"].type for each in logged] == [ZeroDivisionError]


def test_ids_are_unique_in_a_process() -> None:
    one = Recorder()
    assert len({one.session().id for _ in range(1000)}) == 1000


def test_ids_are_unique_across_processes() -> None:
    program = "import tcpd.session as s; print(s.RUN)"
    runs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 2


def test_it_says_who_it_is_under_the_names_of_opentelemetry() -> None:
    session = Recorder().session()
    assert session.identity.fields() == {
        "session.id": session.id,
        "listener": "main",
        "handler": "echo",
        "client.address": "192.0.2.7",
        "client.port": 5000,
        "network.local.address": "192.0.2.1:80",
    }
    assert session.identity is session.identity
    assert (session.listener, session.handler) == ("main", "echo")


@pytest.mark.parametrize(
    ("hop", "address"),
    [(IPv6Address("TCP", "::ffff:10.0.0.1", 4000), "10.0.0.1"), (UNIXAddress(None), "unix")],
)
def test_it_names_the_proxy_that_told_of_its_client(hop, address) -> None:
    transport = Transport()
    transport.hop, transport.proxy = hop, object()
    session = Recorder().session(transport)
    assert session.identity.hop_address == address
    assert session.identity.fields()["network.peer.address"] == address
    assert session.identity.client_address == "192.0.2.7"
    assert session.proxy is transport.proxy
    assert Recorder().session().proxy is None


def test_its_counters_are_the_transports() -> None:
    session = Recorder().session()
    session.transport.bytes_in, session.transport.bytes_out = 3, 4
    assert (session.bytes_in, session.bytes_out) == (3, 4)


def test_it_is_opened_once_and_closed_once_with_totals_and_duration() -> None:
    recorder = Recorder()
    recorder.clock.advance(5)
    session = recorder.session()
    session.begin()
    assert recorder.events == [SessionOpened(identity=session.identity)]
    assert recorder.origin.sessions == {session.number: session}
    recorder.clock.advance(2.5)
    session.transport.bytes_in, session.transport.bytes_out = 10, 20
    session.transport.close_cause = "peer-closed"
    session.transport_closed(DONE)
    assert recorder.events[1:] == [
        SessionClosed(
            identity=session.identity, bytes_in=10, bytes_out=20, duration=2.5, reason="peer-closed"
        )
    ]
    assert session.close_reason == "peer-closed"
    assert recorder.origin.sessions == {}


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("handler-closed", "shutdown"), ("peer-closed", "peer-closed"), ("lost", "lost")],
)
def test_when_we_stop_what_nobody_else_ended_is_our_doing(cause: str, reason: str) -> None:
    session = Recorder().session()
    session.begin()
    session.stopping = True
    session.transport.close_cause = cause
    session.transport_closed(DONE)
    assert session.close_reason == reason


def test_with_nobody_listening_it_builds_no_identity() -> None:
    origin = Origin(name="main", handler="echo", role="listener", bus=Bus(), clock=Clock())
    session = Session(origin, Transport())
    session.begin()
    session.transport_closed(DONE)
    assert session._identity is None
    assert origin.sessions == {}


def test_what_a_handler_reports_bears_the_identity_whatever_it_says() -> None:
    recorder = Recorder()
    session = recorder.session()
    lies = {"session.id": "x", "client.address": "10.0.0.1", "listener": "other", "user": "a"}
    session.emit("login", **lies, name="a field", self="another")
    (event,) = recorder.events
    assert event.fields() == {
        **session.identity.fields(),
        "event.name": "login",
        "user": "a",
        "name": "a field",
        "self": "another",
    }


def test_its_log_bears_the_identity_whatever_the_handler_says() -> None:
    session = Recorder().session()
    with capturedLogs() as logs:
        session.log.info("hello {who}", who="world", record={"session.id": "lie", "more": 1})
    (event,) = logs
    assert event["record"] == {**session.identity.fields(), "more": 1}
    assert event["log_namespace"] == "tcpd.session.main"
    written = json.loads(format_json(event))
    assert written["message"] == "hello world"
    assert written["session.id"] == session.id


def test_a_handlers_failure_is_one_record_with_the_identity_and_one_event() -> None:
    recorder = Recorder()
    session = recorder.session()
    with capturedLogs() as logs:
        session.handler_failed(Failure(ValueError("bad \x1b[31m thing")))
    (record,) = logs
    assert record["log_failure"].check(ValueError)
    assert record["record"]["session.id"] == session.id
    (event,) = recorder.events
    assert event == HandlerFailed(identity=session.identity, error=r"bad \x1b[31m thing")


def test_a_proxy_may_tell_the_addresses_later() -> None:
    session = Recorder().session()
    assert session.identity.client_address == "192.0.2.7"
    session.transport.peer = IPv4Address("TCP", "198.51.100.1", 7)
    session.addresses_changed()
    assert session.identity.client_address == "198.51.100.1"
    assert session.identity.session_id == session.id


@pytest.mark.parametrize(
    ("address", "pair", "shown"),
    [
        (IPv4Address("TCP", "192.0.2.1", 80), ("192.0.2.1", 80), "192.0.2.1:80"),
        (IPv6Address("TCP", "2001:db8::1", 80), ("2001:db8::1", 80), "[2001:db8::1]:80"),
        # A dual-stack port reports IPv4 peers so.
        (IPv6Address("TCP", "::ffff:192.0.2.1", 80), ("192.0.2.1", 80), "192.0.2.1:80"),
        (IPv6Address("TCP", "::ffff:0:0:1", 80), ("::ffff:0:0:1", 80), "[::ffff:0:0:1]:80"),
        (UNIXAddress(b"/run/x.sock"), ("unix", 0), "unix:/run/x.sock"),
        (UNIXAddress(b"/run/\x1b\xff.sock"), ("unix", 0), None),
        (UNIXAddress(None), ("unix", 0), "unix"),
        ("PipeAddress\n", ("unknown", 0), r"PipeAddress\n"),
    ],
)
def test_addresses_in_records(address: object, pair: tuple, shown: str | None) -> None:
    assert address_and_port(address) == pair
    text = format_address(address)
    assert text.isprintable()
    assert shown is None or text == shown
