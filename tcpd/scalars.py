"""Single values: texts, numbers, paths, quantities with a unit, and choices among literals.

Each function returns a value as the type that is asked for, or raises `ValueError`. A word of the
command line may stand for any of them; a value of a file has a type already.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tcpd.errors import FieldError, did_you_mean
from tcpd.place import Place
from tcpd.units import ByteSize, PerSecond, Seconds, parse_duration, parse_rate, parse_size
from tcpd.wording import name_of, words_for


class HandlerName(str):
    """A handler's name, as an option of another handler; it may be `path/to/file.py:Class`."""

    __slots__ = ()
    described = "a handler's name"

    @classmethod
    def parse(cls, value: object) -> HandlerName:
        """Return the name.

        Raises:
            ValueError: it isn't a text.
        """
        if not isinstance(value, str):
            raise ValueError(f"expected {cls.described}, not {name_of(value)}")
        return cls(value)

    def from_directory(self, base: Path | None) -> str:
        """Return the name as it holds in any directory, if a relative file starts from `base`."""
        file, _, attribute = self.rpartition(":")
        if not file.endswith(".py"):
            return str(self)
        return f"{os.path.abspath((base or Path()) / Path(file).expanduser())}:{attribute}"


class WrongTypeError(ValueError):
    """A value isn't of the type at all, as opposed to one that is and is wrong."""


UNITS: dict[Any, tuple[type, Callable[[str], Any]]] = {
    Seconds: (float, parse_duration),
    ByteSize: (int, parse_size),
    PerSecond: (float, parse_rate),
}


def check_bits(value: Any) -> Any:
    """Return a value, unless it is a number that no other TOML reader would take."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError("the number is too large; TOML's have 64 bits")
    return value


def wrong_type(kind: Any, value: object) -> ValueError:
    """Return the error for a value of another type."""
    return WrongTypeError(f"expected {words_for(kind)}, not {name_of(value)}")


def quantity(kind: Any, value: Any, place: Place) -> Any:
    """Return a duration, size or rate; a plain number is in seconds, bytes, or a second."""
    python, parse = UNITS[kind]
    if place.is_words and isinstance(value, str):
        value = check_bits(_from_words(python, value))
    if isinstance(value, str):
        return parse(value)
    if type(value) not in (int, python) or (python is float and not math.isfinite(value)):
        raise wrong_type(kind, value)
    if value < 0:
        raise ValueError(f"expected {words_for(kind)}, not {name_of(value)}")
    return python(value)


def scalar(kind: Any, value: Any, place: Place) -> Any:
    """Return a text, number, truth value or path."""
    if place.is_words and isinstance(value, str):
        value = check_bits(_from_words(kind, value))
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
    raise wrong_type(kind, value)


def _path(text: str, place: Place) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"expected a path, not {name_of(text) if text else 'an empty text'}")
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


def choice(choices: tuple[Any, ...], value: Any, place: Place) -> Any:
    """Return the one of several literals that a value is."""
    for each in choices:
        given = _from_words(type(each), value) if place.is_words else value
        if given == each and type(given) is type(each):
            return each
    expected = " or ".join(repr(each) for each in choices)
    problem = f"expected {expected}, not {name_of(value)}"
    if not place.is_words and all(type(each) is not type(value) for each in choices):
        raise WrongTypeError(problem)
    texts = [each for each in choices if isinstance(each, str)]
    hint = did_you_mean(value, texts) if isinstance(value, str) else ""
    raise FieldError((), problem, hint)
