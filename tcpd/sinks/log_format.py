"""How a log event is written: a line of text, or a line of JSON.

Rules:
- An event is one line; the traceback of a failure follows it, indented, in text, and stands inside
  the object in JSON.
- No control character comes out raw, whatever stands in the event.
- An event may carry `record`, a dict: JSON then has its entries as keys of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent

from tcpd.escape import one_line

Formatter = Callable[[LogEvent], str]

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
        record["error"] = failure.getErrorMessage()
        record["traceback"] = failure.getTraceback()
    for key, value in event.get("record", {}).items():
        record.setdefault(key, value)
    return json.dumps(record, default=str) + "\n"


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> Any:
    return event.get("log_level") or LogLevel.info


def _message(event: LogEvent) -> str:
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text = f"{text}: {failure.type.__name__}: {failure.getErrorMessage()}"
    return one_line(text)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    lines = failure.getTraceback().rstrip("\n").split("\n")
    return "".join(f"\n    {one_line(line)}" for line in lines)
