"""Whether an input matches, and what it captures.

Regular expressions are RE2's: their time is linear in the input, so a peer can't make one slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import re2  # type: ignore[import-untyped]

from tcpd.errors import FieldError, raise_all
from tcpd.framing.options import HexBytes, parse_hex

Matcher = Callable[[bytes], "tuple[bytes, ...] | None"]
"""Takes an input; returns None, or its captures, the whole match first, if there is a regex."""


class Content(bytes):
    """Bytes that stand in a configuration as a text, or as `{ hex = "02 ff" }`."""

    described: ClassVar[str] = "a text or { hex = '02 ff' }"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the bytes of a text (as UTF-8) or of hex digits.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(value, str):
            return cls(value.encode())
        if (
            not isinstance(value, dict)
            or set(value) != {"hex"}
            or not isinstance(value["hex"], str)
        ):
            raise ValueError(f"expected {cls.described}")
        try:
            return cls(parse_hex(value["hex"]))
        except ValueError as error:
            raise FieldError(("hex",), str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What an input must be like: all of it, if several are given.

    Attributes:
        equals: it is exactly this.
        hex: it is exactly these bytes.
        starts_with: it begins so.
        ends_with: it ends so.
        contains: this occurs in it.
        regex: this RE2 expression is found in it.
        ignore_case: whether upper and lower case are the same to all of these but `hex`.
        binary: whether a character of `regex` stands for a byte (Latin-1) rather than for UTF-8.
        not_: a table like this one, all of which together must not hold.
    """

    equals: Content | None = None
    hex: HexBytes | None = None
    starts_with: Content | None = None
    ends_with: Content | None = None
    contains: Content | None = None
    regex: str | None = None
    ignore_case: bool = False
    binary: bool = False
    not_: Match | None = None

    def __post_init__(self) -> None:
        given = {f.name for f in fields(self) if getattr(self, f.name) not in (None, False)}
        if not given - {"ignore_case", "binary"}:
            raise ValueError("is empty; leave 'match' out to match everything")
        errors = []
        if {"equals", "hex"} <= given:
            errors.append(FieldError(("hex",), "'equals' stands here already", "keep one of them"))
        for name in ("starts_with", "ends_with", "contains", "regex"):
            if getattr(self, name) is not None and not getattr(self, name):
                errors.append(FieldError((name,), "is empty, which matches everything"))
        if self.binary and self.regex is None:
            problem = "only goes with 'regex'"
            errors.append(FieldError(("binary",), problem, rests_on=[("regex",)]))
        if self.regex is not None:
            try:
                self.expression()
            except FieldError as error:
                errors.append(error)
        whole = self.equals if self.equals is not None else self.hex
        if whole is not None and not errors and matcher_of(self)(whole) is None:
            name = "equals" if self.equals is not None else "hex"
            problem = "contradicts the rest, so nothing can ever match"
            rest = [(f.name.rstrip("_"),) for f in fields(self)]
            errors.append(FieldError((name,), problem, rests_on=rest))
        raise_all(errors)

    def expression(self) -> Any:
        """Return `regex`, compiled.

        Raises:
            FieldError: it is none; the text is RE2's.
        """
        options = re2.Options()
        options.log_errors = False
        options.case_sensitive = not self.ignore_case
        pattern: str | bytes = self.regex or ""
        try:
            if self.binary:
                options.encoding = re2.Options.Encoding.LATIN1
                pattern = pattern.encode("latin-1") if isinstance(pattern, str) else pattern
            return re2.compile(pattern, options)
        except UnicodeEncodeError:
            problem = "has a character that isn't a byte, and 'binary' is set"
            hint = "write a byte as \\x{ff}"
            raise FieldError(("regex",), problem, hint, [("binary",)]) from None
        except re2.error as error:
            hint = "the syntax is RE2's: no lookaround, no backreferences"
            raise FieldError(
                ("regex",), f"isn't a valid regular expression: {_text(error)}", hint
            ) from None

    def captures(self) -> dict[str, int]:
        """Return the names of what is captured: `0` for the whole match, `1` to `n`, and names."""
        if self.regex is None:
            return {}
        expression = self.expression()
        numbers = {str(number): number for number in range(expression.groups + 1)}
        return numbers | {_text(name): index for name, index in expression.groupindex.items()}


def _text(value: object) -> str:
    """Return what RE2 says as text; it says some things in bytes."""
    if isinstance(value, Exception) and value.args:
        value = value.args[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def matcher_of(match: Match | None, *, capturing: bool = True) -> Matcher:
    """Return the function that tells whether an input matches.

    Args:
        match: what the input must be like.
        capturing: whether the captures are of interest; to collect them takes a while.
    """
    if match is None:
        return lambda data: ()
    tests = _tests(match)
    others = matcher_of(match.not_, capturing=False) if match.not_ is not None else None
    search = match.expression().search if match.regex is not None else None
    if search is None and others is None and len(tests) == 1:  # most rules are as simple as that
        (test,) = tests
        return lambda data: () if test(data) else None

    def matcher(data: bytes) -> tuple[bytes, ...] | None:
        for test in tests:
            if not test(data):
                return None
        captures: tuple[bytes, ...] = ()
        if search is not None:
            found = search(data)
            if found is None:
                return None
            if capturing:
                captures = (found.group(), *(group or b"" for group in found.groups()))
        if others is not None and others(data) is not None:
            return None
        return captures

    return matcher


def _tests(match: Match) -> list[Callable[[bytes], bool]]:
    fold = casefold if match.ignore_case else bytes
    tests: list[Callable[[bytes], bool]] = []
    if match.hex is not None:
        tests.append(bytes(match.hex).__eq__)
    if match.equals is not None:
        tests.append(fold(match.equals).__eq__)
    if match.starts_with is not None:
        start = fold(match.starts_with)
        tests.append(lambda data: data.startswith(start))
    if match.ends_with is not None:
        end = fold(match.ends_with)
        tests.append(lambda data: data.endswith(end))
    if match.contains is not None:
        part = fold(match.contains)
        tests.append(lambda data: part in data)
    if not match.ignore_case:
        return tests
    exact, folded = (tests[:1], tests[1:]) if match.hex is not None else ([], tests)
    return exact + [lambda data, test=test: test(casefold(data)) for test in folded]


def casefold(data: bytes) -> bytes:
    """Return UTF-8 without the difference of upper and lower case; other bytes as they are."""
    if data.isascii():
        return data.lower()
    return data.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape")
