"""How a log event is written: a line of text, or a line of JSON.

Rules:
- An event is one line; the traceback of a failure follows it, indented, in text, and stands inside
  the object in JSON.
- No control character comes out raw, whatever stands in the event.
- It is bounded: of a message, or a line of a traceback, `LIMIT` characters come out.
- An event may carry `record`, a dict or a function that returns one: JSON then has its entries as
  keys of their own, but for the keys that the log itself uses.
- Whatever else it carries that is a text or a number stands under `fields`, where no name that a
  handler chose can be taken for one of ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent

from tcpd.escape import escape_bytes, one_line

Formatter = Callable[[LogEvent], str]
InfoFormatter = Callable[[float, str], str]

# Enough for whatever people read; an exception may quote a peer's megabytes.
LIMIT = 8000
# Of a traceback that is longer than twice this, so many lines from either end come out.
LINES = 100

# Of an event's own fields, so many come out in JSON, and so much of the text of each.
FIELDS = 32
FIELD_LIMIT = 1000

# What twisted.python.log puts into an event, besides the fields that it was given.
_BOOKKEEPING = ("failure", "format", "isError", "logLevel", "message", "system", "time", "why")

# syslog(3): what journald reads at the start of a line (sd-daemon(3)).
_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}


def format_text(event: LogEvent) -> str:
    """Return an event for a terminal or a file: `2026-11-22T16:00:00.123Z info: listening`."""
    return f"{_time(event)} {_level(event).name}: {_message(event)}{_traceback(event)}\n"


def format_journal(event: LogEvent) -> str:
    """Return an event for journald, which knows the time: `<6>listening`."""
    prefix = f"<{_PRIORITIES[_level(event)]}>"
    text = f"{_message(event)}{_traceback(event)}"
    return "".join(f"{prefix}{line}\n" for line in text.split("\n"))


def info_text(when: float, message: str) -> str:
    """Return what `format_text` does of an event that is nothing but a message.

    Args:
        when: seconds since 1970.
        message: the text, at the level info.
    """
    return f"{_moment(when)} info: {_clean(message)}\n"


def info_journal(when: float, message: str) -> str:
    """Return what `format_journal` does of such an event; journald knows when."""
    return f"<6>{_clean(message)}\n"


# How a formatter writes a message that comes without an event; JSON has keys besides it.
INFO: dict[Formatter, InfoFormatter] = {format_text: info_text, format_journal: info_journal}


def format_json(event: LogEvent) -> str:
    """Return an event as a JSON object on one line."""
    record: dict[str, object] = {
        "time": _time(event),
        "level": _level(event).name,
        "logger": event.get("log_namespace", ""),
        "message": _message(event),
    }
    failure = event.get("log_failure")
    if failure is not None:
        record["error"] = _bounded(failure.getErrorMessage())
        record["traceback"] = "\n".join(_traceback_lines(failure))
    for key, value in _record(event).items():
        record.setdefault(str(key), _simple(value, LIMIT))
    fields = dict(islice(_fields(event, record), FIELDS))
    if fields:
        record["fields"] = fields
    return _encode(record) + "\n"


def _record(event: LogEvent) -> dict[str, object]:
    record = event.get("record")
    if callable(record):
        record = record()
    return record if isinstance(record, dict) else {}


def _fields(event: LogEvent, said: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Give what an event carries of its own, so far as it has a simple form and isn't said yet."""
    legacy = "log_legacy" in event or event.get("log_namespace") == "log_legacy"
    not_fields = _BOOKKEEPING if legacy else ()
    message = "message" if event.get("log_format") == "{message}" else ""
    for key, value in event.items():
        if key.startswith("log_") or key == message or key in not_fields:
            continue
        simple = value is None or isinstance(value, str | bytes | int | float)
        if simple and (key not in said or said[key] != value):
            yield _cut(key, 100), _simple(value, FIELD_LIMIT)


def _simple(value: object, limit: int) -> object:
    """Return a value for JSON: bounded, and no number that a reader of it stumbles over."""
    if isinstance(value, str):
        return _cut(value, limit)
    if isinstance(value, bytes):
        return escape_bytes(value, limit)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    return value


def _time(event: LogEvent) -> str:
    return _moment(event.get("log_time", 0.0))


def _moment(when: float) -> str:
    return _millisecond(round(when * 1_000_000) // 1000)


@lru_cache(maxsize=4)
def _millisecond(number: int) -> str:
    """Return a millisecond since 1970 as a date and time; many events have the same."""
    second, rest = divmod(number, 1000)
    return f"{_second(second)}.{rest:03}Z"


@lru_cache(maxsize=4)
def _second(number: int) -> str:
    return datetime.fromtimestamp(number, UTC).isoformat().removesuffix("+00:00")


def _level(event: LogEvent) -> Any:
    return event.get("log_level") or LogLevel.info


def _message(event: LogEvent) -> str:
    # What is written as it is needn't go through Twisted's formatting, which takes its time.
    ready = event.get("message") if event.get("log_format") == "{message}" else None
    text = ready if isinstance(ready, str) else formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text = f"{text}: {failure.type.__name__}: {failure.getErrorMessage()}"
    return _clean(text)


def _clean(text: str) -> str:
    # The common case costs two looks: short, and nothing to escape.
    return text if len(text) <= LIMIT and text.isprintable() else one_line(_bounded(text))


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    return "".join(f"\n    {one_line(line)}" for line in _traceback_lines(failure))


def _traceback_lines(failure: Any) -> list[str]:
    """Return the lines of a traceback; of many, the first and the last, which tell most."""
    lines = [_bounded(line) for line in failure.getTraceback().rstrip("\n").split("\n")]
    if len(lines) > 2 * LINES:
        left_out = f"({len(lines) - 2 * LINES} lines left out)"
        lines = [*lines[:LINES], left_out, *lines[-LINES:]]
    return lines


def _bounded(text: str) -> str:
    return _cut(text, LIMIT)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more)"


def _shown(value: object) -> str:
    """Return what JSON knows no form for, as a text."""
    return _bounded(escape_bytes(value) if isinstance(value, bytes) else str(value))


_encode = json.JSONEncoder(default=_shown).encode
