"""Connectors of a real daemon, to servers that come, go, refuse and lie; and the documentation."""

import json
import re
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from helpers.daemon import PATIENCE, Daemon, receive_all, tcpd

DOCUMENT = Path(__file__).parents[2] / "docs" / "connectors.md"
QUICK = 'reconnect = { initial = "10ms", max = "50ms" }'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def listen(port: int = 0) -> socket.socket:
    server = socket.create_server(("127.0.0.1", port))
    server.settimeout(PATIENCE)
    return server


def accept(server: socket.socket) -> socket.socket:
    connection, _ = server.accept()
    connection.settimeout(PATIENCE)
    return connection


@contextmanager
def connector(tmp_path: Path, settings: str, reactor: str = "tcpd", name: str = "uplink"):
    """Run a daemon with one connector."""
    (tmp_path / "tcpd.toml").write_text(f"[connectors.{name}]\n{textwrap.dedent(settings)}\n")
    with tcpd("--config", "tcpd.toml", cwd=tmp_path, twistd=(f"--reactor={reactor}",)) as daemon:
        yield daemon
        daemon.stop()
        assert "Traceback" not in daemon.output
        assert "Unhandled" not in daemon.output


def states(daemon: Daemon) -> list[str]:
    """Return what the daemon said of its connector, without the time."""
    return re.findall(r": connector uplink (.*)", daemon.output)


@pytest.mark.parametrize("reactor", ["epoll", "asyncio", "tcpd"])
def test_a_server_that_refuses_comes_goes_and_comes_back(reactor: str, tmp_path: Path) -> None:
    port = free_port()
    settings = f'connect = "tcp:127.0.0.1:{port}"\n{QUICK}'
    with connector(tmp_path, settings, reactor) as daemon:
        daemon.wait_for("connector uplink can't connect")
        with listen(port) as server, accept(server) as first:
            first.sendall(b"once")
            assert first.recv(4) == b"once"
            daemon.wait_for("is connected")
        daemon.wait_for("has lost")
        with listen(port) as server, accept(server) as second:
            second.sendall(b"again")
            second.shutdown(socket.SHUT_WR)
            assert receive_all(second) == b"again"
            daemon.wait_for(r"(?s)(is connected.*){2}")
        daemon.wait_for(r"(?s)(has lost.*){2}")
    said = states(daemon)
    where = f"127.0.0.1:{port}"
    assert said[0] == f"connects to {where}"
    assert said[1].startswith(f"can't connect to {where}: connection refused;")
    assert said[1].endswith("; tries again, with pauses from 10ms to 50ms")
    assert re.fullmatch(rf"is connected to {where} at try \d+", said[2])
    assert re.fullmatch(rf"has lost {where}; connects again in \S+ms", said[3])
    assert said[4].startswith(f"is connected to {where}")
    assert said[5].startswith(f"has lost {where}")
    assert said[6:] == ["stops"]
    assert re.search(rf" {where} -> uplink \(echo\): 4 bytes in, 4 out", daemon.output)


def test_it_gives_up_once_and_the_daemon_goes_on(tmp_path: Path) -> None:
    port = free_port()
    settings = f"""
        connect = "tcp:127.0.0.1:{port}"
        reconnect = {{ initial = "1ms", max = "2ms", tries = 3 }}
        [listeners.main]
        listen = "tcp:0:interface=127.0.0.1"
    """
    with connector(tmp_path, settings) as daemon:
        daemon.wait_for(r"error: connector uplink gives up .* after 3 tries: connection refused")
        with daemon.connect("main") as sock:
            sock.sendall(b"still here")
            assert sock.recv(100) == b"still here"
    assert sum("gives up" in line for line in states(daemon)) == 1
    assert "stops" not in states(daemon)


def test_the_log_has_each_state_as_fields_for_programs(tmp_path: Path) -> None:
    settings = f"""
        connect = "tcp:127.0.0.1:{free_port()}"
        reconnect = {{ initial = "1ms", max = "2ms", tries = 2 }}
        [log]
        format = "json"
    """
    with connector(tmp_path, settings) as daemon:
        daemon.wait_for("gave-up")
    records = [json.loads(line) for line in daemon.output.splitlines() if "uplink" in line]
    assert [each["state"] for each in records] == ["connecting", "retrying", "gave-up"]
    assert {each["connector"] for each in records} == {"uplink"}


def test_a_server_that_accepts_and_closes_is_not_hammered(tmp_path: Path) -> None:
    accepted = []
    with listen() as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return
                accepted.append(1)

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        settings = f"""
            connect = "tcp:127.0.0.1:{server.getsockname()[1]}"
            reconnect = {{ initial = "0.2s", max = "10s", jitter = 0.0 }}
        """
        with connector(tmp_path, settings) as daemon:
            daemon.wait_for("connects again in 0.8s")
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    pauses = re.findall(r"has lost .*; connects again in (\S+)", daemon.output)
    assert pauses == ["0.2s", "0.4s", "0.8s"]
    assert len(accepted) == 3


@pytest.mark.parametrize(
    ("handler", "hears", "says"),
    [
        ("echo", b"hello", b"hello"),
        ("discard", b"hello", b""),
        ("daytime", b"", None),
        ("logging", b"hello", b""),
        ("reply", b"hello\n", b"ok\n"),
    ],
)
def test_any_handler_serves_it(
    handler: str, hears: bytes, says: bytes | None, tmp_path: Path
) -> None:
    options = {"reply": 'options = { default = "ok" }'}.get(handler, "")
    with listen() as server:
        settings = f"""
            connect = "tcp:127.0.0.1:{server.getsockname()[1]}"
            handler = "{handler}"
            {options}
        """
        with connector(tmp_path, settings) as daemon, accept(server) as peer:
            peer.sendall(hears)
            if hears:
                peer.shutdown(socket.SHUT_WR)
            answer = receive_all(peer)
            daemon.wait_for(rf"-> uplink \({handler}\): {len(hears)} bytes in, {len(answer)} out")
    assert answer == says if says is not None else len(answer) > 10
    if handler == "logging":
        assert "hello" in daemon.output


def test_a_unix_socket_is_a_place_to_connect_to(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "x.sock"))
        server.listen()
        server.settimeout(PATIENCE)
        with connector(tmp_path, 'connect = "unix:x.sock"') as daemon, accept(server) as peer:
            peer.sendall(b"hello")
            assert peer.recv(5) == b"hello"
            daemon.wait_for(r"connector uplink is connected to unix:x\.sock")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def tls_server(authority: trustme.CA, *names: str):
    """A TLS server that echoes; gives its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    with listen() as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as peer:
                        peer.sendall(b"hello")
                        seen.append(peer.recv(5))
                except OSError:
                    seen.append(b"failed")

        seen: list[bytes] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], seen
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def test_tls_verifies_the_server(tmp_path: Path, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with tls_server(authority, "collector.example") as (port, seen):
        settings = f"""
            connect = "tcp:127.0.0.1:{port}"
            tls = {{ cafile = "ca.pem", server_name = "collector.example" }}
            {QUICK}
        """
        with connector(tmp_path, settings) as daemon:
            daemon.wait_for("-> uplink (.*): 5 bytes in, 5 out")
    assert seen[0] == b"hello"
    assert not [line for line in states(daemon) if "can't" in line]


@pytest.mark.parametrize(
    ("endpoint", "trusted"),
    [
        ("tls:localhost:{port}:trustRoots=authorities", True),
        ("tls:localhost:{port}", False),
        ("ssl:localhost:{port}", True),  # as Twisted has it: it asks for no proof
        (r"ssl:localhost:{port}:hostname=localhost:caCertsDir=authorities", True),
        (r"ssl:localhost:{port}:hostname=other.example:caCertsDir=authorities", False),
    ],
)
def test_tls_in_the_endpoint_string(
    endpoint: str, trusted: bool, tmp_path: Path, authority: trustme.CA
) -> None:
    (tmp_path / "authorities").mkdir()
    authority.cert_pem.write_to_path(tmp_path / "authorities" / "ca.pem")
    with tls_server(authority, "localhost") as (port, seen):
        settings = f"""
            connect = "{endpoint.format(port=port)}"
            reconnect = {{ initial = "1ms", max = "5ms", tries = 2 }}
        """
        with connector(tmp_path, settings) as daemon:
            daemon.wait_for("-> uplink (.*): 5 bytes in, 5 out" if trusted else "gives up")
    assert (b"hello" in seen) == trusted
    assert ("the certificate was refused" in daemon.output) == (not trusted)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('cafile = "ca.pem", server_name = "other.example"', "Hostname mismatch"),
        ('cafile = "ca.pem"', "IP address mismatch"),  # the default is whom we dial
        ('server_name = "collector.example"', "unable to get local issuer certificate"),
    ],
)
def test_a_server_that_is_not_who_it_should_be_is_told_once(
    table: str, why: str, tmp_path: Path, authority: trustme.CA
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with tls_server(authority, "collector.example") as (port, seen):
        settings = f"""
            connect = "tcp:127.0.0.1:{port}"
            tls = {{ {table} }}
            reconnect = {{ initial = "1ms", max = "5ms", tries = 5 }}
        """
        with connector(tmp_path, settings) as daemon:
            daemon.wait_for("gives up")
    assert b"hello" not in seen
    told = states(daemon)
    assert len(told) == 3  # connects, can't, gives up
    assert all(why in line for line in told[1:])
    assert "the certificate was refused" in told[1]
    assert "-> uplink" not in daemon.output  # no session was there


def example(language: str) -> list[str]:
    """Return what the document shows in a language; in none, for output."""
    shown = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return [text for kind, text in shown if kind == language]


@pytest.mark.parametrize("reactor", ["", "epoll", "asyncio", "select"])
def test_the_three_lines_work_in_any_twisted_program(reactor: str) -> None:
    (lines,) = example("python")
    assert len(lines.splitlines()) == 3
    with listen() as server:
        lines = lines.replace("7000", str(server.getsockname()[1]))
        install = f"from twisted.internet import {reactor}reactor as r; r.install()"
        program = f"""
            {install if reactor else ""}
            from twisted.internet import reactor
            from twisted.internet.protocol import Factory, Protocol

            class Greets(Protocol):
                def connectionMade(self):
                    self.transport.write(b"hello")

                def dataReceived(self, data):
                    print(data.decode())
                    uplink.stopService().addCallback(lambda _: reactor.stop())

            class MyFactory(Factory):
                protocol = Greets
        """
        program = f"{textwrap.dedent(program)}\n{lines}\nreactor.run()"
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            with accept(server) as peer:
                assert peer.recv(5) == b"hello"
                peer.sendall(b"welcome")
                output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
    assert (output, errors) == (b"welcome\n", b"")


def test_the_documents_tables_are_right(tmp_path: Path, authority: trustme.CA) -> None:
    from tcpd.config.load import build_config
    from tcpd.registry import build_handler
    from tcpd.toml_file import TomlFile

    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = authority.issue_cert("me.example")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "me.pem")
    mine.private_key_pem.write_to_path(tmp_path / "me.key")
    (tmp_path / "uplink.toml").write_text(
        '[[rules]]\nmatch = { equals = "ping" }\nreply = "pong"\n'
    )
    tables = example("toml")
    assert len(tables) == 3
    for text in tables:
        (tmp_path / "tcpd.toml").write_text(text)
        file = TomlFile.read(tmp_path / "tcpd.toml")
        config = build_config(file.table, file, build_handler)
        assert config.connectors["uplink"].connect.port == 7000


def test_the_documents_output_is_what_is_said_today(tmp_path: Path) -> None:
    """Its lines, but for times and numbers, come from a run."""
    pasted = "".join(example(""))
    shapes = {
        r"connects to \S+",
        r"can't connect to \S+: .*; tries again, with pauses from \S+ to \S+",
        r"is connected to \S+ at try \d+",
        r"has lost \S+; connects again in \S+",
        r"is connected to \S+",
        r"stops",
        r"gives up \S+ after \d+ tries: .*the certificate was refused: .*",
    }
    lines = re.findall(r": connector uplink (.*)", pasted)
    assert {next((s for s in shapes if re.fullmatch(s, line)), line) for line in lines} == shapes
