"""Deadlines of a real daemon: each ends what it is for, and the record says so."""

import signal
import socket
import ssl
import time
from collections.abc import Iterator

import pytest
from helpers import pem
from helpers.daemon import Daemon, tcpd

CONFIG = """
[log]
format = "text"

[listeners.idle]
listen = "tcp:0:interface=127.0.0.1"
deadlines = { idle = "1s" }

[listeners.stall]
listen = "tcp:0:interface=127.0.0.1"
deadlines = { write_stall = "1s" }

[listeners.lifetime]
listen = "tcp:0:interface=127.0.0.1"
deadlines = { lifetime = "1s" }

[listeners.tls]
listen = "tcp:0:interface=127.0.0.1"
tls = { certificate = "tls.pem" }
deadlines = { handshake = "1s" }

[listeners.quiet]
listen = "tcp:0:interface=127.0.0.1"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("deadlines")
    pem.write(directory / "tls.pem")
    (directory / "tcpd.toml").write_text(CONFIG)
    with tcpd("--config", "tcpd.toml", cwd=directory) as daemon:
        yield daemon
        assert "Traceback" not in daemon.output
        daemon.stop(signal.SIGINT)


def wait_for_end(sock: socket.socket) -> str:
    """Return how a connection ends, as its peer sees it."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


def test_a_silent_peer_is_closed_politely(daemon: Daemon) -> None:
    with daemon.connect("idle") as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        assert wait_for_end(sock) == "end"
    daemon.wait_for(r"-> idle .*: 5 bytes in, 5 out, .*, idle \[")


def test_a_peer_that_never_reads_is_aborted(daemon: Daemon) -> None:
    with daemon.connect("stall") as sock:
        sock.settimeout(0.5)
        try:
            while True:
                sock.send(bytes(1 << 20))
        except (TimeoutError, ConnectionError):
            pass
        daemon.wait_for(r"-> stall .*, write-stall \[")


def test_a_busy_session_ends_with_its_lifetime(daemon: Daemon) -> None:
    with daemon.connect("lifetime") as sock:
        try:
            while True:
                sock.sendall(b"x")
                if not sock.recv(1):
                    break
                time.sleep(0.01)
        except ConnectionError:
            pass
    daemon.wait_for(r"-> lifetime .*, lifetime \[")


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["none", "half"])
def test_a_handshake_that_is_never_finished_is_aborted(daemon: Daemon, hello: bytes) -> None:
    with daemon.connect("tls") as sock:
        sock.sendall(hello)
        assert wait_for_end(sock) == "reset"


def test_others_are_served_meanwhile(daemon: Daemon) -> None:
    with daemon.connect("quiet") as sock:
        time.sleep(2)
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"


def test_a_handshake_in_time_is_a_session(daemon: Daemon) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(daemon.connect("tls")) as sock:
        time.sleep(2)
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
