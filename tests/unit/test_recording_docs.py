"""The page about `logging` names its options with their defaults, and shows what it writes."""

import dataclasses
import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tcpd.errors import ConfigError
from tcpd.events import Identity
from tcpd.fields import CommandLine, Place, build, keys_of
from tcpd.handlers.logging import RECORD_SIZE, Logging
from tcpd.handlers.recording import PLACEHOLDERS, Record, file_lines

PAGE = (Path(__file__).parents[2] / "docs" / "recording.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
RECORD = Record(
    at=datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC).timestamp(),
    who=Identity(
        session_id="6e1f0a52-7",
        listener="smtp",
        handler="logging",
        client_address="192.0.2.7",
        client_port=54321,
        local_address="192.0.2.1:25",
    ),
    direction="in",
    offset=0,
    data="HELO me\r\n\x1b[2Jé".encode() + b"\xff",
)


def test_every_option_is_there_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE, re.MULTILINE))
    assert set(rows) == set(keys_of(Logging))
    shown = {name: text.strip("`") for name, text in rows.items() if text != "none"}
    problems: list[ConfigError] = []
    table = {name: tomllib.loads(f"x = {text}")["x"] for name, text in shown.items()}
    assert build(Logging, table, Place(CommandLine()), problems) == Logging()
    none = {name for name in rows if name not in shown}
    defaults = {field.name: field.default for field in dataclasses.fields(Logging)}
    assert {defaults[name] for name in none} == {None}


@pytest.mark.parametrize("shape", ["text", "hex", "base64"])
def test_each_format_is_shown_as_it_is_written(shape):
    blocks = [text for language, text in BLOCKS if language == "text"]
    assert file_lines(shape, RECORD) in blocks


def test_jsonl_is_shown_as_it_is_written():
    (shown,) = [text for language, text in BLOCKS if language == "json"]
    assert json.loads(shown) == json.loads(file_lines("jsonl", RECORD))


def test_placeholders_and_sizes_are_named():
    for name in PLACEHOLDERS:
        assert f"`{{{name}}}`" in PAGE
    assert f"at most {RECORD_SIZE} bytes" in PAGE


def test_the_configuration_shown_is_right(tmp_path):
    (text,) = [text for language, text in BLOCKS if language == "toml"]
    options = tomllib.loads(text)["listeners"]["watched"]["options"]
    (tmp_path / "records").mkdir()
    options["path"] = str(tmp_path / options["path"])
    problems: list[ConfigError] = []
    assert build(Logging, options, Place(CommandLine()), problems), problems
