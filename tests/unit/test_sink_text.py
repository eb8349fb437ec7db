"""Records as lines of text, for people: nothing that a peer sent comes out raw."""

import json
import os
import sys
import threading
from dataclasses import replace

import pytest
from helpers.sinks import closed, record, records, said

from tcpd.ctl.shown import event_line
from tcpd.ctl.text import Paint
from tcpd.escape import escape_text, one_line
from tcpd.events import ConnectorChanged, HandlerFailed, ListenerChanged, SessionRefused
from tcpd.sinks.record import SinkLost
from tcpd.sinks.record_text import message_of, priority_of, text_of
from tcpd.sinks.sink import TryAgainError
from tcpd.sinks.stdout import StandardOutput

REFUSED = SessionRefused(listener="web", client_address="::1", client_port=1, reason="rate")


def test_a_record_is_its_name_and_its_fields():
    assert text_of(record(1)) == (
        "session.closed session.id=ab12cd34-1 listener=main handler=echo client.address=192.0.2.1"
        " client.port=5000 network.local.address=192.0.2.9:80 bytes.in=10 bytes.out=20"
        " duration=1.5 close.reason=peer-closed"
    )


@pytest.mark.parametrize(
    "event",
    [
        ListenerChanged(listener="web", address="192.0.2.9:80", up=False, state="suspended"),
        replace(closed(), duration=86_400.123456),
    ],
    ids=lambda event: event.event_name,
)
def test_tcpdctl_tail_writes_an_event_the_same_way(event):
    each = record(event=event)
    assert event_line(each.fields, Paint(False)) == f"{each.time} {text_of(each)}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("eve", "eve"),
        ("eve admin=yes", '"eve admin=yes"'),
        ('a"b', '"a\\"b"'),
        ("", '""'),
        ("a\nb\x1b[2J", "a\\nb\\x1b[2J"),
        ("a b\n", '"a b\\n"'),
        (b"\x1b\0", "\\x1b\\0"),
        (["a\n\0"], '"[\\"a\\n\\0\\"]"'),
        (7, "7"),
        (None, "null"),
        ([1, "x y"], '"[1, \\"x y\\"]"'),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_a_value_cannot_be_taken_for_another(value, shown):
    line = text_of(record(event=said("e", user=value)))
    assert line.split("user=")[1].startswith(f"{shown} session.id=")


# What came, as it stands in a line.
HOSTILE = pytest.mark.parametrize(
    ("came", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\r\t", r"a\nb\r\t"),
        ("a\0b", r"a\0b"),
        ("\x7f\x85", r"\x7f\u0085"),
        ("\u2028\u202e\ufeff", r"\u2028\u202e\ufeff"),
        ("\ud800\udcff", r"\ud800\xff"),
        ("a b\x1b", r'"a b\x1b"'),
        ('say "\n"', r'"say \"\n\""'),
        ("x=\x1b'", r""" "x=\x1b'" """.strip()),
    ],
)


@HOSTILE
def test_a_control_character_is_one_sequence_whoever_escaped_it(came, shown):
    error = HandlerFailed(identity=record().event.identity, error=escape_text(came, limit=200))
    as_bytes = came.encode("utf-8", "surrogateescape") if "\ud800" not in came else came
    for event, key in (
        (said("e", said=came), "said"),
        (said("e", said=as_bytes), "said"),
        (error, "error"),
        (ListenerChanged(listener=came, address="x", up=True), "listener"),
    ):
        assert f" {key}={shown} " in f"{text_of(record(event=event))} "
    assert text_of(record(event=said(came))).startswith(f"{shown} session.id=")
    assert text_of(record(event=said("e", **{came: 1}))).startswith(f"e {shown}=1 session.id=")


@HOSTILE
def test_a_message_has_what_the_field_beside_it_has(came, shown):
    error = HandlerFailed(identity=record().event.identity, error=escape_text(came))
    each = record(event=error)
    assert message_of(each) == f"handler.failed 192.0.2.1:5000 main: {each.fields['error']}"
    assert json.loads(each.line)["error"] == each.fields["error"] == escape_text(came)
    plain = record(event=ListenerChanged(listener=came, address="x", up=True))
    assert message_of(plain) == f"listener.changed {one_line(plain.fields['listener'])}"


@pytest.mark.parametrize(
    "came",
    [
        *("", " ", "a b", "x=", "it's", 'say "\n"', "caf\u00e9", "x" * 5000),
        *("\x1b[31m", "a\nb", "a\0b", "\x7f\x85", "\u2028\u202e", "\ud800\udcff", b"\x1b\0\\"),
        *("\\", "\\\\", "a\\b", "a\\ b", '\\"', 'a b\\"', "\\x1b", "\\0", "a b\\"),
        *(None, True, -1, 0.1, [], ["\x1b", "a b"], {"k ": ['"\\']}),
    ],
)
def test_tcpdctl_tail_shows_what_came_the_same_way(came):
    key = came if isinstance(came, str) else "key"
    events = [said("e", said=came, **{f"x{key}": 1}), said(f"e{key}")]
    if isinstance(came, str):
        error = escape_text(came, limit=200)
        events.append(HandlerFailed(identity=record().event.identity, error=error))
    for event in events:
        each = record(event=event)
        shown = event_line(json.loads(each.line), Paint(False))
        assert shown == f"{each.time} {text_of(each)}"
        assert shown.isprintable()


def test_nothing_comes_out_raw():
    text = "".join(map(chr, range(0x100))) + "\u2028\u202e"
    each = record(event=said(text[:60], **{text[1:60]: text}))
    assert text_of(each).isprintable()
    assert message_of(each).isprintable()


@pytest.mark.parametrize(
    ("event", "priority", "message"),
    [
        (None, 6, "session.closed 192.0.2.1:5000 main: peer-closed"),
        (REFUSED, 4, "session.refused web: rate"),
        (SinkLost(sink="db", lost=3), 4, "sink.lost: 3"),
        (ConnectorChanged(connector="up", state="lost"), 6, "connector.changed up: lost"),
        (said("session.refused"), 6, "handler.session.refused 192.0.2.1:5000 main"),
        (
            HandlerFailed(identity=record().event.identity, error="oops"),
            3,
            "handler.failed 192.0.2.1:5000 main: oops",
        ),
    ],
)
def test_message_and_priority(event, priority, message):
    each = record(event=event)
    assert (priority_of(each), message_of(each)) == (priority, message)


@pytest.fixture
def output(monkeypatch, tmp_path):
    with open(tmp_path / "out", "w") as stream:
        monkeypatch.setattr(sys, "__stdout__", stream)
        yield tmp_path / "out"


def written(output, sink, batch):
    sink.open()
    sink.write(batch)
    sink.close()
    return output.read_text()


def test_text_begins_with_the_time(output):
    (line,) = written(output, StandardOutput(), records(1)).splitlines()
    assert line == f"2026-09-21T14:13:20.123456Z {text_of(record(1))}"


def test_json_is_the_line(output):
    batch = records(2)
    text = written(output, StandardOutput(format="json"), batch)
    assert text == f"{batch[0].line}\n{batch[1].line}\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_journald_gets_the_priority(output, monkeypatch, form):
    status = output.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    batch = [record(1), record(2, event=REFUSED)]
    lines = written(output, StandardOutput(format=form), batch).splitlines()
    shown = [each.line if form == "json" else text_of(each) for each in batch]
    assert lines == [f"<6>{shown[0]}", f"<4>{shown[1]}"]


def test_priorities_can_be_forced_either_way(output, monkeypatch):
    assert written(output, StandardOutput(priorities="always"), records(1)).startswith("<6>session")
    status = output.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    both = written(output, StandardOutput(priorities="never"), records(1))
    assert both.count("<6>") == 1


def test_a_pipe_that_does_not_block_is_waited_for(monkeypatch):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(writing, "w") as stream, open(reading) as lines:
        monkeypatch.setattr(sys, "__stdout__", stream)
        sink = StandardOutput(format="json")
        sink.open()
        thread = threading.Thread(target=sink.write, args=(records(1000),))
        thread.start()
        for number in range(1, 1001):
            assert json.loads(lines.readline())["event.sequence"] == number
        thread.join()


def test_what_is_written_already_does_not_come_again(output, monkeypatch):
    sink = StandardOutput()
    sink.open()
    write, calls = os.write, []

    def broken(fd, data):
        calls.append(data)
        if len(calls) == 3:
            raise BrokenPipeError(32, "Broken pipe")
        return write(fd, data)

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(TryAgainError, match="Broken pipe") as caught:
        sink.write(records(5))
    assert caught.value.written == 2
