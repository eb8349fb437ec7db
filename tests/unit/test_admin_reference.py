"""The tables of fields in docs/admin.md have what the admin side tells, and nothing else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import pytest
from helpers.hand import done
from helpers.reload_house import House

from tcpd.admin.views import Views
from tcpd.capture.capture import CaptureStatus
from tcpd.connector import State as ConnectorState
from tcpd.sinks.runner import SinkStatus
from tcpd.sinks.runner import State as SinkState

GUIDE = (Path(__file__).parents[2] / "docs" / "admin.md").read_text("utf-8")
CONNECTOR = """
[connectors.up]
connect = "unix:/nowhere/up.sock"
handler = "echo"
"""


def table_after(words: str) -> str:
    """Return the table that follows these words."""
    assert GUIDE.count(words) == 1
    return GUIDE.partition(words)[2].partition("|---|---|\n")[2].partition("\n\n")[0]


def fields_after(words: str) -> list[str]:
    heads = [row.split("|")[1] for row in table_after(words).splitlines()]
    return [name for head in heads for name in re.findall(r"`(\w+)`", head)]


def states_after(words: str) -> set[str]:
    (row,) = re.findall(r"^\| `state` \| (.*) \|$", table_after(words), re.MULTILINE)
    return set(re.findall(r"`([\w-]+)`", row))


@pytest.mark.parametrize(
    ("words", "kind"),
    [("`sinks` there", SinkStatus), ("`/api/captures` gives a list", CaptureStatus)],
)
def test_the_fields_of_sinks_and_captures(words: str, kind: type) -> None:
    assert sorted(fields_after(words)) == sorted(each.name for each in fields(kind))


def test_the_fields_of_handlers() -> None:
    views = Views(SimpleNamespace(reactor=None))
    assert sorted(fields_after("`/api/handlers` gives a list")) == sorted(views.handlers()[0])


def test_the_fields_of_connectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path, monkeypatch)
    house.start(CONNECTOR)
    try:
        views = Views(house.daemon)
        status = done(house.reactor, views.status())
        views.stop()
    finally:
        house.daemon.stopService()
    assert sorted(fields_after("`connectors` in `/api/status`")) == sorted(status["connectors"][0])


def test_the_states() -> None:
    assert states_after("`connectors` in `/api/status`") == set(get_args(ConnectorState))
    assert states_after("`sinks` there") == set(get_args(SinkState))
    states = get_args(get_type_hints(CaptureStatus)["state"])
    assert states_after("`/api/captures` gives a list") == set(states)
