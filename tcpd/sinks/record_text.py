r"""A record for people: one line of text, and how important it is.

Nothing that a peer or handler gave comes out as a control character, or as anything but the value
that it is: `client.address=192.0.2.1 user="eve admin=yes"`. Some of what a record says has been
escaped already (`error`, bytes, NUL). That isn't escaped again: ESC is `\x1b`, wherever it stood.
"""

from __future__ import annotations

from tcpd.escape import in_line, one_line
from tcpd.events import HandlerEvent, SessionEvent
from tcpd.sinks.record import Record

# syslog(3)
ERROR, WARNING, INFO = 3, 4, 6

_PRIORITIES = {"handler.failed": ERROR, "session.refused": WARNING, "sink.lost": WARNING}

# What is the same in all records of a process, or stands at the line's beginning.
_LEFT_OUT = frozenset(("time", "event.name", "event.sequence", "host.name", "service.instance.id"))


def priority_of(record: Record) -> int:
    """Return how important a record is, as syslog counts."""
    if isinstance(record.event, HandlerEvent):
        return INFO
    return _PRIORITIES.get(record.name, INFO)


def text_of(record: Record) -> str:
    """Return a record without its time: `session.closed session.id=ab-1 listener=main ...`."""
    fields = record.fields.items()
    said = [f"{in_line(key)}={in_line(value)}" for key, value in fields if key not in _LEFT_OUT]
    return " ".join([in_line(record.name), *said])


def message_of(record: Record) -> str:
    """Return a record as a message, for where its fields stand beside it.

    `session.closed 192.0.2.1:5000 main: peer-closed`.
    """
    fields = record.fields
    event = record.event
    who = f" {event.identity.peer}" if isinstance(event, SessionEvent) else ""
    place = fields.get("listener") or fields.get("connector") or ""
    keys = ("close.reason", "refuse.reason", "error", "state", "lost")
    what = next((str(fields[key]) for key in keys if key in fields), "")
    text = f"{record.name}{who}{f' {place}' if place else ''}{f': {what}' if what else ''}"
    return one_line(text)
