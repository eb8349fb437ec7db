"""A table of values becomes a typed dataclass, or a list of what is wrong with it.

The dataclass's own fields say what is accepted: names, types, defaults. Nothing else describes it.

Rules:
- Every mistake is found in one pass, each with its place; nothing is guessed or ignored.
- A field `not_` has the key `not`: a trailing underscore keeps clear of Python's keywords. A field
  with a leading underscore, or with the metadata `NO_KEY`, has none.
- A type with a classmethod `parse(value)` reads itself; it raises `ValueError` if it can't.
- A dataclass's `__post_init__` checks what concerns several fields; it raises `FieldError`
  (several: an `ExceptionGroup` of them) or `ValueError`. It runs even if some fields are wrong,
  with their defaults in their place; what it then says of those is left out.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from tcpd.errors import ConfigError, ConfigErrors, FieldError, did_you_mean, nearest
from tcpd.place import CommandLine, Path_, Place, Source, dotted
from tcpd.scalars import UNITS, WrongTypeError, check_bits, choice, quantity, scalar, wrong_type
from tcpd.wording import WORDS, OneOrMore, Range, name_of, words_for

__all__ = [
    "NO_KEY",
    "CommandLine",
    "OneOrMore",
    "Path_",
    "Place",
    "Range",
    "Source",
    "build",
    "build_partly",
    "convert",
    "dotted",
    "keys_of",
    "unknown_paths",
    "words_for",
]

T = TypeVar("T")

NO_KEY: Mapping[str, object] = {"tcpd.key": False}
"""A field's metadata, if the program and no table gives it: `field(metadata=NO_KEY)`."""


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
    found = len(problems)
    built = build_partly(cls, table, place, problems)
    return built if len(problems) == found else None


def build_partly(
    cls: type[T], table: object, place: Place, problems: list[ConfigError]
) -> T | None:
    """Build a dataclass from as much of a table as is right, for further checks of that.

    Where `problems` has grown, the instance is good for nothing else: a default stands in for each
    value that is wrong, a required one is missing, or None stands for an item of it; and its
    `__post_init__` may not have run.

    Args:
        cls: the dataclass.
        table: what stands in the source, hopefully a table.
        place: where it stands.
        problems: gains an entry for every mistake.

    Returns:
        The instance, or None if it isn't even a table.
    """
    if not isinstance(table, Mapping):
        problems.append(place.error(f"expected a table, not {name_of(table)}"))
        return None
    found = len(problems)
    try:
        values = _values(cls, table, place, problems)
    except NameError as error:  # a type that is imported for type checkers only
        problems.append(place.error(f"the types of {cls.__name__} can't be known: {error}"))
        return None
    unknown = unknown_paths(problems[found:], place)
    required = {field.name for field in keys_of(cls).values() if _is_required(field)}
    usable = {name: value for name, value in values.items() if _is_usable(value)}
    if required <= usable.keys():
        try:
            return cls(**usable)
        except (ConfigErrors, ExceptionGroup, ValueError) as error:
            problems.extend(_located(error, place, unknown))
        except Exception:
            # Checks that are anybody's, of values that nobody gave: only what is right counts.
            if len(problems) == found:
                raise
    known = {name: values[name] for name in required if values.get(name) is not None}
    return _bare(cls, known | usable)


@functools.lru_cache(maxsize=256)  # a file of a hundred listeners asks a hundred times
def _hints_of(cls: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _values(
    cls: type[Any], table: Mapping[str, Any], place: Place, problems: list[ConfigError]
) -> dict[str, Any]:
    """Return the fields that a table gives; a wrong one is None, or what is known of it."""
    keys = keys_of(cls)
    hints = _hints_of(typing.cast("Hashable", cls))
    values: dict[str, Any] = {}
    for key, value in table.items():
        field = keys.get(key)
        if field is None:
            problems.append(_unknown_key(key, keys, table, place))
        else:
            values[field.name] = convert(hints[field.name], value, place / key, problems)
    for key, field in keys.items():
        if key not in table and _is_required(field):
            problems.append(_missing(key, place, f"expected {words_for(hints[field.name])}"))
    return values


def _unknown_key(
    key: str, keys: Collection[str], table: Mapping[str, Any], place: Place
) -> ConfigError:
    """Return the complaint about a key that doesn't exist."""
    known = f"known here: {', '.join(sorted(keys))}" if keys else "nothing can be set here"
    error = (place / key).error("unknown key", did_you_mean(key, keys) or known)
    # Whatever was meant by it isn't known: the key that looks like it, or any that isn't there.
    meant = nearest(key, keys)
    error.unknown = tuple(place / each for each in ([meant] if meant else set(keys) - set(table)))
    return error


def unknown_paths(errors: Iterable[ConfigError], place: Place) -> list[Path_]:
    """Return the paths of the values that errors leave unknown, beginning at the table `place`."""
    depth = len(place.path)
    return [
        each.path[depth:]
        for error in errors
        for each in error.unknown
        if each.source is place.source and each.path[:depth] == place.path
    ]


def _is_usable(value: object) -> bool:
    """Return whether a value is there, with all its items."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return value is not None and not (isinstance(value, list | tuple) and None in value)


def _bare(cls: type[T], values: Mapping[str, Any]) -> T:
    """Return an instance of which nothing was checked; what is required may be missing."""
    instance = cls.__new__(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name in values:
            value = values[field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            continue
        object.__setattr__(instance, field.name, value)  # it may be frozen
    return instance


def convert(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    """Return a value as the type `kind` asks.

    If it is wrong, the reasons are added to `problems`; what is returned is what `build_partly`
    knows of it, or None.
    """
    try:
        return _convert(kind, value, place, problems)
    except ValueError as error:
        problems.extend(_located(error, place))
        return None


def _located(
    error: BaseException, place: Place, unknown: Collection[Path_] = ()
) -> Iterator[ConfigError]:
    """Give an error's parts with their places, but for those that rest on what isn't known."""
    if isinstance(error, ConfigErrors):
        yield from error.errors
    elif isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _located(each, place, unknown)
    elif isinstance(error, FieldError):
        # One about the table itself may rest on anything in it.
        if not unknown or (error.path and not error.is_doubtful(unknown)):
            yield Place(place.source, place.path + error.path).error(error.problem, error.hint)
    elif isinstance(error, ValueError):
        if not unknown:
            yield place.error(str(error))
    elif not unknown:
        raise error


def _missing(key: str, place: Place, expected: str) -> ConfigError:
    """Return the complaint about a key that has to be there."""
    if place.is_words:  # there is no line to add it to, but a word to say
        return ConfigError(f"{place / key}=...", "is missing", expected, (place / key,))
    return ConfigError(str(place), f"{key!r} is missing", expected, (place / key,))


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _convert(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    origin = get_origin(kind)
    check_bits(value)
    if kind is Any or kind is object:
        return value
    if place.is_words and value and _is_texts(value) and not _takes_words(kind):
        raise ValueError("is given more than once; it takes one value")
    if origin is Annotated:
        return _annotated(kind, value, place, problems)
    if origin is Literal:
        return choice(get_args(kind), value, place)
    if origin in (Union, types.UnionType):
        return _alternative(kind, value, place, problems)
    if origin in (tuple, list):
        return _sequence(kind, value, place, problems)
    if origin in (dict, Mapping):
        return _mapping(kind, value, place, problems)
    if kind in UNITS:
        return quantity(kind, value, place)
    if kind in WORDS:
        return scalar(kind, value, place)
    if hasattr(kind, "parse"):
        return kind.parse(value)
    if dataclasses.is_dataclass(kind):
        return build_partly(typing.cast(type[Any], kind), value, place, problems)
    raise ValueError(f"it can't be set: its type, {words_for(kind)}, can't be given in a table")


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
            if isinstance(note, Range) and (problem := note.problem(result, base)):
                raise ValueError(problem)
    return result


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
    complaints: list[tuple[list[ConfigError], Any]] = []
    no_word: FieldError | None = None
    for each in fitting:
        mine: list[ConfigError] = []
        result = None
        try:
            result = _convert(each, value, place, mine)
        except WrongTypeError:
            continue
        except ValueError as error:
            mine.extend(_located(error, place))
            if get_origin(each) is Literal and isinstance(error, FieldError):
                no_word = error
        if not mine:
            return result
        complaints.append((mine, result))
    if no_word is not None and no_word.hint:  # it isn't only one of the words that would be right
        raise FieldError((), str(wrong_type(kind, value)), no_word.hint)
    if not complaints or (shape is None and (len(complaints) > 1 or no_word is not None)):
        raise wrong_type(kind, value)
    fewest, result = min(complaints, key=lambda each: len(each[0]))
    problems.extend(fewest)
    return result


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
        raise wrong_type(kind, value)
    inner = get_args(kind)[0]
    items = [convert(inner, item, place / index, problems) for index, item in enumerate(value)]
    return get_origin(kind)(items)


def _mapping(kind: Any, value: Any, place: Place, problems: list[ConfigError]) -> Any:
    if not isinstance(value, Mapping):
        raise wrong_type(kind, value)
    inner = get_args(kind)[1]
    return {key: convert(inner, item, place / key, problems) for key, item in value.items()}
