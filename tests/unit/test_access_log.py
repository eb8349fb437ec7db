"""The access log: one line for each session that ended."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from tcpd.events import Bus
from tcpd.session import Origin, Session
from tcpd.sinks.access_log import AccessLog
from tcpd.sinks.log_format import format_journal, format_json, format_text
from tcpd.sinks.log_output import LogOutput, open_log_file


@pytest.fixture
def events():
    caught = []
    globalLogPublisher.addObserver(caught.append)
    yield caught
    globalLogPublisher.removeObserver(caught.append)


class Transport:
    bytes_in, bytes_out = 10, 20

    def __init__(self, peer, close_cause):
        self.close_cause = close_cause
        self._peer = peer

    def getPeer(self):
        return self._peer

    def getHost(self):
        return IPv4Address("TCP", "192.0.2.9", 9999)


def end(access, port=5000, peer=None, reason="peer-closed", handler="./mine.py:Echo"):
    """Let a session begin and end, with the access log at its bus."""
    bus, clock = Bus(), Clock()
    bus.at_ends.append(access)
    origin = Origin(name="echo", handler=handler, role="listener", bus=bus, clock=clock)
    peer = peer or IPv4Address("TCP", "192.0.2.1", port)
    session = Session(origin, Transport(peer, reason))
    session.begin()
    clock.advance(1.2345678)
    session.transport_closed(Failure(ConnectionDone()))
    return session


def test_a_session_that_ended_is_one_line(events):
    session = end(AccessLog(None, Clock()))
    (event,) = events
    assert event["log_namespace"] == "tcpd.access"
    assert format_text(event).split(" info: ")[1] == (
        "192.0.2.1:5000 -> echo (./mine.py:Echo): 10 bytes in, 20 out, 1.23s,"
        f" peer-closed [{session.id}]\n"
    )


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        (IPv6Address("TCP", "2001:db8::1", 80), "[2001:db8::1]:80 -> "),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 80), "192.0.2.1:80 -> "),
        (UNIXAddress(b"/run/x"), "unix -> "),
    ],
)
def test_peers_are_shown_as_people_write_them(events, peer, shown):
    end(AccessLog(None, Clock()), peer=peer)
    assert format_text(events[0]).split(" info: ")[1].startswith(shown)


def test_json_carries_opentelemetrys_names(events):
    session = end(AccessLog(None, Clock()))
    record = json.loads(format_json(events[0]))
    assert record["level"] == "info"
    assert record["logger"] == "tcpd.access"
    expected = {
        "session.id": session.id,
        "client.address": "192.0.2.1",
        "client.port": 5000,
        "network.local.address": "192.0.2.9:9999",
        "listener": "echo",
        "handler": "./mine.py:Echo",
        "bytes.in": 10,
        "bytes.out": 20,
        "duration": 1.234568,
        "close.reason": "peer-closed",
    }
    assert record.items() >= expected.items()


def test_braces_in_a_name_are_text(events):
    end(AccessLog(None, Clock()), handler="{log_level} {nothing}")
    assert "{log_level} {nothing}" in format_text(events[0])


def test_our_own_log_gets_the_lines_of_one_turn_together_in_order(tmp_path, events):
    path, clock = tmp_path / "log", Clock()
    output = LogOutput(format_text, open_log_file(path))
    access = AccessLog(output, clock)
    end(access, port=1)
    end(access, port=2)
    assert path.read_text() == ""
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0)
    ports = [line.split("192.0.2.1:")[1].split(" ")[0] for line in path.read_text().splitlines()]
    assert ports == ["1", "2"]
    assert events == []
    end(access, port=3)
    clock.advance(0)
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("form", [format_text, format_journal])
def test_our_own_log_gets_the_line_that_others_get(tmp_path, events, form):
    output = LogOutput(form, open_log_file(tmp_path / "log"))
    ours = end(AccessLog(output, Clock()), handler="a\x1bb")
    output.flush()
    theirs = end(AccessLog(None, Clock()), handler="a\x1bb")
    (event,) = events
    written = (tmp_path / "log").read_text().replace(ours.id, theirs.id)
    assert written[-90:] == form(event)[-90:]
    assert len(written) == len(form(event))


def test_our_own_log_in_json_gets_the_record_that_others_get(tmp_path, events):
    output = LogOutput(format_json, open_log_file(tmp_path / "log"))
    ours = end(AccessLog(output, Clock()))
    output.flush()
    theirs = end(AccessLog(None, Clock()))
    written = (tmp_path / "log").read_text().replace(ours.id, theirs.id)
    expected = json.loads(format_json(events[0]))
    assert {**json.loads(written), "time": ""} == {**expected, "time": ""}


def test_a_line_is_stamped_when_it_is_written(tmp_path):
    output = LogOutput(format_text, open_log_file(tmp_path / "log"))
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    end(AccessLog(output, Clock()))
    output.flush()
    stamp = datetime.fromisoformat((tmp_path / "log").read_text().split(" ")[0])
    assert before <= stamp <= datetime.now(UTC)
