"""The handler `reply` under the real daemon, on real sockets."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.client_run import run_client
from helpers.daemon import Daemon, receive_all, tcpd

GREETER = Path(__file__).parents[2] / "etc" / "examples" / "greeter.toml"


@contextlib.contextmanager
def serving(directory: Path, options: str) -> Iterator[Daemon]:
    """Run the daemon with a listener `double` that has these options."""
    (directory / "rules.toml").write_text(options)
    config = """
        [listeners.double]
        listen = "tcp:0:interface=127.0.0.1"
        handler = "reply"
        [listeners.double.options]
        rules = "rules.toml"
        """
    (directory / "tcpd.toml").write_text(config)
    with tcpd("--config", "tcpd.toml", cwd=directory) as daemon:
        yield daemon


def test_the_greeter_holds_its_conversation_with_the_bundled_client(tmp_path: Path) -> None:
    config = tmp_path / "greeter.toml"
    config.write_text(GREETER.read_text("utf-8").replace("tcp:6000:", "tcp:0:"))
    with tcpd("--config", str(config), cwd=tmp_path) as daemon:
        address = f"127.0.0.1:{daemon.port('greeter')}"
        done = run_client(address, stdin=b"Alice\nBob\n\nexit\nnobody\n")
        assert done.stdout == (
            b"Welcome!\n"
            b"What is your name? Hello Alice!\n"
            b"What is your name? Hello Bob!\n"
            b"What is your name? I didn't catch that.\n"
            b"What is your name? Good bye!\n"
        )
        daemon.wait_for(r"greeter \(reply\): \d+ bytes in, 1\d\d out, .*, handler-closed")


def test_a_reset_is_a_rst_and_what_was_said_before_it_arrives(tmp_path: Path) -> None:
    options = """
        [[rules]]
        match = "now"
        reset = true
        [[rules]]
        reply = "half of it"
        reset = true
        """
    with serving(tmp_path, options) as daemon:
        with daemon.connect() as sock:
            sock.sendall(b"now\n")
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        with daemon.connect() as sock:
            sock.sendall(b"then\n")
            assert sock.recv(100) == b"half of it\n"
            with pytest.raises(ConnectionResetError):
                sock.recv(100)


def test_a_half_close_ends_our_side_alone(tmp_path: Path) -> None:
    with serving(tmp_path, "[[rules]]\nreply = 'bye'\nhalf_close = true") as daemon:
        with daemon.connect() as sock:
            sock.sendall(b"a\n")
            assert receive_all(sock) == b"bye\n"
            for _ in range(3):  # no RST comes back: the other side is still open
                sock.sendall(b"more\n" * 1000)
            sock.shutdown(socket.SHUT_WR)
            daemon.wait_for(r"4 out, [^\n]*-closed")


def test_delays_hold_for_a_peer_that_has_finished(tmp_path: Path) -> None:
    with serving(tmp_path, "[[rules]]\nreply = '{{input}}'\ndelay = '150ms'") as daemon:
        with daemon.connect() as sock:
            begun = time.monotonic()
            sock.sendall(b"a\nb\n")
            sock.shutdown(socket.SHUT_WR)
            assert receive_all(sock) == b"a\nb\n"
            assert time.monotonic() - begun >= 0.3


def test_a_flood_that_waits_behind_a_delay_is_held_back_by_the_kernel(tmp_path: Path) -> None:
    options = "[[rules]]\nmatch = 'slow'\ndelay = '1h'\n[[rules]]\nmatch = 'x'"
    with serving(tmp_path, options) as daemon:
        with daemon.connect() as sock:
            before = resident(daemon)
            sock.sendall(b"slow\n")
            sock.settimeout(1)
            with pytest.raises(TimeoutError):
                sock.sendall(b"x\n" * 50_000_000)
            assert resident(daemon) - before < 20_000_000


def test_a_flood_of_empty_lines_leaves_room_for_others(tmp_path: Path) -> None:
    options = "[[rules]]\nmatch = 'ping'\nreply = 'pong'\n[[rules]]\nmatch = ''"
    with serving(tmp_path, options) as daemon:
        with daemon.connect() as flood, daemon.connect() as other:
            flood.sendall(b"\r\n" * 1_000_000)
            other.sendall(b"ping\n")
            assert other.recv(100) == b"pong\n"
            flood.sendall(b"ping\n")
            assert flood.recv(100) == b"pong\n"


def test_the_command_line_is_enough(tmp_path: Path) -> None:
    arguments = ["--port", "0", "--handler", "reply", "--option", "default=You said {{input}}"]
    with tcpd(*arguments, cwd=tmp_path) as daemon, daemon.connect() as sock:
        sock.sendall(b"hi\r\n")
        assert sock.recv(100) == b"You said hi\n"


def resident(daemon: Daemon) -> int:
    """Return how many bytes of memory the daemon uses."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    found = re.search(r"VmRSS:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024
