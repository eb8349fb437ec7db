"""The access log: one line for each session that ended."""

import json

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from tcpd.events import Bus, Identity, SessionClosed
from tcpd.sinks.access_log import AccessLog
from tcpd.sinks.log_format import format_json, format_text
from tcpd.sinks.log_output import LogOutput, open_log_file


@pytest.fixture
def events():
    caught = []
    globalLogPublisher.addObserver(caught.append)
    yield caught
    globalLogPublisher.removeObserver(caught.append)


def closed(address="192.0.2.1", port=5000, reason="peer-closed"):
    return SessionClosed(
        identity=Identity(
            session_id="a1b2-7",
            listener="echo",
            handler="./mine.py:Echo",
            client_address=address,
            client_port=port,
            local_address="192.0.2.9:9999",
        ),
        bytes_in=10,
        bytes_out=20,
        duration=1.2345678,
        reason=reason,
    )


def test_a_session_that_ended_is_one_line(events):
    bus = Bus()
    bus.subscribe(SessionClosed, AccessLog(None, Clock()))
    bus.emit(closed())
    (event,) = events
    assert event["log_namespace"] == "tcpd.access"
    assert format_text(event).split(" info: ")[1] == (
        "192.0.2.1:5000 -> echo (./mine.py:Echo): 10 bytes in, 20 out, 1.23s,"
        " peer-closed [a1b2-7]\n"
    )


@pytest.mark.parametrize(
    ("address", "port", "shown"),
    [("2001:db8::1", 80, "[2001:db8::1]:80 -> "), ("unix", 0, "unix -> ")],
)
def test_peers_are_shown_as_people_write_them(events, address, port, shown):
    AccessLog(None, Clock())(closed(address, port))
    assert format_text(events[0]).split(" info: ")[1].startswith(shown)


def test_json_carries_opentelemetrys_names(events):
    AccessLog(None, Clock())(closed())
    record = json.loads(format_json(events[0]))
    assert record["level"] == "info"
    assert record["logger"] == "tcpd.access"
    expected = {
        "session.id": "a1b2-7",
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
    AccessLog(None, Clock())(closed(reason="{log_level} {nothing}"))
    assert "{log_level} {nothing}" in format_text(events[0])


def test_our_own_log_gets_the_lines_of_one_turn_together_in_order(tmp_path, events):
    path, clock = tmp_path / "log", Clock()
    output = LogOutput(format_text, open_log_file(path))
    access = AccessLog(output, clock)
    access(closed(port=1))
    access(closed(port=2))
    assert path.read_text() == ""
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0)
    ports = [line.split("192.0.2.1:")[1].split(" ")[0] for line in path.read_text().splitlines()]
    assert ports == ["1", "2"]
    assert events == []
    access(closed(port=3))
    clock.advance(0)
    assert len(path.read_text().splitlines()) == 3


def test_our_own_log_gets_the_line_that_others_get(tmp_path, events):
    output = LogOutput(format_json, open_log_file(tmp_path / "log"))
    AccessLog(output, Clock())(closed())
    output.flush()
    AccessLog(None, Clock())(closed())
    ours, theirs = json.loads((tmp_path / "log").read_text()), json.loads(format_json(events[0]))
    assert {**ours, "time": ""} == {**theirs, "time": ""}
