"""A listener behind proxies, as the configuration has it: who is believed, and what is logged."""

import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.daemon import receive_all, run_tcpd, tcpd

CONFIG = """
[listeners.main]
listen = ["tcp:0:interface=127.0.0.1", "unix:proxy.sock"]
proxy = { trusted = %s }
deadlines = { header = "1s" }
"""
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n"


def configure(directory: Path, trusted: str) -> None:
    (directory / "tcpd.toml").write_text(CONFIG % trusted)


def test_the_client_is_whom_a_trusted_proxy_tells(tmp_path: Path) -> None:
    configure(tmp_path, '["127.0.0.0/8"]')
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        with daemon.connect() as sock:
            sock.sendall(V1 + b"hello")
            sock.shutdown(socket.SHUT_WR)
            assert receive_all(sock) == b"hello"
        daemon.wait_for(r"192\.0\.2\.7:4000 -> main \(echo\): 5 bytes in, 5 out")
        with socket.socket(socket.AF_UNIX) as sock:  # a proxy on a UNIX socket isn't named
            sock.connect(str(tmp_path / "proxy.sock"))
            with suppress(ConnectionError):  # it may end with a reset
                sock.sendall(V1 + b"hello")
                assert sock.recv(100) == b""
        assert daemon.stop(signal.SIGTERM) == 0
    assert "proxy-untrusted" in daemon.output


def test_a_proxy_on_a_unix_socket_can_be_trusted(tmp_path: Path) -> None:
    configure(tmp_path, '"unix"')
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        daemon.port()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "proxy.sock"))
            sock.sendall(V1 + b"hello")
            assert sock.recv(100) == b"hello"
        daemon.wait_for(r"192\.0\.2\.7:4000 -> main")


def test_a_header_that_never_comes_ends_at_its_deadline(tmp_path: Path) -> None:
    configure(tmp_path, '["127.0.0.1"]')
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        with daemon.connect() as sock:
            sock.sendall(V1[:20])
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        daemon.wait_for("header-timeout")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("proxy = {}", "listeners.main.proxy: 'trusted' is missing"),
        ("proxy = { trusted = [] }", "listeners.main.proxy.trusted: "),
        ('proxy = { trusted = "::ffff:10.0.0.0/8" }', "listeners.main.proxy.trusted: "),
    ],
)
def test_whom_to_trust_has_to_be_said(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "tcpd.toml").write_text(f'[listeners.main]\nlisten = "tcp:0"\n{line}\n')
    run = run_tcpd("--config", "tcpd.toml", cwd=tmp_path)
    assert run.returncode == 78
    assert said in run.stderr
