"""A record: an event as it is written down, the same in every sink.

Rules:
- What tcpd says of an event goes over what a handler gave it: no field can be forged, nor one that
  this session hasn't.
- It is bounded, and holds nothing that changes later: a handler's values are copied at once.
- A text in it has no NUL and no broken character, so that any database takes it: they stand there
  as `tcpd.escape` shows them. Everything else that a peer may have sent is still there, a backslash
  once; in the JSON of `line`, escaped.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar

from tcpd.escape import escape_bytes, escape_text
from tcpd.event_names import handler_event_name
from tcpd.events import Event, HandlerEvent

# Bytes that an event takes in memory, about; a handler's own values come on top.
BASE_SIZE = 1024

# Of what a handler gives: characters of a text and of a key, entries of a table or list, tables in
# tables, and characters in all.
TEXT = 8000
KEY = 100
ENTRIES = 64
DEPTH = 4
TOTAL = 32768
# What tcpd says of some sessions only; a handler can't say it of the others.
_OURS = frozenset(("listener", "connector", "network.peer.address"))
# What an entry takes besides its text, in bytes of memory.
ENTRY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where records come from: the same for all of this process."""

    host: str
    """The machine's name."""
    run: str
    """This run of tcpd; what session ids begin with."""


class Record:
    """One event, to be written down.

    Args:
        event: what happened.
        time_ns: when, in nanoseconds since 1970.
        sequence: its number among the events of this run that any sink wants.
        source: this process.

    Attributes:
        name: `session.closed`, `handler.failed`, ..., or what a handler called it.
        size: about how many bytes of memory it takes.
    """

    __slots__ = ("_data", "_line", "event", "name", "sequence", "size", "source", "time_ns")

    def __init__(self, event: Event, time_ns: int, sequence: int, source: Source) -> None:
        self.event = event
        self.time_ns = time_ns
        self.sequence = sequence
        self.source = source
        self._line: str | None = None
        self._data: dict[str, object] | None = None
        self.size = BASE_SIZE
        if isinstance(event, HandlerEvent):
            self.name = handler_event_name(_text(event.name, KEY))
            copier = _Copier()
            self._data = data = copier.table(event.data, DEPTH)
            for name in data.keys() & _OURS:
                del data[name]
            self.size += TOTAL - copier.left
        else:
            self.name = event.event_name

    def on_its_own(self) -> Record:
        """Return a record that says the same, and holds nothing of what a handler has given."""
        if not isinstance(self.event, HandlerEvent):
            return self
        event = HandlerEvent(identity=self.event.identity, name=self.name)
        record = Record(event, self.time_ns, self.sequence, self.source)
        record.name, record.size = self.name, self.size
        record._data = self._data
        return record

    @property
    def time(self) -> str:
        """When, as RFC 3339 writes it, in UTC: `2026-01-31T12:00:00.000000Z`."""
        second, rest = divmod(self.time_ns, 1_000_000_000)
        return f"{_second(second)}.{rest // 1000:06}Z"

    @property
    def fields(self) -> dict[str, object]:
        """All there is to say, under OpenTelemetry's names: a new dict of texts and numbers.

        `time`, `event.name`, `event.sequence`, `host.name` and `service.instance.id` (the run) come
        first; a handler's values may be lists and dicts, too.
        """
        head: dict[str, object] = {
            "time": self.time,
            "event.name": self.name,
            "event.sequence": self.sequence,
            "host.name": self.source.host,
            "service.instance.id": self.source.run,
        }
        if self._data is None:
            return head | self.event.fields()
        if isinstance(self.event, HandlerEvent):
            return head | self._data | self.event.identity.fields() | head
        return head | self._data

    @property
    def line(self) -> str:
        """The fields as a JSON object on one line, without its newline, in printable ASCII."""
        if self._line is None:
            line = _encode(self.fields)
            if ("\\u" in line or "\x7f" in line) and _SUSPECT.search(line):
                if self._data is None:
                    # Not a peer's, but a name may come from a command line.
                    self._data = _Copier().table(self.event.fields(), DEPTH)
                line = _encode(self.fields).replace("\x7f", "\\u007f")
            self._line = line
        return self._line


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkLost(Event):
    """Records are missing in a sink before this one."""

    event_name: ClassVar[str] = "sink.lost"

    sink: str
    lost: int

    def fields(self) -> dict[str, object]:
        """Return which sink, and how many records."""
        return {"sink": self.sink, "lost": self.lost}


class _Copier:
    """Copies values into what every sink can write, until there have been too many characters."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = TOTAL

    def table(self, given: Mapping[Any, object], depth: int) -> dict[str, object]:
        return {
            self.text(str(key), KEY): self.value(each, depth - 1)
            for key, each in self.some(given.items())
        }

    def some(self, entries: Iterable[Any]) -> Iterator[Any]:
        """Give the first entries, while there is room."""
        for each in islice(entries, ENTRIES):
            if self.left <= 0:
                break
            self.left -= ENTRY
            yield each

    def value(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self.text(value, TEXT)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            # What a signed column of 64 bits can hold.
            fits = value.bit_length() <= 63
            return int(value) if fits else f"an integer of {value.bit_length()} bits"
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(value)
        if isinstance(value, bytes | bytearray):
            return self.text(escape_bytes(bytes(value[:TEXT])), TEXT)
        if depth > 0 and isinstance(value, Mapping):
            return self.table(value, depth)
        if depth > 0 and isinstance(value, list | tuple | set | frozenset):
            return [self.value(each, depth - 1) for each in self.some(value)]
        try:
            return self.text(escape_text(str(value), TEXT), TEXT)
        except Exception:  # anybody's __str__
            return f"a {type(value).__name__} without a text"

    def text(self, text: str, limit: int) -> str:
        text = _text(text, min(limit, max(self.left, 0)))
        self.left -= len(text)
        return text


def _text(text: str, limit: int) -> str:
    """Return a text that is bounded, and has neither NUL nor half a character (a surrogate).

    They are escaped as `escape_bytes` does, so that a text and the same as bytes are shown alike.
    """
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text) - limit} more)"
    if text.isascii():
        return text.replace("\0", _ESCAPES[0]) if "\0" in text else text
    return text.translate(_ESCAPES) if _UNFIT.search(text) else text


@lru_cache(maxsize=4)
def _second(number: int) -> str:
    """Return a second since 1970 as a date and time; many records have the same."""
    return datetime.fromtimestamp(number, UTC).isoformat().removesuffix("+00:00")


_encode = json.JSONEncoder(separators=(",", ":")).encode
# In a text: NUL, half a character.
_UNFIT = re.compile(r"[\x00\ud800-\udfff]")
_ESCAPES = {code: escape_text(chr(code)) for code in (0, *range(0xD800, 0xE000))}
# In a line: NUL, perhaps half a character, DEL.
_SUSPECT = re.compile(r"\\u0000|\\ud|\x7f")
