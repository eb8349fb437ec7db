"""What stands in a rules file: rules, and what they do.

Every mistake that can be seen in one rule alone is found here; `script` finds the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from tcpd.errors import FieldError, PathPattern, raise_all
from tcpd.fields import Range
from tcpd.handlers.reply_rules.matching import Content, Match
from tcpd.handlers.reply_rules.template import (
    Field,
    Template,
    TemplateError,
    fields_with,
    hex_template,
    text_template,
)
from tcpd.units import Seconds

Path = tuple[str | int, ...]
Delay = Annotated[Seconds, Range(0, 86400)]
NO_DELAY = Seconds(0.0)
Count = Annotated[int, Range(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What is done about an input; nothing at all is silence.

    Attributes:
        reply: a text to send as one frame, or a list of them.
        reply_hex: the same as hex digits.
        delay: how long to wait before anything else is done; the session's further input waits too.
        goto: the state that the session is in afterwards.
        close: end the connection once everything is sent.
        half_close: shut down our side once everything is sent, and read on until the peer closes.
        reset: end the connection with a TCP RST.
    """

    reply: str | tuple[str, ...] | None = None
    reply_hex: str | tuple[str, ...] | None = None
    delay: Delay = NO_DELAY
    goto: str | None = None
    close: bool = False
    half_close: bool = False
    reset: bool = False

    def __post_init__(self) -> None:
        raise_all(check_response(self))

    @property
    def ending(self) -> Literal["close", "half_close", "reset"] | None:
        """How the response ends the conversation, if it does."""
        if self.close:
            return "close"
        return "half_close" if self.half_close else "reset" if self.reset else None

    def templates(
        self, fields: Mapping[str, Field], rests_on: Sequence[PathPattern] = ()
    ) -> tuple[list[tuple[Path, Template]], list[FieldError]]:
        """Return the templates of the frames to send, each with where it stands, and mistakes."""
        found: list[tuple[Path, Template]] = []
        errors: list[FieldError] = []
        parse = text_template if self.reply_hex is None else hex_template
        for path, text in self._texts():
            try:
                found.append((path, parse(text, fields)))
            except TemplateError as error:
                errors += (FieldError(path, problem, "", rests_on) for problem in error.problems)
        return found, errors

    def _texts(self) -> Iterator[tuple[Path, str]]:
        name, value = "reply", self.reply
        if self.reply_hex is not None:
            name, value = "reply_hex", self.reply_hex
        if isinstance(value, str):
            yield (name,), value
        else:
            for index, text in enumerate(value or ()):
                yield (name, index), text


def check_response(response: Response) -> list[FieldError]:
    """Return why what a response says can't be done together; nothing if it can."""
    errors = []
    keep = "keep one of them"
    if response.reply is not None and response.reply_hex is not None:
        errors.append(FieldError(("reply_hex",), "'reply' stands here already", keep))
    for name in ("reply", "reply_hex"):
        if getattr(response, name) == ():
            errors.append(FieldError((name,), "is empty; leave it out to say nothing"))
    endings = [name for name in ("close", "half_close", "reset") if getattr(response, name)]
    for name in endings[1:]:
        errors.append(FieldError((name,), f"can't go with {endings[0]!r}", keep))
    if endings and response.goto is not None:
        problem = f"leads nowhere, since {endings[0]!r} ends the conversation"
        errors.append(FieldError(("goto",), problem, keep))
    return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Response):
    """An input, and what is done about it.

    Attributes:
        match: what the input must be like; a text is what it must equal; without it, anything.
        state: the state, or the states, that the session must be in; without it, any.
        after: let this many matches pass to the rules below.
        times: and then answer this many, and pass the others to the rules below.
        scope: whose matches `after`, `times` and `{{rule.count}}` count: those of all sessions
            together, or the session's own.
    """

    match: str | Match | None = None
    state: str | tuple[str, ...] | None = None
    after: Count | None = None
    times: Count | None = None
    scope: Literal["all", "session"] = "all"

    def __post_init__(self) -> None:
        errors = check_response(self)
        if self.state == ():
            errors.append(FieldError(("state",), "is empty; leave it out for any state"))
        try:
            fields = self.fields()
        except FieldError as error:
            errors.append(error)
        else:
            errors += self.templates(fields, [("match",)])[1]  # they may name its captures
        raise_all(errors)

    @property
    def states(self) -> tuple[str, ...]:
        """The states that the rule is for; none stands for all."""
        return (self.state,) if isinstance(self.state, str) else self.state or ()

    def matching(self) -> Match | None:
        """Return `match`, of which a text is what the input must equal."""
        if isinstance(self.match, str):
            return Match(equals=Content(self.match.encode()))
        return self.match

    def fields(self) -> dict[str, Field]:
        """Return the fields that the rule's templates may use.

        Raises:
            FieldError: a capture of its regex can't have the name it has.
        """
        match = self.matching()
        try:
            return fields_with(match.captures() if match is not None else {})
        except ValueError as error:
            raise FieldError(("match", "regex"), str(error)) from None
