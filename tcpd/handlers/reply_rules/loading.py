"""Rules in a file of their own: `[[rules]]` tables as in the configuration, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tcpd.errors import ConfigError, ConfigErrors, FieldError
from tcpd.fields import Path_, Place, build_partly, unknown_paths
from tcpd.handlers.reply_rules.model import Rule
from tcpd.toml_file import TomlFile


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """What stands in the file."""

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("has no rules; write one as [[rules]]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesRead:
    """What came of a rules file.

    Attributes:
        rules: the rules, as far as they are right.
        file: the file, for errors that are found later; None if it can't be read.
        unknown: the paths of what isn't known, since it is wrong.
        problems: all mistakes, each with its line in the file, or at the option that names it.
    """

    rules: tuple[Rule, ...] = ()
    file: TomlFile | None = None
    unknown: Sequence[Path_] = (("rules",),)
    problems: Sequence[Exception] = ()


def read_rules(path: Path) -> RulesRead:
    """Return the rules of a file, or what is wrong with it."""
    try:
        file = TomlFile.read(path)
    except ConfigErrors as errors:
        return RulesRead(problems=_told(errors.errors))
    problems: list[ConfigError] = []
    content = build_partly(RulesFile, file.table, Place(file), problems)
    rules = getattr(content, "rules", ())
    return RulesRead(
        rules=() if None in rules else rules,
        file=file,
        unknown=unknown_paths(problems, Place(file)),
        problems=_told(problems),
    )


def _told(errors: Sequence[ConfigError]) -> list[Exception]:
    """Return errors at their lines, but those of the whole file at the option that names it."""
    in_line = [error for error in errors if re.search(r":\d+(: |$)", error.where)]
    others = [FieldError(("rules",), str(error)) for error in errors if error not in in_line]
    return [*others, *([ConfigErrors(in_line)] if in_line else [])]
