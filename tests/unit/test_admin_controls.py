"""Listeners that an operator suspends, resumes and drains: what is said of it, and when."""

import pytest
from helpers.admin_house import LISTENER
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

OTHER = LISTENER.replace("echo", "other")


def order(house, what, name="echo"):
    return house.change(f"/api/listeners/{name}/{what}")


def ready(house):
    reply = house.get("/readyz")
    return reply.status, reply.body.decode().strip()


def busy(house):
    """Have a session that doesn't end at once: its client doesn't read what it is owed."""
    house.connect(house.ports("echo")[0].getHost().port)
    house.session.transport.write(b"x" * 20_000_000)


def break_ports(house, name="echo"):
    with capturedLogs():
        for port in house.ports(name):
            port.connectionLost(Failure(OSError("broken")))


def test_an_order_is_an_event_at_each_address(house):
    address = f"127.0.0.1:{house.ports('echo')[0].getHost().port}"
    house.connect(house.ports("echo")[0].getHost().port)
    house.events.clear()
    for each in ("suspend", "suspend", "resume", "resume", "drain"):
        assert order(house, each).status == 200
    house.wait(5)
    told = [each.fields() for each in house.events]
    assert {(each["listener"], each["address"]) for each in told} == {("echo", address)}
    states = [(each["state"], each["up"]) for each in told]
    down = [(each, False) for each in ("draining", "suspended")]
    assert states == [("suspended", False), ("resumed", True), *down]


def test_who_reads_events_sees_it(house):
    reader = house.stream("/api/events?event=listener.changed")
    order(house, "suspend")
    ((_, told),) = house.told(reader)
    assert (told["state"], told["up"], told["listener"]) == ("suspended", False, "echo")


@pytest.mark.parametrize("what", ["suspend", "resume"])
def test_what_drains_is_neither_suspended_nor_resumed(house, what):
    busy(house)
    assert order(house, "drain").json["state"] == "draining"
    reply = order(house, what)
    assert reply.status == 409
    assert "is draining" in reply.json["error"]


@pytest.mark.parametrize("what", ["suspend", "resume"])
def test_what_is_down_is_neither_suspended_nor_resumed(house, what):
    break_ports(house)
    reply = order(house, what)
    assert reply.status == 409
    assert "is down" in reply.json["error"]
    assert not house.daemon.listeners["echo"].suspended


@pytest.mark.parametrize("what", ["suspend", "resume", "drain"])
def test_while_tcpd_stops_there_is_nothing_to_do(house, what):
    busy(house)
    assert isinstance(house.daemon.stopService(), Deferred)
    assert house.daemon.state == "draining"
    reply = order(house, what)
    assert reply.status == 409
    assert "is stopping" in reply.json["error"]


def test_it_is_ready_while_anybody_gets_in_anywhere(house):
    house.reload(house.configuration(listener=LISTENER + OTHER))
    order(house, "suspend")
    assert ready(house) == (200, "ready")
    order(house, "suspend", "other")
    assert ready(house) == (503, "suspended")
    order(house, "resume")
    assert ready(house) == (200, "ready")
    break_ports(house)
    assert ready(house) == (503, "closed")
    break_ports(house, "other")
    order(house, "resume", "other")
    assert ready(house)[0] == 503


def test_one_that_drains_or_is_down_isnt_ready(house):
    busy(house)
    order(house, "drain")
    assert ready(house) == (503, "draining")
    house.wait(40)
    assert ready(house) == (503, "suspended")
    order(house, "resume")
    break_ports(house)
    assert ready(house) == (503, "down")


def test_with_connectors_only_it_is_ready(house):
    connector = '[connectors.up]\nconnect = "tcp:127.0.0.1:1"\n'
    house.reload(house.configuration(listener=connector))
    assert not house.daemon.listeners
    assert ready(house) == (200, "ready")


def test_a_listener_does_not_drain_because_one_of_its_name_that_is_gone_does(house):
    busy(house)
    order(house, "drain")
    house.reload(house.configuration(listener=OTHER))
    house.reload(house.configuration(listener=LISTENER))
    house.connect(house.ports("echo")[0].getHost().port)
    assert ready(house) == (200, "ready")
    assert order(house, "suspend").json["state"] == "suspended"
    with capturedLogs() as found:
        assert order(house, "drain").json["sessions"] == 1
        house.wait(40)
    told = [formatEvent(each) for each in found if "drained" in each["log_format"]]
    ends = ("stays suspended", "is gone")
    assert told == [f"listener echo has drained, and {each}" for each in ends]
    assert ready(house) == (503, "suspended")
    assert order(house, "resume").json["state"] == "up"


def test_one_that_changes_while_it_drains_goes_on_draining(house):
    busy(house)
    order(house, "drain")
    house.reload(house.configuration(listener=LISTENER + "limits = { sessions = 5 }\n"))
    assert ready(house) == (503, "draining")
    house.wait(40)
    assert ready(house) == (503, "suspended")
