"""Where a value stands: in a line of a file, or behind a flag of the command line.

Each value is known by its path, the keys and indices that lead to it. A source turns the path into
words, and says what else depends on where a value was written.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tcpd.errors import ConfigError
from tcpd.escape import escape_text

Path_ = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Source(typing.Protocol):
    """Where values come from.

    It may offer two methods more:

    - `is_words(path) -> bool`: whether the value at `path` is a word of a command line, which has
      no types: then `"5"` may stand for a number, and `"a,b"` for a list;
    - `directory(path) -> Path`: the directory that the value starts from, if it is a relative path.
    """

    def where(self, path: Path_) -> str:
        """Return the place of the value at `path`, for an error message."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Values that were given as `--option key=value`."""

    option: str = "--option"

    def where(self, path: Path_) -> str:
        """Return the option and its key."""
        return " ".join([self.option, dotted(path)]).strip()

    def is_words(self, path: Path_) -> bool:
        """Return that it is: the command line has nothing but words."""
        return True

    def directory(self, path: Path_) -> Path:
        """Return where we are; absolute, since a daemon may move later."""
        return Path.cwd()


@dataclass(frozen=True, slots=True)
class Place:
    """One value's place: its source and the keys that lead to it."""

    source: Source
    path: Path_ = ()

    def __str__(self) -> str:
        return self.source.where(self.path)

    def __truediv__(self, key: str | int) -> Place:
        return Place(self.source, (*self.path, key))

    @property
    def is_words(self) -> bool:
        """Whether the value is a word of a command line, which has no types."""
        ask = getattr(self.source, "is_words", None)
        return bool(ask and ask(self.path))

    @property
    def directory(self) -> Path | None:
        """The directory that a relative path here starts from, if the source knows one."""
        ask = getattr(self.source, "directory", None)
        return ask(self.path) if ask else None

    def error(self, problem: str, hint: str = "") -> ConfigError:
        """Return a `ConfigError` at this place, whose value then isn't known."""
        return ConfigError(str(self), problem, hint, (self,))


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as TOML writes it: `listeners.echo.listen[0]`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            shown = escape_text(key, limit=100)
            if not _BARE_KEY.fullmatch(key):
                shown = '"' + shown.replace('"', '\\"') + '"'
            text += f".{shown}" if text else shown
    return text
