"""A TOML file, and the line on which each of its keys stands.

Whatever is wrong with the file as such (it can't be read, it is no TOML) is a `ConfigErrors` like
any other mistake in it. What its keys mean is not known here.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcpd.errors import ConfigError, ConfigErrors
from tcpd.escape import escape_text
from tcpd.place import dotted
from tcpd.toml_lines import Node, locate

# Far above any configuration that people write; low enough to stop at once on a log file or a disk.
MAX_SIZE = 4 * 2**20

_AT = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
# What tomllib says, as it begins, and what would be right.
_HINTS = {
    "Invalid value": "a text stands in quotes; true and false are in lower case",
    "Invalid statement": "a line is '[table]' or 'key = value'; other than A-Z a-z 0-9 _ -,"
    " a key is quoted",
    "Expected '=' after a key": "write it as 'key = value'",
    "Expected newline or end of document": "one 'key = value' a line",
    "Cannot overwrite a value": "this key has a value already",
    "Cannot declare": "a table is declared once; put its keys together",
    "Cannot mutate immutable namespace": "a table in braces is complete; add the key inside them",
    "Unescaped '\\'": "write the backslash twice, or put the text in single quotes",
    "Illegal character '\\n'": "a text over several lines stands in three quotes on each side",
    "Illegal character": "write a control character as \\uXXXX in double quotes",
    "Unterminated string": "its closing quotes are missing",
    "Expected \"'": "its closing quotes are missing",
    "Unclosed array": "a comma or its closing bracket is missing",
    "Unclosed inline table": "a comma or its closing brace is missing (it stands on one line)",
}


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A TOML file that was read.

    Attributes:
        name: what errors call it; usually its path, as it was given.
        table: what it says.
        base: the directory that relative paths in it start from.
    """

    name: str
    table: dict[str, Any]
    base: Path
    _lines: Node

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """Return the file at `path`.

        Raises:
            ConfigErrors: it can't be read, or it is no TOML.
        """
        name = escape_text(str(path), limit=500)
        try:
            # Without waiting, since to open a FIFO may take for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                mode = os.fstat(descriptor).st_mode
                if stat.S_ISDIR(mode):
                    raise IsADirectoryError
                if not stat.S_ISREG(mode):
                    raise _failure(name, "is no regular file", "name a file that can be read again")
                data = file.read(MAX_SIZE + 1)
        except (OSError, ValueError) as error:
            raise _failure(name, _reason(error)) from None
        if len(data) > MAX_SIZE:
            raise _failure(name, f"is larger than {MAX_SIZE >> 20} MiB, too much for this file")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise _failure(
                f"{name}:{line}",
                f"the byte 0x{data[error.start]:02x} isn't UTF-8",
                "save the file as UTF-8",
            ) from None
        return cls._parse(text, name, Path(os.path.abspath(path)).parent)

    @classmethod
    def parse(cls, text: str, name: str) -> TomlFile:
        """Return a text as the file `name`; relative paths in it start from where we are.

        Raises:
            ConfigErrors: it is no TOML.
        """
        return cls._parse(text, name, Path.cwd())

    @classmethod
    def _parse(cls, text: str, name: str, base: Path) -> TomlFile:
        try:
            return cls(name, tomllib.loads(text), base, locate(text))
        except RecursionError:
            raise _failure(name, "lists or tables are nested too deeply in it") from None
        except ValueError as error:
            raise _syntax_error(text, name, str(error)) from None

    def where(self, path: tuple[str | int, ...]) -> str:
        """Return a key's place: `tcpd.toml:10: listeners.echo.listen`.

        A key that isn't there has the line of the table that it should be in. The whole file has
        no line.
        """
        if not path:
            return self.name
        node = self._lines.nearest(path)
        return f"{self.name}:{node.line}: {dotted(path)}"

    def directory(self, path: tuple[str | int, ...]) -> Path:
        """Return the directory that relative paths in the file start from."""
        return self.base

    def line(self, path: tuple[str | int, ...]) -> int:
        """Return the line of a key, or of the nearest table around it."""
        return self._lines.nearest(path).line


def _failure(where: str, problem: str, hint: str = "") -> ConfigErrors:
    return ConfigErrors([ConfigError(where, problem, hint)])


def _reason(error: OSError | ValueError) -> str:
    """Return why a file couldn't be read; a ValueError is a path with a NUL in it."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "is a directory, not a file"
    if isinstance(error, PermissionError):
        return "this user has no permission to read it"
    return f"can't be read: {getattr(error, 'strerror', None) or error}"


def _syntax_error(text: str, name: str, message: str) -> ConfigErrors:
    """Return what tomllib complains of, in our form."""
    at = _AT.search(message)
    if at is None:
        # Python's own error, which tomllib lets through.
        return _failure(name, "a number in it has far too many digits")
    problem = message[: at.start()]
    hint = next((hint for start, hint in _HINTS.items() if problem.startswith(start)), "")
    problem = escape_text(problem[:1].lower() + problem[1:], limit=200).replace("\\\\", "\\")
    if at["line"]:
        return _failure(f"{name}:{at['line']}", f"{problem} (column {at['column']})", hint)
    line = text.rstrip("\n").count("\n") + 1
    if not problem.startswith("cannot"):
        problem += " (at the end of the file)"
    return _failure(f"{name}:{line}", problem, hint)
