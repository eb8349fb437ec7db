"""docs/reload.md tells of every key, and its handler does what it says."""

import dataclasses
import re
from pathlib import Path

from twisted.internet.protocol import Factory

from tcpd.config.schema import Config, ConnectorConfig, ListenerConfig
from tcpd.interfaces import made_of
from tcpd.reload.difference import APPLIED

DOCS = (Path(__file__).parents[2] / "docs" / "reload.md").read_text()


def keys(cls: type) -> set[str]:
    return {each.name for each in dataclasses.fields(cls) if each.compare}


def test_every_key_of_a_listener_or_connector_is_in_the_table() -> None:
    table = DOCS.partition("## What applies when")[2].partition("\n\nA socket is known")[0]
    told = set(re.findall(r"`(\w+)`", table))
    assert (keys(ListenerConfig) | keys(ConnectorConfig)) - told == set()
    # "stop" is one that nobody has to be told of: it is asked for when tcpd stops.
    tables = keys(Config) - {"listeners", "connectors", "stop"}
    assert tables <= set(APPLIED)
    assert [name for name in tables if f"[{name}" not in table] == []


def test_the_handler_in_it_is_made_anew_when_its_file_changes(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    names = {"dataclass": dataclasses.dataclass, "Factory": Factory, "Path": Path, "__name__": "x"}
    exec(source, names)
    path = tmp_path / "quote"
    path.write_text("one")
    one, same = names["Quote"](path), names["Quote"](path)
    path.write_text("two")
    assert made_of(one) == made_of(same) != made_of(names["Quote"](path))
