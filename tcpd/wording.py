"""Types and values in words, for errors and lists of options; and notes that narrow a type down.

`Annotated[int, Range(1, 100)]` and `Annotated[tuple[str, ...], OneOrMore()]` are types with a note.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tcpd.escape import escape_text
from tcpd.units import ByteSize, PerSecond, Seconds, write_duration, write_size


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest value of a number: `Annotated[int, Range(1, 65535)]`."""

    least: float | None = None
    greatest: float | None = None

    def problem(self, value: float, kind: Any = float) -> str:
        """Return what is wrong with a value of a type, or an empty text."""
        low, high = self.least, self.greatest
        if (low is None or value >= low) and (high is None or value <= high):
            return ""
        write = _WRITERS.get(kind, _plain)
        if high is None and low is not None:
            return f"expected {write(low)} or more, not {write(value)}"
        if low is None and high is not None:
            return f"expected {write(high)} or less, not {write(value)}"
        return f"expected {write(low or 0)} to {write(high or 0)}, not {write(value)}"


def _plain(number: float) -> str:
    """Return a number without a needless `.0`: `typing` takes Range(0, 1) for Range(0.0, 1.0)."""
    return str(int(number) if number == int(number) else number)


_WRITERS: dict[Any, Callable[[Any], str]] = {
    Seconds: write_duration,
    ByteSize: write_size,
    PerSecond: lambda rate: f"{_plain(rate)}/s",
}


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """A tuple that isn't empty, and for which its only item may stand alone.

    `Annotated[tuple[str, ...], OneOrMore()]` takes `"a"` as `["a"]`.
    """


WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    bytes: "a text",
    Path: "a path",
    Seconds: "a duration such as '30s' or '5m'",
    ByteSize: "a size such as '64KiB' or '10MB'",
    PerSecond: "a rate such as '50/s'",
}


def words_for(kind: Any) -> str:
    """Return a type in words, for an error or a list of options: `a whole number`, `a list`."""
    if kind in WORDS:
        return WORDS[kind]
    origin = get_origin(kind)
    if origin is Annotated:
        base, *notes = get_args(kind)
        if any(isinstance(note, OneOrMore) for note in notes):
            return f"{words_for(get_args(base)[0])} or a list"
        return words_for(base)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if origin in (Union, types.UnionType):
        options = [words_for(each) for each in get_args(kind) if each is not type(None)]
        return " or ".join(dict.fromkeys(options))
    if origin in (tuple, list):
        return "a list"
    if hasattr(kind, "parse"):
        return str(getattr(kind, "described", kind.__name__))
    if origin in (dict, Mapping) or dataclasses.is_dataclass(kind):
        return "a table"
    return str(getattr(kind, "__name__", kind))


def name_of(value: object) -> str:
    """Return what a TOML value is, in words, and the value itself where it is short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{escape_text(value, limit=40)}'"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return f"the date or time {value}"
