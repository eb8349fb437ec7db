"""Rules in a file of their own: `[[rules]]` tables as in the configuration, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tcpd.errors import ConfigError, ConfigErrors
from tcpd.fields import Place, build
from tcpd.handlers.reply_rules.model import Rule
from tcpd.toml_file import TomlFile


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """What stands in the file."""

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("has no rules; write one as [[rules]]")


def read_rules(path: Path) -> tuple[TomlFile, tuple[Rule, ...]]:
    """Return the rules of a file, and the file itself for errors that are found later.

    Raises:
        ConfigErrors: it can't be read, or has mistakes, each with its line.
    """
    file = TomlFile.read(path)
    problems: list[ConfigError] = []
    content = build(RulesFile, file.table, Place(file), problems)
    if content is None:
        raise ConfigErrors(problems)
    return file, content.rules
