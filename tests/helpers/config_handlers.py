"""Handlers for tests of the configuration, with options of every kind, and how to name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from twisted.internet.protocol import Factory

from tcpd import registry
from tcpd.errors import FieldError
from tcpd.fields import Range
from tcpd.units import ByteSize, Seconds


@dataclass(frozen=True)
class Rule:
    equals: str
    after: Annotated[int, Range(0)] = 0
    not_: bool = False


@dataclass
class Rules(Factory):
    size: ByteSize | None = None
    wait: Seconds | None = None
    framing: Literal["raw", "line", "delimiter"] = "raw"
    rules: tuple[Rule, ...] = ()
    banner: str | None = None
    file: Path | None = None
    headers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [
            FieldError(("rules", index, "equals"), "an empty text never comes", "leave it out")
            for index, rule in enumerate(self.rules)
            if not rule.equals
        ]
        if problems:
            raise ExceptionGroup("options", problems)
        if self.banner == "bug":
            raise KeyError("a handler's own bug")


@dataclass
class Required(Factory):
    name: str


class Unmakable(Factory):
    def __init__(self) -> None:
        raise OSError("no luck")


class Plain(Factory):
    """A factory without options."""


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no handlers but these: `rules`, `required`, `unmakable`, and `echo`, without options."""
    names = {"echo": Plain, "rules": Rules, "required": Required, "unmakable": Unmakable}
    built_in = {name: f"{__name__}:{cls.__name__}" for name, cls in names.items()}
    monkeypatch.setattr(registry, "BUILT_IN", built_in)
    monkeypatch.setattr(registry, "_plugins", dict)
