"""The configuration that is shipped, with and without what is commented out in it."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import pem

from tcpd.admission.rules import Access, Limits
from tcpd.capture.settings import CaptureConfig, LiveCaptureConfig
from tcpd.config.load import load
from tcpd.config.schema import (
    AdminConfig,
    ClientTLSConfig,
    Config,
    LogConfig,
    Reconnect,
    ServerTLSConfig,
)
from tcpd.fields import keys_of
from tcpd.registry import build_handler
from tcpd.sink_registry import build_sink
from tcpd.sinks.settings import SinkConfig

SHIPPED = Path(__file__).parents[2] / "etc" / "tcpd.toml"


def uncommented() -> str:
    """Return the file with every setting that is commented out in it switched on."""
    text = SHIPPED.read_text("utf-8")
    return re.sub(r"^#(?=[^ \n#]|  \{)", "", text, flags=re.MULTILINE)


@pytest.fixture
def everything(tmp_path: Path) -> Config:
    """Load the file with every setting on; the files that it names are there."""
    (tmp_path / "tcpd.toml").write_text(uncommented(), "utf-8")
    for name in re.findall(r'"([a-z]+\.(?:pem|key))"', uncommented()):
        pem.write(tmp_path / name)
    (tmp_path / "capture").mkdir()
    (tmp_path / "admin.token").write_text("0123456789abcdef\n")
    return load(tmp_path / "tcpd.toml", build_handler, build_sink=build_sink)


def test_it_is_echo_for_this_machine_and_nothing_else() -> None:
    config = load(SHIPPED, build_handler)
    assert list(config.listeners) == ["echo"]
    echo = config.listeners["echo"]
    assert [each.address for each in echo.listen] == ["127.0.0.1:9999"]
    assert (echo.handler, echo.tls, echo.options) == ("echo", None, {})
    assert config == Config(listeners={"echo": echo})


def test_everything_that_is_commented_out_loads(everything: Config) -> None:
    assert list(everything.connectors) == ["uplink"]
    tls = everything.listeners["echo"].tls
    assert tls is not None
    assert len(tls.sni) == 1


def test_what_it_shows_as_a_default_is_the_default(everything: Config, tmp_path: Path) -> None:
    assert everything.log == LogConfig(file=tmp_path / "tcpd.log")
    uplink = everything.connectors["uplink"]
    assert replace(uplink.reconnect, tries=None) == Reconnect()
    assert uplink.tls is not None
    assert (uplink.tls.verify, uplink.tls.alpn) == (ClientTLSConfig().verify, ())
    echo = everything.listeners["echo"]
    assert echo.tls is not None
    assert echo.tls.alpn == ()
    assert echo.handler == uplink.handler == "echo"
    events = everything.sinks["events"]
    assert replace(events, options={}) == SinkConfig(kind="jsonl")
    assert events.sink.path == tmp_path / "events.jsonl"
    assert replace(echo.limits, rate="off", burst=None) == Limits()
    assert echo.access == Access()
    captures = tmp_path / "capture"
    assert echo.capture == CaptureConfig(path=captures)
    assert everything.capture == LiveCaptureConfig(path=captures)
    assert everything.admin is not None
    assert everything.admin.token == "0123456789abcdef"


def test_it_shows_every_setting_there_is() -> None:
    shown: Any = tomllib.loads(uncommented())
    assert shown.keys() == keys_of(Config).keys()
    assert shown["log"].keys() == keys_of(LogConfig).keys()
    assert shown["admin"].keys() == keys_of(AdminConfig).keys()
    assert shown["sinks"]["events"].keys() == keys_of(SinkConfig).keys()
    echo, uplink = shown["listeners"]["echo"], shown["connectors"]["uplink"]
    assert echo.keys() == {"listen", "handler", "options", "tls", "limits", "access", "capture"}
    assert shown["capture"].keys() == keys_of(LiveCaptureConfig).keys()
    assert echo["limits"].keys() == keys_of(Limits).keys()
    assert echo["access"].keys() == keys_of(Access).keys()
    assert uplink.keys() == {"connect", "handler", "options", "tls", "reconnect", "capture"}
    assert echo["tls"].keys() == keys_of(ServerTLSConfig).keys()
    assert echo["tls"]["sni"][0].keys() == {"names", "certificate", "key"}
    assert uplink["tls"].keys() == keys_of(ClientTLSConfig).keys()
    assert uplink["reconnect"].keys() == keys_of(Reconnect).keys()
