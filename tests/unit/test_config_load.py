import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import config_handlers, pem

from tcpd.config.load import build_config, load
from tcpd.config.schema import (
    ClientTLSConfig,
    Config,
    LogConfig,
    NamedCertificateConfig,
    Reconnect,
    ServerTLSConfig,
)
from tcpd.endpoint_plugins import installed_kinds
from tcpd.errors import ConfigErrors
from tcpd.registry import build_handler
from tcpd.toml_file import TomlFile


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    config_handlers.use(monkeypatch)


def load_text(text: str, directory: Path) -> Config:
    path = directory / "tcpd.toml"
    path.write_text(text, "utf-8")
    return load(path, build_handler)


def test_a_listener_needs_an_address_and_nothing_else(tmp_path: Path) -> None:
    config = load_text('[listeners.a]\nlisten = "tcp:0"\n', tmp_path)
    listener = config.listeners["a"]
    assert [each.text for each in listener.listen] == ["tcp:0"]
    assert (listener.handler, listener.options, listener.tls) == ("echo", {}, None)
    assert isinstance(listener.factory, config_handlers.Plain)
    assert (config.connectors, config.log) == ({}, LogConfig())


def test_a_listener_may_have_many_addresses(tmp_path: Path) -> None:
    text = '[listeners.a]\nlisten = ["tcp:0", "unix:/run/x.sock", "onion:80"]\n'
    listener = load_text(text, tmp_path).listeners["a"]
    assert [each.kind for each in listener.listen] == ["tcp", "unix", "onion"]


def test_a_handlers_options_are_built_into_its_own_dataclass(tmp_path: Path) -> None:
    text = """
[listeners.a]
listen = "tcp:0"
handler = "rules"
[listeners.a.options]
size = "64KiB"
wait = "1m30s"
file = "said.txt"
headers = { x = 1 }
[[listeners.a.options.rules]]
equals = "a"
not = true
"""
    listener = load_text(text, tmp_path).listeners["a"]
    factory = listener.factory
    assert isinstance(factory, config_handlers.Rules)
    assert (factory.size, factory.wait, factory.file) == (65536, 90.0, tmp_path / "said.txt")
    assert factory.rules == (config_handlers.Rule(equals="a", not_=True),)
    assert factory.headers == {"x": 1}
    assert listener.options["size"] == "64KiB"  # what the file said, for comparisons


def test_two_listeners_never_share_a_handler(tmp_path: Path) -> None:
    text = "".join(
        f'[listeners.{name}]\nlisten = "tcp:0"\nhandler = "rules"\n' for name in ("a", "b")
    )
    listeners = load_text(text, tmp_path).listeners
    assert listeners["a"].factory is not listeners["b"].factory


def test_tls_has_its_files_beside_the_configuration(tmp_path: Path) -> None:
    pem.write(*(tmp_path / f"{name}.pem" for name in ("c", "k", "ca", "d", "e")))
    text = f"""
[listeners.a]
listen = ["tcp:0", "tcp6:0", "unix:/run/x", "systemd:INET:name=x"]
[listeners.a.tls]
certificate = "c.pem"
key = "k.pem"
client_ca = "{tmp_path}/ca.pem"
alpn = ["h2", "http/1.1"]
sni = [
  {{ names = "D.example.", certificate = "d.pem" }},
  {{ names = ["*.e.example", "e_1.example"], certificate = "e.pem", key = "k.pem" }},
]
"""
    tls = load_text(text, tmp_path).listeners["a"].tls
    assert tls == ServerTLSConfig(
        certificate=tmp_path / "c.pem",
        key=tmp_path / "k.pem",
        client_ca=tmp_path / "ca.pem",
        alpn=("h2", "http/1.1"),  # type: ignore[arg-type]
        sni=(
            NamedCertificateConfig(names=("d.example",), certificate=tmp_path / "d.pem"),  # type: ignore[arg-type]
            NamedCertificateConfig(
                names=("*.e.example", "e_1.example"),  # type: ignore[arg-type]
                certificate=tmp_path / "e.pem",
                key=tmp_path / "k.pem",
            ),
        ),
    )


def test_a_connector_has_defaults_for_all_but_its_address(tmp_path: Path) -> None:
    connector = load_text('[connectors.a]\nconnect = "tcp:h:1"\n', tmp_path).connectors["a"]
    assert (connector.connect.host, connector.connect.port) == ("h", 1)
    assert connector.reconnect == Reconnect(
        initial=1.0,
        max=60.0,
        factor=2.0,
        jitter=0.1,
        tries=None,  # type: ignore[arg-type]
    )
    assert connector.tls is None
    assert isinstance(connector.factory, config_handlers.Plain)


def test_a_connector_with_everything(tmp_path: Path) -> None:
    pem.write(tmp_path / "x.pem")
    text = """
[connectors.up-link_1]
connect = "unix:/run/x"
handler = "required"
options.name = "n"
reconnect = { initial = "250ms", max = 5, factor = 1, jitter = 0, tries = 3 }
tls = { server_name = "n", cafile = "x.pem", certificate = "x.pem", key = "x.pem", alpn = ["a"] }
"""
    connector = load_text(text, tmp_path).connectors["up-link_1"]
    assert connector.reconnect == Reconnect(
        initial=0.25,
        max=5.0,
        factor=1.0,
        jitter=0.0,
        tries=3,  # type: ignore[arg-type]
    )
    file = tmp_path / "x.pem"
    assert connector.tls == ClientTLSConfig(
        server_name="n",
        cafile=file,
        certificate=file,
        key=file,
        alpn=("a",),  # type: ignore[arg-type]
    )
    assert connector.factory.name == "n"


def test_a_unix_socket_needs_no_name_if_nobody_has_to_prove_one(tmp_path: Path) -> None:
    text = '[connectors.a]\nconnect = "unix:/run/x"\ntls.verify = false\n'
    tls = load_text(text, tmp_path).connectors["a"].tls
    assert tls == ClientTLSConfig(verify=False)


def test_the_log_is_as_the_file_says(tmp_path: Path) -> None:
    text = '[listeners.a]\nlisten = "tcp:0"\n[log]\nlevel = "warn"\nformat = "json"\n'
    (tmp_path / "x").mkdir()
    config = load_text(text + 'file = "x/tcpd.log"\naccess = false\n', tmp_path)
    assert config.log == LogConfig(
        level="warn", format="json", file=tmp_path / "x" / "tcpd.log", access=False
    )


def test_handlers_in_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from twisted.internet.protocol import Factory\nclass Mine(Factory): pass\n"
    )
    text = '[listeners.a]\nlisten = "tcp:0"\nhandler = "mine.py:Mine"\n'
    factory = load_text(text, tmp_path).listeners["a"].factory
    assert type(factory).__name__ == "Mine"


def test_what_says_the_same_is_equal_whatever_was_made_of_it(tmp_path: Path) -> None:
    text = '[listeners.a]\nlisten = "tcp:0"\n[connectors.b]\nconnect = "tcp:h:1"\n'
    one, other = load_text(text, tmp_path), load_text("# moved\n" + text, tmp_path)
    assert one == other
    # Two factories are never equal, so nothing but what the file says can have been compared.
    assert one.listeners["a"].factory != other.listeners["a"].factory
    text = '[listeners.a]\nlisten = "tcp:0"\nhandler = "rules"\noptions.size = "1K"\n'
    assert load_text(text, tmp_path) != load_text(text.replace("1K", "2K"), tmp_path)


def test_a_configuration_is_frozen(tmp_path: Path) -> None:
    config = load_text('[listeners.a]\nlisten = "tcp:0"\n', tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.listeners["a"].handler = "reply"  # type: ignore[misc]


def test_port_0_may_be_asked_for_many_times(tmp_path: Path) -> None:
    text = "".join(f'[listeners.{name}]\nlisten = ["tcp:0", "tcp:0"]\n' for name in "ab")
    assert len(load_text(text, tmp_path).listeners) == 2


def test_every_fault_of_a_listener_is_told_even_if_its_handler_is_wrong(tmp_path: Path) -> None:
    text = """
[listeners.a]
listen = ["tcp:1", "tcp:1"]
handler = "none"
tls.certificate = "none.pem"
"""
    with pytest.raises(ConfigErrors) as caught:
        load_text(text, tmp_path)
    wheres = [error.where.rpartition(" ")[2] for error in caught.value.errors]
    assert wheres == [
        "listeners.a.listen[1]",
        "listeners.a.handler",
        "listeners.a.tls.certificate",
    ]


def test_faults_in_another_file_come_after_those_of_this_one() -> None:
    def build(name, options, name_at, options_at, *, problems, base=None):  # type: ignore[no-untyped-def]
        other = TomlFile.parse("\na = 1", "rules.toml")
        problems += [name_at.error("later"), name_at.error("later")]
        problems.insert(0, dataclasses.replace(name_at, source=other, path=("a",)).error("first"))

    file = TomlFile.parse('[listeners.a]\nlisten = "tcp:1"\nhandler = "x"\n', "x.toml")
    with pytest.raises(ConfigErrors) as caught:
        build_config(file.table, file, build)
    assert str(caught.value) == "x.toml:3: listeners.a.handler: later\nrules.toml:2: a: first"


@pytest.mark.parametrize("module", ["tcpd.config.load", "tcpd.config.schema"])
def test_the_configuration_needs_no_twisted(module: str) -> None:
    code = f"import {module}, sys; sys.exit(any(n.startswith('twisted') for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_installed_kinds_of_endpoint_are_those_of_twisted_and_its_plugins() -> None:
    assert installed_kinds(server=True) >= {"tcp6", "systemd", "tls", "stdio", "haproxy"}
    assert installed_kinds(server=False) >= {"tls"}


def kinds(*, server: bool) -> set[str]:
    return {"tls", "stdio", "haproxy"} if server else {"tls", "tor"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[listeners.a]\nlisten = ["tcp:0", "tls:/", "STDIO:"]\n', ""),
        (
            '[listeners.a]\nlisten = ["tcp:0",\n"HAProxy:tcp:0"]\n',
            (
                "x.toml:3: listeners.a.listen[1]: 'haproxy:' would believe anybody's PROXY header;"
                " write 'tcp:0', and say whom to trust: proxy = { trusted = [...] }"
            ),
        ),
        ('[connectors.a]\nconnect = "tls:h:1"\n', ""),
        (
            '[listeners.a]\nlisten = ["tcp:0",\n"tpc:1"]\n',
            (
                "x.toml:3: listeners.a.listen[1]: no kind of endpoint is called 'tpc'; did you mean"
                " 'tcp'?"
            ),
        ),
        (
            '[connectors.a]\nconnect = "systemd:INET:name=x"\n',
            (
                "x.toml:2: connectors.a.connect: no kind of endpoint is called 'systemd'; known are"
                " tcp, ssl, tls, unix, tor"
            ),
        ),
    ],
)
def test_a_kind_of_endpoint_that_nobody_brings_is_refused(text: str, message: str) -> None:
    file = TomlFile.parse(text, "x.toml")
    try:
        build_config(file.table, file, build_handler, kinds)
    except ConfigErrors as errors:
        told = str(errors)
    else:
        told = ""
    assert told == message
