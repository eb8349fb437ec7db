r"""Replies with holes: `Hello {{name}}!`.

Rules:
- `{{` opens a field, and `}}` closes it; braces by themselves mean nothing, so JSON needs no care.
  `{{{{` is the text `{{`.
- What may stand between them is known when the rules are read; anything else is an error there.
- Values go in as bytes, and are never looked at again: what a peer sent can't be a template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tcpd.errors import did_you_mean
from tcpd.framing.options import parse_hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What templates may say about a session."""

    session_id: str = ""
    listener: str = ""
    peer_host: str = ""
    peer_port: int = 0
    local_host: str = ""
    local_port: int = 0


@dataclass(slots=True)
class Context:
    """What fills the holes; a session has one, and sets it for each reply.

    Attributes:
        facts: what is known of the session.
        clock: gives the time, in seconds since 1970.
        state: the session's state, before the rule changes it.
        received: how many inputs the session has had, this one included.
        matched: how often the rule has matched, this time included.
        input: the input that is answered.
        captures: what the rule's regex captured of it.
    """

    facts: Facts
    clock: Callable[[], float]
    state: str = ""
    received: int = 0
    matched: int = 0
    input: bytes = b""
    captures: tuple[bytes, ...] = ()


Field = Callable[[Context], bytes]


def _iso(context: Context) -> bytes:
    time = datetime.fromtimestamp(context.clock(), UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


SESSION_FIELDS: dict[str, Field] = {
    "session.id": lambda c: c.facts.session_id.encode(),
    "session.count": lambda c: b"%d" % c.received,
    "listener": lambda c: c.facts.listener.encode(),
    "peer.host": lambda c: c.facts.peer_host.encode(),
    "peer.port": lambda c: b"%d" % c.facts.peer_port,
    "local.host": lambda c: c.facts.local_host.encode(),
    "local.port": lambda c: b"%d" % c.facts.local_port,
    "state": lambda c: c.state.encode(),
    "time": _iso,
    "time.epoch": lambda c: b"%d" % int(c.clock()),
    "time.epoch_ms": lambda c: b"%d" % int(c.clock() * 1000),
}
"""What every template may say."""
INPUT_FIELDS: dict[str, Field] = {"input": lambda c: c.input}
"""What a template may say besides that answers an input."""
RULE_FIELDS: dict[str, Field] = {"rule.count": lambda c: b"%d" % c.matched}
"""What a rule's template may say besides that."""

_NUMBERS = {
    "session.count", "rule.count", "peer.port", "local.port", "time.epoch", "time.epoch_ms",
}  # fmt: skip
_FILTERS: dict[str, Callable[[bytes], bytes]] = {
    "hex": lambda value: value.hex().encode(),
    "upper": lambda value: value.upper(),
    "lower": lambda value: value.lower(),
}
_INTEGERS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}


def fields_with(captures: Mapping[str, int]) -> dict[str, Field]:
    """Return the fields that a rule's templates may use, with those that its regex captures.

    Raises:
        ValueError: a capture has the name of another field.
    """
    fields = SESSION_FIELDS | INPUT_FIELDS | RULE_FIELDS
    for name, index in captures.items():
        if name in fields:
            raise ValueError(f"the capture {name!r} hides the field {{{{{name}}}}}; rename it")
        fields[name] = _capture(index)
    return fields


def _capture(index: int) -> Field:
    return lambda context: context.captures[index]


@dataclass(frozen=True, slots=True)
class Template:
    """A text or bytes, with holes.

    Attributes:
        parts: the bytes, and functions for the holes.
        names: the fields that are used.
    """

    parts: tuple[bytes | Field, ...]
    names: frozenset[str]

    @property
    def constant(self) -> bytes | None:
        """What it says always; None if there are holes."""
        return None if self.names else b"".join(p for p in self.parts if isinstance(p, bytes))

    def render(self, context: Context) -> bytes:
        """Return what it says now."""
        return b"".join([part if isinstance(part, bytes) else part(context) for part in self.parts])


class TemplateError(ValueError):
    """What is wrong with a template.

    Args:
        problems: all of it.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def text_template(text: str, fields: Mapping[str, Field]) -> Template:
    """Return a template for a text, which goes out as UTF-8.

    Raises:
        TemplateError: it has fields that aren't there, or one that doesn't end.
    """
    return _template(text, fields, str.encode)


def hex_template(text: str, fields: Mapping[str, Field]) -> Template:
    """Return a template of hex digits, in which fields stand for their bytes.

    Raises:
        TemplateError: as for a text, or there are no pairs of hex digits.
    """
    return _template(text, fields, parse_hex)


def _template(text: str, fields: Mapping[str, Field], encode: Callable[[str], bytes]) -> Template:
    parts: list[bytes | Field] = []
    names = set()
    problems = []
    pieces = _split(text)
    while True:
        try:
            is_field, part = next(pieces)
            if is_field:
                name, _, filter_name = (word.strip() for word in part.partition("|"))
                parts.append(_field(name, filter_name, fields))
                names.add(name)
            else:
                parts.append(encode(part))
        except StopIteration:
            break
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise TemplateError(problems)
    return Template(tuple(parts), frozenset(names))


def _split(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the pieces of a template, and of each whether it is a field."""
    at = 0
    literal = ""
    while (start := text.find("{{", at)) >= 0:
        literal += text[at:start]
        if text.startswith("{{{{", start):
            literal += "{{"
            at = start + 4
            continue
        end = text.find("}}", start)
        if end < 0:
            raise ValueError("a '{{' without its '}}'; write '{{{{' for these two characters")
        if literal:
            yield False, literal
            literal = ""
        yield True, text[start + 2 : end]
        at = end + 2
    literal += text[at:]
    if literal:
        yield False, literal


def _field(name: str, filter_name: str, fields: Mapping[str, Field]) -> Field:
    value = fields.get(name)
    if value is None:
        known = "known here: " + ", ".join(sorted(fields))
        if name.isdigit():
            raise ValueError(f"nothing is captured as {{{{{name}}}}}; {known}")
        raise ValueError(f"unknown field {{{{{name}}}}}; {did_you_mean(name, fields) or known}")
    if not filter_name:
        return value
    if size := _INTEGERS.get(filter_name):
        if name not in _NUMBERS:
            numbers = ", ".join(sorted(_NUMBERS & fields.keys()))
            raise ValueError(
                f"{{{{{name}}}}} isn't a number, as |{filter_name} needs; {numbers} are"
            )
        return lambda context: (int(value(context)) % 256**size).to_bytes(size, "big")
    if change := _FILTERS.get(filter_name):
        return lambda context: change(value(context))
    known = ", ".join([*_FILTERS, *_INTEGERS])
    hint = did_you_mean(filter_name, [*_FILTERS, *_INTEGERS]) or f"known are {known}"
    raise ValueError(f"unknown filter |{filter_name}; {hint}")
