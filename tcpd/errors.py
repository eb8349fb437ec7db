"""The errors that tcpd raises for people to read.

Each says what was wrong, where, and what would be right; none needs a traceback beside it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

PathPattern = tuple[str | int | None, ...]
"""Keys and indices that lead to a value; None stands for any: `("rules", None, "state")`."""


class TcpdError(Exception):
    """What every error of tcpd's own derives from."""


class ConfigError(TcpdError):
    """One mistake in a configuration.

    Args:
        where: the place, as `tcpd.toml:10: listeners.echo.port` or `--option size`.
        problem: what is wrong with it.
        hint: what would be right, or nothing.
        unknown: the places (`tcpd.place.Place`) of the values that aren't known because of it.
    """

    def __init__(
        self, where: str, problem: str, hint: str = "", unknown: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(where, problem, hint)
        self.where = where
        self.problem = problem
        self.hint = hint
        self.unknown = unknown

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}"
        return f"{text}; {self.hint}" if self.hint else text


class ConfigErrors(TcpdError):  # noqa: N818  (an error that holds errors)
    """All the mistakes that were found in a configuration, in the order of their discovery."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(*errors)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class FieldError(ValueError):
    """What a dataclass's `__post_init__` raises to say which of its own fields is wrong.

    Several at once: `raise ExceptionGroup("options", [FieldError(...), ...])`. `tcpd.fields` turns
    each into a `ConfigError` with file and line.

    Args:
        path: the keys and indices that lead from the table to the value: `("rules", 3, "state")`.
        problem: what is wrong with it.
        hint: what would be right, or nothing.
        rests_on: the paths of other values that it follows from. Where one of those is wrong
            itself, a default stands in for it, and nothing is said of what follows.
    """

    def __init__(
        self,
        path: tuple[str | int, ...],
        problem: str,
        hint: str = "",
        rests_on: Iterable[PathPattern] = (),
    ) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem
        self.hint = hint
        self.rests_on = tuple(rests_on)

    def is_doubtful(self, unknown: Iterable[tuple[str | int, ...]]) -> bool:
        """Return whether it may not hold, given the paths of the values that aren't known."""
        return any(
            self.path[: len(path)] == path or any(_overlap(path, each) for each in self.rests_on)
            for path in unknown
        )


def raise_all(errors: Sequence[Exception]) -> None:
    """Raise all the errors that a dataclass has found in its fields, if there are any."""
    if errors:
        raise ExceptionGroup("options", errors)


def _overlap(one: PathPattern, other: PathPattern) -> bool:
    """Return whether one of two paths leads to the other, or to what is in it."""
    return all(a == b or a is None or b is None for a, b in zip(one, other, strict=False))


class HandlerError(TcpdError):
    """A handler that can't be had: no such name, or it failed to import; the text says why."""


class SinkError(TcpdError):
    """A sink that can't be had: no such name, or it failed to import; the text says why."""


class StartError(TcpdError, SystemExit):
    """What failed while the daemon started: an address in use, a missing permission.

    It is a `SystemExit` too: `twistd` catches it as an ordinary exception, removes its pid file and
    tells the process that waits for the daemon, and then Python prints the one line and ends with
    status 1, where an ordinary exception would print a traceback.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.code = f"tcpd: {problem}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the word of `known` nearest to a mistyped one, or nothing."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near is not None else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the word of `known` that a mistyped one was meant to be, or None."""
    if len(word) > 100:  # no name is so long, and difflib is slow on such a word
        return None
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return near[0] if near else None
