"""How an event comes out as text, as JSON, and for journald: whole, in one piece, and printable."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LegacyLogObserverWrapper, LogLevel, globalLogPublisher
from twisted.python import log as legacy_log
from twisted.python.failure import Failure

from tcpd.escape import escape_bytes
from tcpd.sinks.log_format import (
    FIELD_LIMIT,
    FIELDS,
    LIMIT,
    LINES,
    format_journal,
    format_json,
    format_text,
)

FORMS = [format_text, format_json, format_journal]

HOSTILE = {
    "escape": "\x1b[2J\x1b]0;title\x07",
    "line ends": "a\r\nb\nc\rd",
    "C1": "a\x85b\x9bc",
    "NUL": "a\0b",
    "backspace and DEL": "a\x08\x7fb",
    "bidi": "a\u202eb\u2066c\u200f",
    "separators": "a\u2028b\u2029c\x0b\x0cd",
    "broken UTF-8": b"a\xff\xfe\xc3".decode("utf-8", "surrogateescape"),
    "lone surrogate": "a\ud800b",
    "braces": "{0} {x!r} {log_level} %s %n",
    "forged record": "\n2026-01-01T00:00:00.000Z info: all is well\n<0>panic",
}


def event(form="hello", level=LogLevel.info, **fields):
    return {
        "log_time": 1_790_000_000.1239,
        "log_level": level,
        "log_namespace": "tcpd.test",
        "log_format": form,
        **fields,
    }


def failure(error):
    try:
        raise error
    except type(error):
        return Failure()


def assert_printable(line):
    """Nothing but printable characters, and one line end, at the end."""
    assert line.endswith("\n")
    body = line.removesuffix("\n")
    assert body.isprintable(), body
    body.encode("utf-8")


def test_text_has_time_level_and_message():
    assert format_text(event()) == "2026-09-21T14:13:20.123Z info: hello\n"
    assert format_text(event(level=LogLevel.critical)).split()[1] == "critical:"


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", 7), ("info", 6), ("warn", 4), ("error", 3), ("critical", 2)],
)
def test_for_journald_the_level_is_a_priority_and_the_time_is_its_own(level, priority):
    assert format_journal(event(level=LogLevel.levelWithName(level))) == f"<{priority}>hello\n"


def test_json_is_one_object_on_one_line():
    line = format_json(event("hello {name}", name="x"))
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.123Z",
        "level": "info",
        "logger": "tcpd.test",
        "message": "hello x",
        "fields": {"name": "x"},
    }


def test_json_has_the_entries_of_a_record_under_their_own_names():
    record = {"session.id": "a-1", "client.address": "::1", "client.port": 7, "duration": 0.25}
    found = json.loads(format_json(event(record=record)))
    assert found.items() >= record.items()


def test_a_record_can_not_replace_what_the_log_itself_says():
    mine = {"time": "never", "level": "debug", "message": "forged", "logger": "x", "extra": 1}
    found = json.loads(format_json(event(record=mine)))
    assert found["message"] == "hello"
    assert found["level"] == "info"
    assert found["extra"] == 1


def test_what_an_event_carries_of_its_own_is_apart_from_what_the_log_says():
    own = {"logger": "x", "message": "forged", "session.id": "lie", "time": 1.5, "up": True}
    found = json.loads(format_json(event(record={"session.id": "a-1"}, **own, nothing=None)))
    assert found["fields"] == {**own, "nothing": None}
    assert (found["level"], found["message"], found["session.id"]) == ("info", "hello", "a-1")


def test_fields_that_are_said_already_or_have_no_simple_form_are_left_out():
    carried = {"listener": "a", "other": object(), "many": [1], "log_own": "x", "port": 7}
    found = json.loads(format_json(event(record={"listener": "a"}, **carried)))
    assert found["fields"] == {"port": 7}
    assert "fields" not in json.loads(format_json(event("{message}", message="hello")))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"a\xff\n", r"a\xff\n"),
        ("x" * 5_000_000, "x" * FIELD_LIMIT + f"... ({5_000_000 - FIELD_LIMIT} more)"),
        (b"x" * 5_000_000, "x" * FIELD_LIMIT + f"... ({5_000_000 - FIELD_LIMIT} more)"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (10**10_000, "an integer of 33220 bits"),
        (-(2**63), -(2**63)),
    ],
    ids=["bytes", "text", "many bytes", "nan", "inf", "integer", "small"],
)
def test_fields_are_bounded_and_every_reader_of_json_takes_them(value, shown):
    found = json.loads(format_json(event(value=value)), parse_constant=pytest.fail)
    assert found["fields"] == {"value": shown}


def test_there_are_not_more_fields_than_so_many():
    fields = {f"field{n}": n for n in range(10 * FIELDS)}
    found = json.loads(format_json(event(**fields, **{"k" * 10_000: 1})))
    assert len(found["fields"]) == FIELDS
    (key,) = json.loads(format_json(event(**{"k" * 10_000: 1})))["fields"]
    assert len(key) < 200


def test_the_values_of_a_record_are_bounded_too():
    record = {"text": "x" * 1_000_000, "nan": float("nan"), "path": Path("y" * 1_000_000)}
    line = format_json(event(record=record))
    assert len(line) < 3 * LIMIT
    assert json.loads(line, parse_constant=pytest.fail)["nan"] == "nan"


def test_a_record_that_is_none_of_ours_is_a_field():
    assert json.loads(format_json(event(record="of the day")))["fields"] == {"record": "of the day"}


def test_of_twisteds_old_log_only_what_it_was_given_is_there():
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        legacy_log.msg("hello", user="a")
    finally:
        globalLogPublisher.removeObserver(events.append)
    found = json.loads(format_json(events[0]))
    assert (found["message"], found["fields"]) == ("hello", {"user": "a"})
    # An old observer beside ours leaves its marks in events of the new log.
    seen = event("hello {name}", name="x", log_system="-")
    LegacyLogObserverWrapper(lambda old: None)(seen)
    assert json.loads(format_json(seen))["fields"] == {"name": "x"}


def test_json_takes_values_that_it_has_no_form_for():
    record = {"data": b"a\xff\n", "path": object, "text": "\ud800\x1b\u202e"}
    line = format_json(event(record=record))
    assert line.isascii()
    assert_printable(line)
    assert json.loads(line)["data"] == r"a\xff\n"


@given(moment=st.floats(0, 4e9))
def test_the_time_is_cut_to_milliseconds(moment):
    shown = format_text({"log_time": moment, "log_format": "x"}).split()[0]
    exactly = datetime.fromtimestamp(moment, UTC)
    assert shown == exactly.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_record_may_be_made_when_it_is_asked_for():
    assert json.loads(format_json(event(record=lambda: {"port": 7})))["port"] == 7
    assert "hello" in format_text(event(record=pytest.fail))


def test_an_event_without_time_or_level_has_a_form():
    for form in FORMS:
        assert "hello" in form({"log_format": "hello"})


def test_an_event_that_can_not_be_formatted_is_still_one_line():
    for form in FORMS:
        assert_printable(form(event("{missing} \x1b", other="\n\x1b")))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_a_peer_sent_never_steers_the_log(form, text):
    assert_printable(form(event("received {data}", data=text, record={"data": text})))
    assert_printable(form(event("received {data!r}", data=text)))


@given(data=st.binary(max_size=60))
def test_no_bytes_whatever_steer_the_log(data):
    text = data.decode("utf-8", "surrogateescape")
    fields = {"raw": text, "escaped": escape_bytes(data), "record": {"data": text, "b": data}}
    for form in FORMS:
        assert_printable(form(event("{raw} {escaped}", **fields)))


def test_an_escaped_text_is_not_escaped_once_more():
    line = format_text(event("{data}", data=escape_bytes(b"\x1b\\")))
    assert line.endswith(": \\x1b\\\\\n")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_an_exceptions_message_stays_in_its_record(text):
    broken = event("a handler failed", LogLevel.critical, log_failure=failure(ValueError(text)))
    first, *rest = format_text(broken).split("\n")[:-1]
    assert first.startswith("2026-09-21T14:13:20.123Z critical: a handler failed: ValueError: ")
    assert all(line.startswith("    ") and line.isprintable() for line in (*rest, "    " + first))
    assert any("ValueError" in line for line in rest)
    assert any(__name__ in line or "test_log_format" in line for line in rest)

    for line in format_journal(broken).split("\n")[:-1]:
        assert re.match("<2>", line)
        assert line.isprintable()

    line = format_json(broken)
    assert_printable(line)
    found = json.loads(line)
    assert found["error"] == text
    assert "Traceback" in found["traceback"]


@pytest.mark.parametrize("form", FORMS)
def test_a_record_is_bounded_whatever_an_exception_quotes(form):
    for text in ("x" * 5_000_000, "x\n" * 1_000_000):
        line = form(event("failed", log_failure=failure(ValueError(text))))
        assert len(line) < 20 * LIMIT
        assert "more)" in line or "left out)" in line


def test_of_a_long_traceback_both_ends_are_there():
    def deep(n):
        if n == 0:
            raise ValueError("the end")
        if n % 2:
            deep(n - 1)
        else:
            deep(n - 1)

    try:
        deep(300)
    except ValueError:
        text = format_text(event("failed", log_failure=Failure()))
    lines = text.rstrip("\n").split("\n")
    assert len(lines) == 2 * LINES + 2
    assert "lines left out" in text
    assert lines[-1] == "    builtins.ValueError: the end"


def test_an_exception_that_can_not_be_shown_is_still_a_record():
    class BadError(Exception):
        def __str__(self):
            raise RuntimeError("no")

    for form in FORMS:
        assert "BadError" in form(event("failed", log_failure=failure(BadError())))
