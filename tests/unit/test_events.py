"""Events as records, and the bus that carries them."""

from dataclasses import FrozenInstanceError

import pytest
from twisted.logger import capturedLogs

from tcpd.events import (
    Bus,
    ConnectorChanged,
    Event,
    HandlerEvent,
    HandlerFailed,
    Identity,
    ListenerChanged,
    SessionClosed,
    SessionEvent,
    SessionOpened,
    host_and_port,
)

IDENTITY = Identity(
    session_id="ab-1",
    listener="main",
    handler="echo",
    client_address="192.0.2.1",
    client_port=5000,
    local_address="192.0.2.9:80",
)
NAMED = {
    "session.id": "ab-1",
    "listener": "main",
    "handler": "echo",
    "client.address": "192.0.2.1",
    "client.port": 5000,
    "network.local.address": "192.0.2.9:80",
}


@pytest.mark.parametrize(
    ("event", "more"),
    [
        (SessionOpened(identity=IDENTITY), {}),
        (
            SessionClosed(identity=IDENTITY, bytes_in=1, bytes_out=2, duration=1.5, reason="lost"),
            {"bytes.in": 1, "bytes.out": 2, "duration": 1.5, "close.reason": "lost"},
        ),
        (HandlerFailed(identity=IDENTITY, error="oh"), {"error": "oh"}),
        (
            HandlerEvent(identity=IDENTITY, name="login", data={"user": "a"}),
            {"event.name": "login", "user": "a"},
        ),
    ],
)
def test_records_of_a_session_bear_its_identity(event: SessionEvent, more: dict) -> None:
    assert event.fields() == {**NAMED, **more}


def test_a_connectors_session_bears_the_connectors_name_as_such() -> None:
    expected = {("connector" if key == "listener" else key): NAMED[key] for key in NAMED}
    assert IDENTITY._replace(role="connector").fields() == expected


def test_the_proxy_that_told_of_a_client_has_a_name_of_its_own() -> None:
    hop = IDENTITY._replace(hop_address="10.0.0.1")
    assert hop.fields() == {**NAMED, "network.peer.address": "10.0.0.1"}
    event = HandlerEvent(identity=hop, name="login", data={"network.peer.address": "forged"})
    assert event.fields()["network.peer.address"] == "10.0.0.1"


def test_a_handlers_data_never_replaces_who_the_session_is() -> None:
    lies = {**dict.fromkeys(NAMED, "lie"), "event.name": "lie"}
    event = HandlerEvent(identity=IDENTITY, name="login", data=lies)
    assert event.fields() == {**NAMED, "event.name": "login"}


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (
            ListenerChanged(listener="a", address="127.0.0.1:1", up=True),
            {"listener": "a", "address": "127.0.0.1:1", "up": True},
        ),
        (
            ConnectorChanged(connector="a", state="connected", detail="b"),
            {"connector": "a", "state": "connected", "detail": "b"},
        ),
    ],
)
def test_records_of_services_say_which_and_what(event: Event, fields: dict) -> None:
    assert event.fields() == fields


def test_events_are_values() -> None:
    assert SessionOpened(identity=IDENTITY) == SessionOpened(identity=IDENTITY)
    with pytest.raises(AttributeError):
        IDENTITY.session_id = "other"
    with pytest.raises(FrozenInstanceError):
        OPENED.identity = IDENTITY


@pytest.mark.parametrize(
    ("host", "port", "shown"),
    [
        ("192.0.2.1", 80, "192.0.2.1:80"),
        ("2001:db8::1", 80, "[2001:db8::1]:80"),
        ("unix", 0, "unix"),
    ],
)
def test_addresses_are_written_one_way(host: str, port: int, shown: str) -> None:
    assert host_and_port(host, port) == shown


OPENED = SessionOpened(identity=IDENTITY)
FAILED = HandlerFailed(identity=IDENTITY, error="oh")


def test_each_subscriber_gets_the_events_of_exactly_its_class() -> None:
    bus, opened, general = Bus(), [], []
    bus.subscribe(SessionOpened, opened.append)
    bus.subscribe(SessionEvent, general.append)
    bus.emit(OPENED)
    bus.emit(FAILED)
    assert (opened, general) == ([OPENED], [])


def test_subscribers_are_told_in_the_order_in_which_they_came() -> None:
    bus, heard = Bus(), []
    for name in "abc":
        bus.subscribe(SessionOpened, lambda event, name=name: heard.append(name))
    bus.emit(OPENED)
    assert heard == ["a", "b", "c"]


def test_a_subscriber_that_raises_harms_nobody_and_is_logged() -> None:
    bus, heard = Bus(), []
    bus.subscribe(SessionOpened, lambda event: 1 / 0)
    bus.subscribe(SessionOpened, heard.append)
    with capturedLogs() as logs:
        bus.emit(OPENED)
        bus.emit(OPENED)
    assert heard == [OPENED, OPENED]
    assert [each["log_failure"].type for each in logs] == [ZeroDivisionError] * 2
    assert logs[0]["event"] == "SessionOpened"


def test_wants_says_whether_anybody_listens() -> None:
    bus = Bus()
    assert not bus.wants(SessionOpened)
    unsubscribe = bus.subscribe(SessionOpened, print)
    assert bus.wants(SessionOpened)
    assert not bus.wants(SessionEvent)
    unsubscribe()
    assert not bus.wants(SessionOpened)


def test_a_subscriber_may_leave_while_an_event_is_on_its_way() -> None:
    bus, heard = Bus(), []

    def once(event: Event) -> None:
        heard.append("once")
        leave()

    leave = bus.subscribe(SessionOpened, once)
    bus.subscribe(SessionOpened, lambda event: heard.append("always"))
    bus.emit(OPENED)
    bus.emit(OPENED)
    assert heard == ["once", "always", "always"]


def test_who_has_left_hears_nothing_more_even_of_an_event_on_its_way() -> None:
    bus, heard = Bus(), []
    bus.subscribe(SessionOpened, lambda event: leave())
    leave = bus.subscribe(SessionOpened, heard.append)
    bus.emit(OPENED)
    assert heard == []


def test_who_comes_while_an_event_is_on_its_way_hears_the_next() -> None:
    bus, heard = Bus(), []

    def invite(event: Event) -> None:
        if not heard:
            bus.subscribe(SessionOpened, heard.append)

    bus.subscribe(SessionOpened, invite)
    bus.emit(OPENED)
    assert heard == []
    bus.emit(OPENED)
    assert len(heard) == 1


def test_subscriptions_of_one_subscriber_end_one_by_one() -> None:
    bus, heard = Bus(), []
    leave = bus.subscribe(SessionOpened, heard.append)
    bus.subscribe(SessionOpened, heard.append)
    leave()
    leave()  # a second time is none
    bus.emit(OPENED)
    assert heard == [OPENED]
