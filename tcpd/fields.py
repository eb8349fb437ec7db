"""A table of values becomes a typed dataclass, or a list of what is wrong with it.

The dataclass's own fields say what is accepted: names, types, defaults. Nothing else describes it.

Rules:
- Every mistake is found in one pass, each with its place; nothing is guessed or ignored.
- A field `not_` has the key `not`: a trailing underscore keeps clear of Python's keywords. A field
  with a leading underscore, or with the metadata `NO_KEY`, has none.
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
from tcpd.escape import escape_text
from tcpd.place import CommandLine, Path_, Place, Source, dotted
from tcpd.units import ByteSize, PerSecond, Seconds, parse_duration, parse_rate, parse_size

__all__ = [
    "NO_KEY",
    "CommandLine",
    "OneOrMore",
    "Path_",
    "Place",
    "Range",
    "Source",
    "build",
    "convert",
    "dotted",
    "keys_of",
    "words_for",
]

T = TypeVar("T")

NO_KEY: Mapping[str, object] = {"tcpd.key": False}
"""A field's metadata, if the program and no table gives it: `field(metadata=NO_KEY)`."""


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
            return f"expected {_plain(low)} or more, not {_plain(value)}"
        if low is None:
            return f"expected {_plain(high)} or less, not {_plain(value)}"
        return f"expected {_plain(low)} to {_plain(high)}, not {_plain(value)}"


def _plain(number: float | None) -> str:
    """Return a number without a needless `.0`: `typing` takes Range(0, 1) for Range(0.0, 1.0)."""
    return str(int(number) if number is not None and number == int(number) else number)


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """A tuple that isn't empty, and for which its only item may stand alone.

    `Annotated[tuple[str, ...], OneOrMore()]` takes `"a"` as `["a"]`.
    """


class _WrongTypeError(ValueError):
    """A value isn't of the type at all, as opposed to one that is and is wrong."""


def keys_of(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the keys that a dataclass accepts, and the field of each."""
    return {
        field.name.rstrip("_"): field
        for field in dataclasses.fields(cls)
        if field.init and field.name[0] != "_" and field.metadata.get("tcpd.key", True)
    }


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
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError as error:  # a type that is imported for type checkers only
        problems.append(place.error(f"the types of {cls.__name__} can't be known: {error}"))
        return None
    arguments: dict[str, Any] = {}
    for key, value in table.items():
        field = keys.get(key)
        if field is None:
            known = ", ".join(sorted(keys))
            hint = did_you_mean(key, keys) or (f"known here: {known}" if known else "")
            problems.append((place / key).error("unknown key", hint or "it takes none"))
            continue
        arguments[field.name] = convert(hints[field.name], value, place / key, problems)
    for key, field in keys.items():
        if key not in table and _is_required(field):
            problems.append(_missing(key, place, f"expected {words_for(hints[field.name])}"))
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


def _missing(key: str, place: Place, expected: str) -> ConfigError:
    """Return the complaint about a key that has to be there."""
    if place.is_words:  # there is no line to add it to, but a word to say
        return ConfigError(f"{place / key}=...", "is missing", expected)
    return place.error(f"{key!r} is missing", expected)


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


def _name_of(value: object) -> str:
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


def _convert(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    origin = get_origin(kind)
    _check_bits(value)
    if kind is Any or kind is object:
        return value
    if place.is_words and value and _is_texts(value) and not _takes_words(kind):
        raise ValueError("is given more than once; it takes one value")
    if origin is Annotated:
        return _annotated(kind, value, place, problems)
    if origin is Literal:
        return _choice(get_args(kind), value, place)
    if origin in (Union, types.UnionType):
        return _alternative(kind, value, place, problems)
    if origin in (tuple, list):
        return _sequence(kind, value, place, problems)
    if origin in (dict, Mapping):
        return _mapping(kind, value, place, problems)
    if kind in _UNITS:
        return _quantity(kind, value, place)
    if kind in _WORDS:
        return _scalar(kind, value, place)
    if hasattr(kind, "parse"):
        return kind.parse(value)
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type[Any], kind), value, place, problems)
    raise ValueError(f"it can't be set: its type, {words_for(kind)}, is none that a table can give")


def _check_bits(value: Any) -> Any:
    """Return a value, unless it is a number that no other TOML reader would take."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError("the number is too large; TOML's have 64 bits")
    return value


def _wrong_type(kind: Any, value: object) -> ValueError:
    return _WrongTypeError(f"expected {words_for(kind)}, not {_name_of(value)}")


def _quantity(kind: Any, value: Any, place: Place) -> Any:
    """Return a duration, size or rate; a plain number is in seconds, bytes, or a second."""
    python, parse = _UNITS[kind]
    if place.is_words and isinstance(value, str):
        value = _check_bits(_from_words(python, value))
    if isinstance(value, str):
        return parse(value)
    if type(value) not in (int, python) or (python is float and not math.isfinite(value)):
        raise _wrong_type(kind, value)
    if value < 0:
        raise ValueError(f"expected {words_for(kind)}, not {_name_of(value)}")
    return python(value)


def _scalar(kind: Any, value: Any, place: Place) -> Any:
    if place.is_words and isinstance(value, str):
        value = _check_bits(_from_words(kind, value))
    if isinstance(value, str):
        if kind is str:
            return value
        if kind is bytes:
            return value.encode("utf-8", "surrogateescape")  # a word of argv may hold any bytes
        if kind is Path:
            return _path(value, place)
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind in (bool, int) and type(value) is kind:
        return value
    raise _wrong_type(kind, value)


def _path(text: str, place: Place) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"expected a path, not {_name_of(text) if text else 'an empty text'}")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    return (place.directory or Path()) / path


_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _from_words(python: type, text: str) -> Any:
    """Return a word of the command line as the number or truth value it may stand for."""
    if python is bool:
        return _TRUTH.get(text.lower(), text)
    if python in (int, float):
        try:
            return python(text)
        except ValueError:
            return text
    return text


def _annotated(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    base, *notes = get_args(kind)
    one_or_more = any(isinstance(note, OneOrMore) for note in notes)
    if one_or_more and not isinstance(value, list | tuple) and not place.is_words:
        return get_origin(base)([_convert(get_args(base)[0], value, place, problems)])
    result = _convert(base, value, place, problems)
    if one_or_more and not result:
        raise ValueError("expected at least one, not an empty list")
    if isinstance(result, int | float):
        for note in notes:
            if isinstance(note, Range) and (problem := note.problem(result)):
                raise ValueError(problem)
    return result


def _choice(choices: tuple[Any, ...], value: Any, place: Place) -> Any:
    for choice in choices:
        given = _from_words(type(choice), value) if place.is_words else value
        if given == choice and type(given) is type(choice):
            return choice
    expected = " or ".join(repr(choice) for choice in choices)
    texts = [choice for choice in choices if isinstance(choice, str)]
    hint = did_you_mean(value, texts) if isinstance(value, str) else ""
    raise FieldError((), f"expected {expected}, not {_name_of(value)}", hint)


def _shape(kind: Any) -> Any:
    """Return the shape of TOML value that a type is read from: dict, list, or None for a scalar."""
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
    shapes = (None, list) if shape is None and place.is_words else (shape,)
    fitting = [each for each in options if _shape(each) in shapes or hasattr(each, "parse")]
    complaints: list[list[ConfigError]] = []
    for each in fitting:
        mine: list[ConfigError] = []
        try:
            result = _convert(each, value, place, mine)
        except _WrongTypeError:
            continue
        except ValueError as error:
            mine.extend(_located(error, place))
        if not mine:
            return result
        complaints.append(mine)
    if not complaints or (len(complaints) > 1 and shape is None):
        raise _wrong_type(kind, value)
    fewest = min(complaints, key=len)
    problems.extend(fewest)
    return None


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _takes_words(kind: Any) -> bool:
    """Return whether a type can be several words of a command line."""
    if get_origin(kind) in (Union, types.UnionType):
        return any(_takes_words(each) for each in get_args(kind))
    if get_origin(kind) is Annotated:
        return _takes_words(get_args(kind)[0])
    return _shape(kind) is list and _shape(get_args(kind)[0]) is None


def _sequence(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    if place.is_words and isinstance(value, str):
        value = [part for part in value.split(",") if part]
    if not isinstance(value, list | tuple):
        raise _wrong_type(kind, value)
    inner = get_args(kind)[0]
    items = [convert(inner, item, place / index, problems) for index, item in enumerate(value)]
    return get_origin(kind)(items)


def _mapping(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong_type(kind, value)
    inner = get_args(kind)[1]
    return {key: convert(inner, item, place / key, problems) for key, item in value.items()}
