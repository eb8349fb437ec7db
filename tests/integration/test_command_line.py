"""`twistd tcpd` as a user starts it: real processes, real ports, real exit statuses."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme
from helpers.daemon import BIN, Daemon, receive_all, run_tcpd, tcpd


def ask(sock: socket.socket, data: bytes) -> bytes:
    """Send, half-close, and return the whole answer."""
    with sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return receive_all(sock)


def test_port_0_is_echo_on_a_port_that_is_reported(tmp_path: Path) -> None:
    with tcpd("--port", "0", cwd=tmp_path) as daemon:
        assert ask(daemon.connect(), b"hello\r\n") == b"hello\r\n"
        daemon.wait_for(r"127\.0\.0\.1:\d+ -> main \(echo\): 7 bytes in, 7 out, .*, peer-closed")


def test_port_listens_on_loopback_and_says_how_to_change_that(tmp_path: Path) -> None:
    with tcpd("--port", "0", cwd=tmp_path) as daemon:
        daemon.wait_for(r"listens on 127\.0\.0\.1:\d+ ")
        daemon.wait_for(r"only this machine can connect; --interface 0\.0\.0\.0 opens the port")


@pytest.mark.parametrize(
    "arguments", [("--port", "0", "--interface", "0.0.0.0"), ("--listen", "tcp:0")]
)
def test_an_interface_that_was_chosen_is_not_commented_on(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    with tcpd(*arguments, cwd=tmp_path) as daemon:
        daemon.wait_for(r"listens on 0\.0\.0\.0:\d+ ")
        daemon.stop()
        assert "only this machine" not in daemon.output


@pytest.mark.parametrize("reactor", ["tcpd", "epoll", "poll", "select", "asyncio"])
def test_every_reactor_serves(reactor: str, tmp_path: Path) -> None:
    with tcpd("--port", "0", cwd=tmp_path, twistd=(f"--reactor={reactor}",)) as daemon:
        assert ask(daemon.connect(), b"x" * 300_000) == b"x" * 300_000


def test_without_a_choice_the_reactor_is_ours(tmp_path: Path) -> None:
    with tcpd("--port", "0", cwd=tmp_path) as daemon:
        daemon.wait_for(r"reactor class: tcpd\.net\.reactor\.")


def test_a_port_in_use_is_one_line_and_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_tcpd("--port", port, cwd=tmp_path)
    assert done.returncode == 1
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert errors[0].endswith(
        f"listener 'main' cannot listen on 127.0.0.1:{port}: address already in use"
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.pid"))


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("--port", "70000"), 2, "tcpd: --port: '70000' isn't a valid port"),
        (("--handler", "ecoh"), 2, "did you mean 'echo'?"),
        (("--config", "none.toml"), 78, "none.toml: there is no such file"),
        (("--handler", "bad.py:Bad"), 2, "ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_a_mistake_is_said_on_standard_error_without_a_traceback(
    arguments: tuple[str, ...], status: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text("import not_there\n")
    done = run_tcpd(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_tls_from_the_command_line(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    arguments = ("--port", "0", "--tls-certificate", "cert.pem", "--tls-key", "key.pem")
    with tcpd(*arguments, cwd=tmp_path) as daemon:
        with context.wrap_socket(daemon.connect(), server_hostname="localhost") as sock:
            sock.sendall(b"secret")
            assert sock.recv(100) == b"secret"


def test_a_handler_of_ones_own_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(
        "from dataclasses import dataclass\n"
        "from twisted.internet.protocol import Factory, Protocol\n"
        "class ShoutProtocol(Protocol):\n"
        "    def dataReceived(self, data):\n"
        "        self.transport.write(data.upper() + self.factory.ending.encode())\n"
        "@dataclass\n"
        "class Shout(Factory):\n"
        "    '''Send everything back in capitals.'''\n"
        "    ending: str = '!'\n"
        "    protocol = ShoutProtocol\n"
    )
    arguments = ("--port", "0", "--handler", "shout.py:Shout", "--option", "ending=?")
    with tcpd(*arguments, cwd=tmp_path) as daemon:
        assert ask(daemon.connect(), b"hey") == b"HEY?"


def test_several_addresses_and_a_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "tcpd.toml").write_text(
        '[listeners.one]\nlisten = ["tcp:0:interface=127.0.0.1", "unix:one.sock:mode=600"]\n'
        '[listeners.two]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "discard"\n'
    )
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        assert ask(daemon.connect("one"), b"hello") == b"hello"
        assert ask(daemon.connect("two"), b"hello") == b""
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(str(tmp_path / "one.sock"))
        assert ask(unix, b"hello") == b"hello"
        assert os.stat(tmp_path / "one.sock").st_mode & 0o777 == 0o600
        daemon.stop()
    assert not (tmp_path / "one.sock").exists()


def test_a_broken_plugin_is_reported_and_harms_nobody(tmp_path: Path) -> None:
    info = tmp_path / "plugins" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tcpd.handlers]\nbroken = not_there:Handler\n")
    env = {"PYTHONPATH": str(info.parent)}
    with tcpd("--port", "0", cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(r"warn: the plugin 'broken' \(broken 1\.0\) can't be used: .*not_there")
        assert ask(daemon.connect(), b"hello") == b"hello"
    asked = run_tcpd("--handler", "broken", cwd=tmp_path, env=env)
    assert asked.returncode == 2
    assert "the plugin 'broken' (not_there:Handler) failed to import" in asked.stderr


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), r"^\S+Z info: listener main listens on "),
        (("--log-format=text",), r"\[tcpd\.listener\.Listener#info\] listener main listens on "),
    ],
)
def test_twist_logs_as_it_was_told_and_else_as_the_configuration_says(
    flags: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [str(BIN / "twist"), *flags, "tcpd", "--port", "0"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    daemon = Daemon(process)
    try:
        daemon.wait_for("(?m)" + expected)
    finally:
        daemon.stop(signal.SIGKILL)
