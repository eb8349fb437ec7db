"""The names of tcpd's own events, and patterns that choose among them.

Rules:
- A name is two words with a dot: what it is about, and what happened. It never changes.
- The first words are tcpd's: an event of a handler's own never bears a name of such a family, see
  `handler_event_name`. So nothing that a handler or a peer sends can be taken for one of ours.
- Nor does it bear the name of a mark, by which a stream of events says what has become of itself.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from tcpd.errors import did_you_mean
from tcpd.wording import name_of

NAMES = {
    "session.opened": "a connection was made, and its handler is about to hear of it",
    "session.closed": "a connection is over: how much, how long, and why",
    "session.refused": "a connection came and didn't become a session",
    "handler.failed": "a handler raised an exception; its session ends",
    "listener.changed": "a listener began or ended to accept connections",
    "connector.changed": "a connector came to another state",
    "configuration.reloaded": "the configuration was read again and applied: what has changed",
    "configuration.refused": "the configuration was read again and can't be applied: why",
    "sink.lost": "records are missing before this one in this sink, and how many",
}
"""The names, each with what happened."""

FAMILIES = frozenset(name.partition(".")[0] for name in NAMES)
"""The first words of our names."""

MARKS = frozenset(("lost", "end", "disconnected", "reconnected"))
"""What stands in a stream of events where the name does, and is no event."""


def handler_event_name(name: str) -> str:
    """Return the name in records of an event that a handler calls `name`.

    It is that name itself, unless it could be taken for one of ours: then `handler.` stands before.
    """
    reserved = name in MARKS or name.partition(".")[0] in FAMILIES
    return f"handler.{name}" if reserved else name


class EventPattern(str):
    """A pattern for names of events: `session.closed`, `session.*`, `*`."""

    __slots__ = ()
    described = "the name of an event, such as 'session.closed' or 'session.*'"

    @classmethod
    def parse(cls, value: object) -> EventPattern:
        """Return the pattern.

        Raises:
            ValueError: it isn't a text, or nothing that tcpd says can match it.
        """
        if not isinstance(value, str) or not value:
            given = name_of(value) if value != "" else "an empty text"
            raise ValueError(f"expected {cls.described}, not {given}")
        family = value.partition(".")[0]
        # What a handler's own events are called is known to nobody before they come.
        if family in FAMILIES - {"handler"} and not any(fnmatchcase(each, value) for each in NAMES):
            known = ", ".join(each for each in NAMES if each.startswith(f"{family}."))
            hint = did_you_mean(value, NAMES) or f"known are {known}"
            raise ValueError(f"no event is called {name_of(value)}; {hint}")
        if value in MARKS:
            hint = f"one that a handler calls so is 'handler.{value}'"
            raise ValueError(f"no event is called {name_of(value)}; {hint}")
        return cls(value)

    @property
    def is_only_ours(self) -> bool:
        """Whether no event of a handler's own can have a name that it matches."""
        family, dot, _ = self.partition(".")
        return self in NAMES or (bool(dot) and family in FAMILIES - {"handler"})

    def matches(self, name: str) -> bool:
        """Return whether this is the pattern of a name; letters are compared as they are."""
        return fnmatchcase(name, self)
