"""A table of values becomes a typed dataclass, or a list of what is wrong with it.

The dataclass's own fields say what is accepted: names, types, defaults. Nothing else describes it.

Rules:
- Every mistake is found in one pass, each with its place; nothing is guessed or ignored.
- A field `not_` has the key `not`: a trailing underscore keeps clear of Python's keywords.
- A type with a classmethod `parse(value)` reads itself; it raises `ValueError` if it can't.
- A dataclass's `__post_init__` checks what concerns several fields; it raises `FieldError`
  (several: an `ExceptionGroup` of them) or `ValueError`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from tcpd.errors import ConfigError, ConfigErrors, FieldError, did_you_mean
from tcpd.units import ByteSize, PerSecond, Seconds, parse_duration, parse_rate, parse_size

T = TypeVar("T")
Path_ = tuple[str | int, ...]


class Source(typing.Protocol):
    """Where values come from."""

    def where(self, path: Path_) -> str:
        """Return the place of the value at `path`, for an error message."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Values that were given as `--option key=value`."""

    option: str = "--option"

    def where(self, path: Path_) -> str:
        """Return the option and its key."""
        return " ".join([self.option, dotted(path)]).strip()


@dataclass(frozen=True, slots=True)
class Place:
    """One value's place: its source and the keys that lead to it."""

    source: Source
    path: Path_ = ()

    def __str__(self) -> str:
        return self.source.where(self.path)

    def __truediv__(self, key: str | int) -> Place:
        return Place(self.source, (*self.path, key))

    def error(self, problem: str, hint: str = "") -> ConfigError:
        """Return a `ConfigError` at this place."""
        return ConfigError(str(self), problem, hint)


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest value of a number: `Annotated[int, Range(1, 65535)]`."""

    least: float | None = None
    greatest: float | None = None

    def problem(self, value: float) -> str:
        """Return what is wrong with a value, or an empty text."""
        low, high = self.least, self.greatest
        if (low is None or value >= low) and (high is None or value <= high):
            return ""
        if high is None:
            return f"expected {low:g} or more, not {value:g}"
        if low is None:
            return f"expected {high:g} or less, not {value:g}"
        return f"expected {low:g} to {high:g}, not {value:g}"


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as TOML writes it: `listeners.echo.listen[0]`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            bare = key.replace("-", "").replace("_", "").isalnum() and key.isascii()
            shown = key if bare else '"' + key.encode("unicode_escape").decode() + '"'
            text += f".{shown}" if text else shown
    return text


def keys_of(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the keys that a dataclass accepts, and the field of each."""
    fields = dataclasses.fields(cls)
    return {field.name.rstrip("_"): field for field in fields if field.init}


def build(cls: type[T], table: object, place: Place, problems: list[ConfigError]) -> T | None:
    """Build a dataclass from a table.

    Args:
        cls: the dataclass.
        table: what stands in the source, hopefully a table.
        place: where it stands.
        problems: gains an entry for every mistake.

    Returns:
        The instance, or None if there was any mistake.
    """
    if not isinstance(table, Mapping):
        problems.append(place.error(f"expected a table, not {_name_of(table)}"))
        return None
    found = len(problems)
    keys = keys_of(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    arguments: dict[str, Any] = {}
    for key, value in table.items():
        field = keys.get(key)
        if field is None:
            known = ", ".join(sorted(keys)) or "none"
            hint = did_you_mean(key, keys) or f"known here: {known}"
            problems.append((place / key).error("unknown key", hint))
            continue
        arguments[field.name] = convert(hints[field.name], value, place / key, problems)
    for key, field in keys.items():
        if key not in table and _is_required(field):
            problems.append(place.error(f"{key!r} is missing"))
    if len(problems) > found:
        return None
    try:
        return cls(**arguments)
    except (ConfigErrors, ExceptionGroup, ValueError) as error:
        problems.extend(_located(error, place))
        return None


def convert(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    """Return a value as the type `kind` asks, or None with the reason added to `problems`."""
    try:
        return _convert(kind, value, place, problems)
    except ValueError as error:
        problems.extend(_located(error, place))
        return None


def _located(error: BaseException, place: Place) -> Iterable[ConfigError]:
    if isinstance(error, ConfigErrors):
        yield from error.errors
    elif isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _located(each, place)
    elif isinstance(error, FieldError):
        yield Place(place.source, place.path + error.path).error(error.problem, error.hint)
    elif isinstance(error, ValueError):
        yield place.error(str(error))
    else:
        raise error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


_WORDS: dict[Any, str] = {
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
_UNITS: dict[Any, tuple[type, Callable[[str], Any]]] = {
    Seconds: (float, parse_duration),
    ByteSize: (int, parse_size),
    PerSecond: (float, parse_rate),
}


def words_for(kind: Any) -> str:
    """Return a type in words, for an error or a list of options: `a whole number`, `a list`."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin = get_origin(kind)
    if origin is Annotated:
        return words_for(get_args(kind)[0])
    if origin is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if origin in (Union, types.UnionType):
        options = [words_for(each) for each in get_args(kind) if each is not type(None)]
        return " or ".join(dict.fromkeys(options))
    if origin in (tuple, list):
        return "a list"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(kind):
        return "a table"
    return str(getattr(kind, "described", None) or getattr(kind, "__name__", kind))


def _name_of(value: object) -> str:
    """Return what a TOML value is, in words, and the value itself where it is short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f"the text {value[:40]!r}..."
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value)


def _convert(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return value
    if origin is Annotated:
        return _ranged(kind, value, place, problems)
    if origin is Literal:
        return _choice(get_args(kind), value)
    if origin in (Union, types.UnionType):
        return _alternative(kind, value, place, problems)
    if origin in (tuple, list):
        return _sequence(kind, value, place, problems)
    if origin in (dict, Mapping):
        return _mapping(kind, value, place, problems)
    if kind in _UNITS:
        number, parse = _UNITS[kind]
        return parse(value) if isinstance(value, str) else _scalar(kind, number, value, place)
    if kind in _WORDS:
        return _scalar(kind, kind, value, place)
    if hasattr(kind, "parse"):
        return kind.parse(value)
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type[Any], kind), value, place, problems)
    raise TypeError(f"{place}: an option can't be of the type {kind!r}")


def _scalar(kind: Any, python: type, value: Any, place: Place) -> Any:
    if isinstance(place.source, CommandLine) and isinstance(value, str):
        value = _from_command_line(python, value)
    if python in (str, bytes, Path) and isinstance(value, str):
        if python is Path and not value:
            raise ValueError("expected a path, not an empty text")
        return value.encode() if python is bytes else Path(value) if python is Path else value
    if python is float and type(value) in (int, float) and not math.isnan(value):
        return float(value)
    if python in (bool, int) and type(value) is python:
        return value
    raise ValueError(f"expected {words_for(kind)}, not {_name_of(value)}")


def _from_command_line(python: type, text: str) -> Any:
    """Return a word of the command line as the number or truth value it may stand for."""
    if python is bool:
        return {
            "true": True,
            "yes": True,
            "on": True,
            "false": False,
            "no": False,
            "off": False,
        }.get(text.lower(), text)
    if python in (int, float):
        try:
            return python(text)
        except ValueError:
            return text
    return text


def _ranged(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    base, *notes = get_args(kind)
    result = _convert(base, value, place, problems)
    if isinstance(result, int | float):
        for note in notes:
            if isinstance(note, Range) and (problem := note.problem(result)):
                raise ValueError(problem)
    return result


def _choice(choices: tuple[Any, ...], value: Any) -> Any:
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    hint = (
        did_you_mean(value, [c for c in choices if isinstance(c, str)])
        if isinstance(value, str)
        else ""
    )
    expected = " or ".join(repr(choice) for choice in choices)
    raise FieldError((), f"expected {expected}, not {_name_of(value)}", hint)


def _shape(kind: Any) -> Any:
    """Return the shape of TOML value that a type is read from: dict, list, or a scalar's type."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _shape(get_args(kind)[0])
    if origin in (tuple, list):
        return list
    if origin in (dict, Mapping):
        return dict
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "parse"):
        return dict
    return None


def _alternative(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    """Convert to the first alternative that fits; the value's shape decides whose errors count."""
    options = [each for each in get_args(kind) if each is not type(None)]
    shape = dict if isinstance(value, Mapping) else list if isinstance(value, list) else None
    fitting = [each for each in options if _shape(each) is shape]
    if not fitting:
        raise ValueError(f"expected {words_for(kind)}, not {_name_of(value)}")
    complaints: list[list[ConfigError]] = []
    for each in fitting:
        mine: list[ConfigError] = []
        result = convert(each, value, place, mine)
        if not mine:
            return result
        complaints.append(mine)
    if len(fitting) > 1 and shape is None:
        raise ValueError(f"expected {words_for(kind)}, not {_name_of(value)}")
    problems.extend(sorted(complaints, key=len)[0])
    return None


def _sequence(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    if isinstance(place.source, CommandLine) and isinstance(value, str):
        value = [part for part in value.split(",") if part]
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, not {_name_of(value)}")
    inner = get_args(kind)[0]
    items = [convert(inner, item, place / index, problems) for index, item in enumerate(value)]
    return get_origin(kind)(items)


def _mapping(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table, not {_name_of(value)}")
    inner = get_args(kind)[1]
    return {key: convert(inner, item, place / key, problems) for key, item in value.items()}
