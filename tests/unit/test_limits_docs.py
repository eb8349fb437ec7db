"""The page about the gate says what holds: its examples load, its reasons and lines are ours."""

import json
import re
import resource
from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tcpd.admission import rates
from tcpd.admission.refusals import WINDOW, WORDS, Refusals
from tcpd.admission.rules import Limits
from tcpd.config.load import build_config
from tcpd.descriptors import BESIDES, SELECT_LIMIT, make_room
from tcpd.events import Bus
from tcpd.registry import build_handler
from tcpd.toml_file import TomlFile

DOCUMENT = (Path(__file__).parents[2] / "docs" / "limits.md").read_text("utf-8")


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def block_with(word):
    (found,) = [each for each in blocks("text") if word in each]
    return found


def shape(text):
    return re.sub(r"[0-9]+", "0", text)


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_example_loads(text):
    file = TomlFile.parse(text, "docs")
    assert build_config(file.table, file, build_handler).listeners


def test_the_reasons_are_ours():
    table = DOCUMENT.partition("The reasons:\n")[2]
    assert set(re.findall(r"`([a-z-]+)`", table)) == WORDS.keys()


def test_the_numbers_are_ours():
    limits = Limits()
    assert f"| {limits.sessions} at once | `sessions` |" in DOCUMENT
    assert f"| {limits.per_address} at once | `per-address` |" in DOCUMENT
    assert f"{2 * rates.GENERATION:,} addresses at most" in DOCUMENT
    assert WINDOW == 10


def test_what_does_not_fit_is_told_as_it_says(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: None)
    tables = {name: {"listen": "tcp:0"} for name in ("one", "two")}
    file = TomlFile.parse("", "docs")
    config = build_config({"listeners": tables}, file, build_handler)
    (told,) = make_room(config, Clock())
    assert block_with("may open only").endswith(f"Z warn: {told}\n")
    assert f"{BESIDES} for all the rest" in DOCUMENT
    assert f"{SELECT_LIMIT} files" in DOCUMENT


def test_the_lines_are_what_is_logged():
    clock = Clock()
    refusals = Refusals("gateway", Bus(), clock)
    with capturedLogs() as logs:
        for reason, source, times in (
            ("denied", "127.0.6.1", 331),
            ("sessions", "127.0.0.7", 310),
            ("denied", "127.0.6.2", 80),
        ):
            for _ in range(times):
                refusals.note(reason, IPv4Address("TCP", source, 41961))
        clock.advance(WINDOW)
    told = [shape(f" {each['log_level'].name}: {formatEvent(each)}") for each in logs]
    shown = [shape(line.partition("Z")[2]) for line in block_with("refused").splitlines()]
    assert [each.partition("; most")[0] for each in shown[:3]] == [
        each.partition("; most")[0] for each in told
    ]
    (example,) = map(json.loads, blocks("json"))
    assert example["count"] == sum(example["reasons"].values())
