"""The guide to sinks: its tables are the code's, its examples load, and its sink works."""

import dataclasses
import json
import re
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest
from helpers.sinks import NOON, SOURCE, closed

from tcpd.config.load import load
from tcpd.event_names import NAMES
from tcpd.events import Event, Identity, SessionEvent, SessionOpened, event_classes
from tcpd.fields import Place, convert, keys_of
from tcpd.registry import build_handler
from tcpd.sink_registry import BUILT_IN, build_sink, find
from tcpd.sinks.record import Record
from tcpd.toml_file import TomlFile

GUIDE = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def of(language: str) -> list[str]:
    return [text for each, text in BLOCKS if each == language]


def section(kind: str) -> str:
    return re.split(rf"^## `{kind}`.*\n", GUIDE, flags=re.MULTILINE)[1].partition("\n## ")[0]


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_option_is_in_the_guide_with_its_default(kind: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", section(kind), re.MULTILINE))
    cls: Any = find(kind)
    fields = keys_of(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    assert list(rows) == list(fields)
    for key, field in fields.items():
        if field.default is dataclasses.MISSING:
            assert rows[key] == "required"
        elif field.default is None:
            assert rows[key] == "not set"
        else:
            shown = tomllib.loads(f"v = {rows[key].strip('`')}")["v"]
            problems: list[Any] = []
            place = Place(TomlFile.parse("", "docs"))
            assert convert(hints[field.name], shown, place, problems) == field.default, key
            assert not problems


def test_every_event_is_in_the_guide() -> None:
    table = GUIDE.partition("| event | it says |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z.]+)` \|", table, re.MULTILINE) == list(NAMES)


@pytest.mark.parametrize("kind", event_classes(), ids=lambda kind: kind.event_name)
def test_the_fields_of_every_event_are_in_the_guide(kind: type[Event]) -> None:
    (row,) = re.findall(rf"^\| `{kind.event_name}` \| (.*) \|$", GUIDE, re.MULTILINE)
    session = Identity("x", "x", "x", "x", 1, "x", hop_address="x")
    values: dict[Any, Any] = {str: "x", int: 1, float: 1.0, bool: True, Identity: session}
    hints = typing.get_type_hints(kind)
    names = [each.name for each in dataclasses.fields(kind)]
    event = kind(**{name: values.get(hints[name], ("x",)) for name in names})
    written = set(event.fields())
    if issubclass(kind, SessionEvent) and kind is not SessionOpened:
        written -= set(session.fields())
        assert row.startswith("the session, ")
    assert written <= set(re.findall(r"`([a-z.]+)`", row))


def test_the_record_in_the_guide_is_one() -> None:
    (shown,) = of("json")
    assert shown.strip() == Record(closed(7), NOON, 7, SOURCE).line
    assert json.loads(shown)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with every file that the guide shows."""
    for text in [*of("python"), *of("toml")]:
        if match := re.match(r"# (\w+\.\w+)\n", text):
            (tmp_path / match[1]).write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("csv_sink", None)


@pytest.mark.parametrize("text", of("toml"))
def test_every_example_loads(files: Path, text: str) -> None:
    (files / "x.toml").write_text(text)
    assert load(files / "x.toml", build_handler, build_sink=build_sink).sinks


def test_the_sink_in_the_guide_passes_its_tests(files: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_csv_sink.py"]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout
