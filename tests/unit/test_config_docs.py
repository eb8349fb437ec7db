"""The reference of the configuration, held against the schema, and its examples, loaded."""

import dataclasses
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest
from helpers import pem

from tcpd import registry
from tcpd.admission.deadlines import ConnectorDeadlines, Deadlines
from tcpd.admission.rules import Access, Limits, Proxies
from tcpd.config.load import build_config, load
from tcpd.config.schema import (
    AdminConfig,
    ClientTLSConfig,
    ConnectorConfig,
    ListenerConfig,
    LogConfig,
    NamedCertificateConfig,
    Reconnect,
    ServerTLSConfig,
    StopConfig,
)
from tcpd.endpoint import ClientEndpoint, ServerEndpoint
from tcpd.errors import ConfigErrors
from tcpd.fields import Place, convert, keys_of
from tcpd.registry import build_handler
from tcpd.sink_registry import build_sink
from tcpd.sinks.settings import Retry, SinkConfig
from tcpd.toml_file import TomlFile

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")

SECTIONS = {
    "`[listeners.NAME]`: accepting connections": ListenerConfig,
    "`[listeners.NAME.tls]`": ServerTLSConfig,
    "`sni` of `[listeners.NAME.tls]`": NamedCertificateConfig,
    "`[listeners.NAME.limits]`": Limits,
    "`[listeners.NAME.access]`": Access,
    "`[listeners.NAME.proxy]`": Proxies,
    "`[listeners.NAME.deadlines]`": Deadlines,
    "`[connectors.NAME]`: keeping a connection up": ConnectorConfig,
    "`[connectors.NAME.reconnect]`": Reconnect,
    "`[connectors.NAME.deadlines]`": ConnectorDeadlines,
    "`[connectors.NAME.tls]`": ClientTLSConfig,
    "`[stop]`: how it stops": StopConfig,
    "`[log]`": LogConfig,
    "`[admin]`: watching and steering it": AdminConfig,
    "`[sinks.NAME]`: writing events down": SinkConfig,
    "`[sinks.NAME.retry]`": Retry,
}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def rows_below(heading: str) -> dict[str, str]:
    """Return the keys of the first table below a heading, and the default of each."""
    section = DOCUMENT.partition(f"# {heading}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", section, re.MULTILINE)
    return dict(rows)


@pytest.mark.parametrize(("heading", "cls"), SECTIONS.items())
def test_every_key_is_in_the_reference_with_its_default(heading: str, cls: type[Any]) -> None:
    rows = rows_below(heading)
    fields = keys_of(cls)
    assert list(rows) == list(fields)
    for key, field in fields.items():
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            assert rows[key] == "required", key
        elif default is None:
            assert rows[key] == "not set", key
        elif dataclasses.is_dataclass(default):
            assert rows[key] == "see below", key
            assert default == type(default)()
        else:
            shown = tomllib.loads(f"v = {rows[key].strip('`')}")["v"]
            assert read_as(cls, key, shown) == default, key


def read_as(cls: type[Any], key: str, value: Any) -> Any:
    """Return a value of the document as the schema reads it."""
    kind = typing.get_type_hints(cls, include_extras=True)[keys_of(cls)[key].name]
    problems: list[Any] = []
    result = convert(kind, value, Place(TomlFile.parse("", "docs")), problems)
    assert not problems
    return result


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_example_loads(text: str, tmp_path: Path) -> None:
    for name in re.findall(r'"([a-z.-]+\.(?:pem|key))"', text):
        pem.write(tmp_path / name)
    (tmp_path / "admin.token").write_text("0123456789abcdef")
    (tmp_path / "tcpd.toml").write_text(text, "utf-8")
    config = load(tmp_path / "tcpd.toml", build_handler, build_sink=build_sink)
    assert config.listeners or config.connectors


def test_the_broken_example_says_what_the_document_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugins", dict)  # the document shows a fresh installation
    (broken,) = blocks("text broken")
    file = TomlFile.parse(broken, "tcpd.toml")
    with pytest.raises(ConfigErrors) as caught:
        build_config(file.table, file, build_handler)
    (shown,) = blocks("text")
    assert str(caught.value) == shown.rstrip("\n")


def rows_after(words: str) -> list[str]:
    """Return the endpoints in the table after some words."""
    table = DOCUMENT.partition(f"\n{words}\n")[2].lstrip("\n").partition("\n\n")[0]
    return re.findall(r"^\| `(\S+)` \|", table, re.MULTILINE)


def test_every_endpoint_in_the_tables_is_one() -> None:
    servers, clients = rows_after("To listen:"), rows_after("To connect:")
    assert (len(servers), len(clients)) == (6, 4)
    assert all(ServerEndpoint.parse(text).known for text in servers)
    assert all(ClientEndpoint.parse(text).known for text in clients)
