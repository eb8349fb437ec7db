"""Records: what tcpd says can't be forged, and whatever a handler gives is bounded and harmless."""

import json
import tracemalloc

import pytest
from helpers.sinks import NOON, SOURCE, closed, record, said

from tcpd.escape import escape_bytes
from tcpd.events import ListenerChanged
from tcpd.sinks.record import DEPTH, ENTRIES, TOTAL, Record, SinkLost

HEAD = {
    "time": "2026-09-21T14:13:20.123456Z",
    "event.name": "session.closed",
    "event.sequence": 7,
    "host.name": "gw1",
    "service.instance.id": "ab12cd34",
}


def fields_of(event):
    return Record(event, NOON, 7, SOURCE).fields


def test_a_record_says_when_what_where_and_all_that_the_event_says():
    assert fields_of(closed()) == {**HEAD, **closed().fields()}
    assert list(fields_of(closed()))[:5] == list(HEAD)


def test_the_line_is_the_fields_as_json():
    each = record(7)
    assert json.loads(each.line) == each.fields
    assert "\n" not in each.line
    assert each.line is each.line


def test_an_event_about_no_session_is_a_record_too():
    fields = fields_of(ListenerChanged(listener="main", address="tcp:1", up=True))
    assert (fields["event.name"], fields["up"]) == ("listener.changed", True)
    assert fields_of(SinkLost(sink="db", lost=3))["lost"] == 3


def test_a_handler_cannot_forge_what_tcpd_says():
    forged = dict.fromkeys((*HEAD, *closed().identity.fields()), "forged")
    fields = fields_of(said("login", **forged, user="eve"))
    assert fields == {**HEAD, "event.name": "login", **said("").identity.fields(), "user": "eve"}


def test_nor_can_it_say_what_tcpd_says_of_other_sessions():
    names = ("listener", "connector", "network.peer.address")
    fields = fields_of(said("login", **dict.fromkeys(names, "forged"), user="eve"))
    assert "forged" not in fields.values()


def test_a_handlers_event_that_bears_a_name_of_ours_is_told_apart():
    assert fields_of(said("session.closed"))["event.name"] == "handler.session.closed"
    assert record(event=said("session.closed")).name == "handler.session.closed"


def test_what_a_handler_gave_is_copied_at_once():
    users = ["eve"]
    each = record(event=said("login", users=users))
    users.append("mallory")
    assert each.fields["users"] == ["eve"]


class Hostile:
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("caf\u00e9\n", "caf\u00e9\n"),
        ("a\0b", "a\\0b"),
        ("\u00e9\0", "\u00e9\\0"),
        ("\udc80\ud800", "\\x80\\ud800"),
        ("a\\0b\\", "a\\0b\\"),
        (b"a\\0b\\", "a\\\\0b\\\\"),
        (b"\x00\xff\n", "\\0\\xff\\n"),
        (float("nan"), "nan"),
        (2**63 - 1, 2**63 - 1),
        (2**63, "an integer of 64 bits"),
        (True, True),
        (None, None),
        ({1: {2: b"x"}}, {"1": {"2": "x"}}),
        (("a", {"b"}), ["a", ["b"]]),
        (Hostile(), "a Hostile without a text"),
        ("x" * 9000, "x" * 8000 + "... (1000 more)"),
    ],
)
def test_values_become_what_any_database_takes(value, shown):
    each = record(event=said("e", value=value))
    assert each.fields["value"] == shown
    assert json.loads(each.line)["value"] == shown


@pytest.mark.parametrize(
    "data", [b"\0", b"a\0\0001", b"\xff\0", b"\xc3\xa9\0", b"\x80\xed\xa0\x80"]
)
def test_what_no_database_takes_has_one_form_in_texts_and_in_bytes(data):
    text = data.decode("utf-8", "surrogateescape")
    fields = record(event=said(text, text=text, bytes=data, **{text: text})).fields
    assert fields["text"] == fields["bytes"] == fields["event.name"] == escape_bytes(data)
    assert fields[escape_bytes(data)] == escape_bytes(data)


def test_no_control_character_comes_out_raw():
    text = "".join(map(chr, range(0x100))) + "\u2028\u202e\x7f"
    line = record(event=said("e\n\x7f", **{text[1:40]: text, "k\x7f": [text]})).line
    assert line.isascii()
    assert line.isprintable()


def test_our_own_events_hold_nothing_that_a_database_refuses_either():
    each = record(event=ListenerChanged(listener="\udc80\0\x7f", address="x", up=True))
    assert json.loads(each.line)["listener"] == "\\x80\\0\x7f"
    assert each.line.isprintable()
    assert each.fields["listener"] == "\\x80\\0\x7f"


def test_values_of_any_size_and_depth_are_bounded():
    deep = loop = []
    for _ in range(100):
        deep = [deep]
    loop.append(loop)
    many = {str(number): "x" * 9000 for number in range(1000)}
    tracemalloc.start()
    each = record(event=said("e" * 10000, deep=deep, loop=loop, many=many, list=[many] * 1000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    assert len(each.line) < 4 * TOTAL
    assert len(each.fields["many"]) <= ENTRIES
    assert str(each.fields["loop"]).count("[") <= DEPTH + 2
    assert TOTAL // 2 < each.size < 2 * TOTAL


def test_a_records_size_grows_with_what_a_handler_gave():
    small, large = record(event=said("e", x="")), record(event=said("e", x="x" * 1000))
    assert large.size - small.size == 1000
