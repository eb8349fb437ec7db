"""A configured listener: its addresses open all or none, and what is said when one can't."""

import errno
import os

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface import implementer

from tcpd import listener as listener_module
from tcpd import plain_errors
from tcpd.endpoint import ServerEndpoint
from tcpd.errors import StartError
from tcpd.events import Bus, ListenerChanged
from tcpd.listener import Door, Listener
from tcpd.serving import Serving
from tcpd.session import Origin


class OpenPort:
    def __init__(self, number, closed):
        self.number = number
        self._closed = closed

    def getHost(self):
        return IPv4Address("TCP", "127.0.0.1", self.number)

    def stopListening(self):
        self._closed.append(self.number)
        return succeed(None)


@implementer(IStreamServerEndpoint)
class Scripted:
    """An endpoint that answers as the test says: a Deferred each time."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = 0

    def listen(self, factory):
        self.asked += 1
        return self._answers.pop(0)


class House:
    """A listener on scripted endpoints, and what it reported."""

    def __init__(self, monkeypatch, *endpoints):
        self.events = []
        self.closed = []
        bus = Bus()
        bus.subscribe(ListenerChanged, self.events.append)
        origin = Origin(name="main", handler="echo", role="listener", bus=bus, clock=Clock())
        script = iter(endpoints)
        monkeypatch.setattr(listener_module, "server_endpoint", lambda *_: next(script))
        addresses = [ServerEndpoint.parse(f"tcp:{1000 + n}") for n in range(len(endpoints))]
        serving = Serving(origin, Factory.forProtocol(Protocol))
        self.listener = Listener(object(), addresses, serving)

    def port(self, number):
        return OpenPort(number, self.closed)

    @property
    def said(self):
        return [(event.address, event.up) for event in self.events]


def in_use():
    return fail(CannotListenError("", 1001, OSError(errno.EADDRINUSE, "Address already in use")))


def test_all_addresses_open_and_each_is_told_once(monkeypatch) -> None:
    one, two = Deferred(), Deferred()
    house = House(monkeypatch, Scripted(one), Scripted(two))
    one.callback(house.port(1))
    two.callback(house.port(2))
    with capturedLogs() as logs:
        house.listener.privilegedStartService()
        house.listener.startService()  # finds them open
    assert house.said == [("127.0.0.1:1", True), ("127.0.0.1:2", True)]
    first, _ = [event["record"] for event in logs]
    assert first == {"listener": "main", "address": "127.0.0.1:1", "up": True, "handler": "echo"}
    assert [port.number for port in house.listener.ports] == [1, 2]
    with capturedLogs() as logs:
        stopping = house.listener.stopService()
    assert stopping.called
    assert house.said[2:] == [("127.0.0.1:1", False), ("127.0.0.1:2", False)]
    assert house.closed == [1, 2]
    assert len(logs) == 2


def test_if_one_cannot_be_opened_none_stays_open_and_none_is_told(monkeypatch) -> None:
    first = Deferred()
    third = Scripted(Deferred())
    house = House(monkeypatch, Scripted(first), Scripted(in_use()), third)
    first.callback(house.port(1))
    with capturedLogs() as logs, pytest.raises(StartError) as caught:
        house.listener.privilegedStartService()
    assert str(caught.value) == "listener 'main' cannot listen on *:1001: address already in use"
    assert caught.value.code == f"tcpd: {caught.value}"
    assert house.closed == [1]
    assert house.listener.ports == []
    assert third.asked == 0
    assert (house.said, logs) == ([], [])


def test_a_handler_that_fails_to_start_is_not_blamed_on_the_address(monkeypatch) -> None:
    first = Deferred()
    problem = StartError("the handler x failed to start")
    house = House(monkeypatch, Scripted(first), Scripted(fail(problem)))
    first.callback(house.port(1))
    with pytest.raises(StartError) as caught:
        house.listener.startService()
    assert caught.value is problem
    assert house.closed == [1]


def test_after_a_failed_start_it_may_be_started_again(monkeypatch) -> None:
    house = House(monkeypatch, Scripted(in_use(), Deferred()))
    with pytest.raises(StartError):
        house.listener.startService()
    house.listener.stopService()
    house.listener.startService()
    assert house.listener.running


def test_an_address_that_takes_its_time_is_told_when_it_opens(monkeypatch) -> None:
    later = Deferred()
    endpoint = Scripted(later)
    house = House(monkeypatch, endpoint)
    house.listener.privilegedStartService()
    house.listener.startService()
    assert (house.said, endpoint.asked) == ([], 1)
    later.callback(house.port(7))
    assert house.said == [("127.0.0.1:7", True)]


def test_an_address_that_fails_late_is_not_passed_over_in_silence(monkeypatch) -> None:
    later = Deferred()
    house = House(monkeypatch, Scripted(later))
    house.listener.startService()
    with capturedLogs() as logs:
        later.errback(CannotListenError("", 1000, OSError(errno.EMFILE, "Too many open files")))
    (record,) = logs
    assert record["log_level"].name == "critical"
    assert str(record["problem"]) == (
        "listener 'main' cannot listen on *:1000: too many open files"
    )


def test_what_is_stopped_before_it_is_open_never_opens(monkeypatch) -> None:
    cancelled = []
    later = Deferred(cancelled.append)
    house = House(monkeypatch, Scripted(later))
    house.listener.startService()
    with capturedLogs() as logs:
        house.listener.stopService()
    assert cancelled == [later]
    assert (house.said, logs) == ([], [])


def test_it_can_be_stopped_and_started_again(monkeypatch) -> None:
    one, two = Deferred(), Deferred()
    house = House(monkeypatch, Scripted(one, two))
    one.callback(house.port(1))
    two.callback(house.port(2))
    house.listener.startService()
    house.listener.stopService()
    house.listener.startService()
    assert house.said == [("127.0.0.1:1", True), ("127.0.0.1:1", False), ("127.0.0.1:2", True)]


UNIX = "unix:/no/such/x.sock"


@pytest.mark.parametrize(
    ("text", "error", "first", "says"),
    [
        ("tcp:80", errno.EADDRINUSE, 1024, "address already in use"),
        (
            "tcp:80",
            errno.EACCES,
            1024,
            "permission denied; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE",
        ),
        ("tcp:80", errno.EACCES, 80, "permission denied"),  # then it is something else
        ("tcp:8080", errno.EACCES, 1024, "permission denied"),
        (UNIX, errno.EACCES, 1024, "permission denied"),
        (UNIX, errno.ENOENT, 1024, "there is no such directory"),
        (
            "tcp:80:interface=192.0.2.1",
            errno.EADDRNOTAVAIL,
            1024,
            "this machine has no such address; 'ip address' lists those it has",
        ),
        ("tcp:80", errno.EMFILE, 1024, "too many open files"),
    ],
)
def test_why_an_address_cannot_be_opened(
    text: str, error: int, first: int, says: str, monkeypatch
) -> None:
    monkeypatch.setattr(plain_errors, "_first_free_port", lambda: first)
    cause = OSError(error, os.strerror(error))
    house = House(monkeypatch, Scripted(fail(CannotListenError("", 80, cause))))
    house.listener.doors = [
        Door(ServerEndpoint.parse(text), house.listener.doors[0].endpoint, None),
    ]
    with pytest.raises(StartError) as caught:
        house.listener.startService()
    assert str(caught.value).endswith(f": {says}")


@pytest.mark.parametrize("error", [ValueError("no luck"), CannotListenError("", 1, "no luck")])
def test_other_reasons_are_given_as_they_are(error: Exception, monkeypatch) -> None:
    house = House(monkeypatch, Scripted(fail(error)))
    with pytest.raises(StartError, match="no luck"):
        house.listener.startService()
