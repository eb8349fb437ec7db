"""The admin side of the real daemon: over TCP and a UNIX socket, as oneself and as another user."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers import admin_http as http
from helpers.daemon import PATIENCE, Daemon, tcpd

TOKEN = "0123456789abcdef0123456789abcdef"
NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may enter."""
    path = Path(tempfile.mkdtemp(prefix="tcpd-admin-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@contextmanager
def administered(place: Path, admin: str = "", more: str = "") -> Iterator[Daemon]:
    (place / "token").write_text(TOKEN)
    (place / "token").chmod(0o600)
    (place / "tcpd.toml").write_text(
        '[listeners.echo]\nlisten = "tcp:0:interface=127.0.0.1"\n'
        "[admin]\n"
        f'listen = ["unix:{place}/admin.sock:mode=666", "tcp:0:interface=127.0.0.1"]\n'
        f'token_file = "token"\n{admin}\n{more}\n'
    )
    with tcpd("--config", str(place / "tcpd.toml"), cwd=place) as daemon:
        daemon.wait_for(r"listener admin listens on 127.0.0.1:(\d+) ")
        yield daemon


def tcp(daemon: Daemon) -> socket.socket:
    return daemon.connect("admin")


def unix(place: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(place / "admin.sock"))
    return sock


def ask(sock: socket.socket, data: bytes) -> http.Reply:
    with sock:
        sock.sendall(data)
        said = b""
        while True:
            more = sock.recv(65536)
            assert more, "it ended without an answer"
            said += more
            try:
                return http.parse(said)[0]
            except ValueError:
                continue


STATUS = http.request("GET", "/api/status")
RELOAD = http.post("/api/reload")


def test_this_machine_looks_over_tcp_and_the_token_changes(place: Path) -> None:
    with administered(place) as daemon:
        status = ask(tcp(daemon), STATUS).json
        assert (status["pid"], status["state"]) == (daemon.pid, "running")
        assert ask(tcp(daemon), RELOAD).status == 401
        reply = ask(tcp(daemon), http.post("/api/reload", token=TOKEN))
        assert reply.json == {"ok": True, "changes": []}
        daemon.wait_for("admin: /api/reload is asked for by 127.0.0.1: done")


def test_who_has_the_log_say_less_or_more_is_in_it(place: Path) -> None:
    with administered(place) as daemon:
        for level in ("error", "debug"):
            reply = ask(tcp(daemon), http.post("/api/loglevel", {"level": level}, token=TOKEN))
            assert reply.json == {"level": level}
            daemon.wait_for(f"the log level is {level} now, as 127.0.0.1 has set it")


def test_the_owner_needs_no_token_at_the_unix_socket(place: Path) -> None:
    with administered(place):
        assert stat.S_IMODE((place / "admin.sock").stat().st_mode) == 0o666
        assert ask(unix(place), RELOAD).json == {"ok": True, "changes": []}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_at_the_unix_socket_may_look_and_no_more(place: Path) -> None:
    with administered(place):
        os.seteuid(NOBODY)  # what the kernel notes is who connects, and not who owns the process
        try:
            looks, changes, shows = (unix(place) for _ in range(3))
        finally:
            os.seteuid(0)
        assert ask(looks, STATUS).status == 200
        reply = ask(changes, RELOAD)
        assert reply.status == 403
        assert "only root and tcpd's own user" in reply.json["error"]
        assert ask(shows, http.post("/api/reload", token=TOKEN)).status == 200


def test_a_socket_without_a_mode_is_the_owners_alone(place: Path) -> None:
    (place / "tcpd.toml").write_text(
        '[listeners.echo]\nlisten = "tcp:0:interface=127.0.0.1"\n'
        f'[admin]\nlisten = "unix:{place}/admin.sock"\n'
    )
    with tcpd("--config", "tcpd.toml", cwd=place) as daemon:
        daemon.wait_for("listener admin listens on unix:")
        assert stat.S_IMODE((place / "admin.sock").stat().st_mode) == 0o600
        assert ask(unix(place), STATUS).status == 200
        daemon.stop()
    assert not (place / "admin.sock").exists()


def test_a_token_file_that_others_may_read_is_warned_of(place: Path) -> None:
    with administered(place) as daemon:
        (place / "token").chmod(0o644)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("the admin token in .*token is not its owner's alone")


def test_it_says_that_it_drains_and_ends_its_streams(place: Path) -> None:
    with administered(place, more='[stop]\ndrain = "20s"') as daemon:
        with daemon.connect("echo") as client, tcp(daemon) as reader:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.5)
            with suppress(TimeoutError):  # it doesn't read, so it is owed something
                while True:
                    client.sendall(b"x" * 65536)
            reader.sendall(http.request("GET", "/api/events"))
            assert reader.recv(15) == b"HTTP/1.1 200 OK"
            daemon.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + PATIENCE
            while (reply := ask(unix(place), http.request("GET", "/readyz"))).status == 200:
                assert time.monotonic() < end
            assert (reply.status, reply.body) == (503, b"draining\n")
            assert ask(tcp(daemon), http.request("GET", "/healthz")).status == 200
            client.close()
            said = b""
            while data := reader.recv(65536):
                said += data
            assert b'data: {"reason":"tcpd stops"}' in said
        assert daemon.stop() == 0


def test_what_a_session_says_is_seen_live(place: Path) -> None:
    with administered(place) as daemon, daemon.connect("echo") as client:
        (session,) = ask(tcp(daemon), http.request("GET", "/api/sessions")).json["sessions"]
        with unix(place) as reader:
            reader.sendall(http.request("GET", f"/api/sessions/{session['id']}/tap"))
            assert b"text/event-stream" in reader.recv(65536)
            client.sendall(b"hello")
            said = b""
            while said.count(b"aGVsbG8=") < 2:  # in, and out again
                said += reader.recv(65536)
        view = ask(unix(place), http.request("GET", f"/api/sessions/{session['id']}")).json
        assert view["tcp"]["state"] == "established"
        assert json.dumps(view).isascii()


def crowd(connect: Callable[[], socket.socket]) -> list[socket.socket]:
    """Return more connections than there may be; what is refused counts, too."""
    clients = []
    for number in range(300):
        with suppress(OSError):
            clients.append(connect())
            clients[-1].sendall(b"" if number % 2 else b"GET /healthz HTTP/1.1\r\n")
    return clients


def test_who_fills_the_tcp_address_keeps_nobody_out(place: Path) -> None:
    with administered(place) as daemon:
        with unix(place) as quiet:
            clients = crowd(lambda: tcp(daemon))
            assert ask(tcp(daemon), http.request("GET", "/healthz")).status == 200
            assert ask(unix(place), RELOAD).status == 200
            assert ask(quiet, RELOAD).status == 200
        for each in clients:
            each.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_at_the_unix_socket_keeps_root_from_nothing(place: Path) -> None:
    with administered(place):
        with unix(place) as quiet:
            os.seteuid(NOBODY)
            try:
                clients = crowd(lambda: unix(place))
            finally:
                os.seteuid(0)
            assert ask(unix(place), RELOAD).status == 200
            assert ask(quiet, RELOAD).status == 200
        for each in clients:
            each.close()


@pytest.mark.parametrize("way", ["tcp", "unix"])
@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_all_of_a_large_body_first_gets_the_answer(
    place: Path, way: str, *, chunked: bool
) -> None:
    size = 400_000
    headers = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
    with administered(place) as daemon, tcp(daemon) if way == "tcp" else unix(place) as client:
        client.sendall(http.request("POST", "/api/reload", headers=headers))
        part = b"1f40\r\n" + b"x" * 8000 + b"\r\n" if chunked else b"x" * 8000
        for _ in range(size // 8000):
            client.sendall(part)
            time.sleep(0.001)
        if chunked:
            client.sendall(b"0\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
        said = b""
        while data := client.recv(65536):
            said += data
        reply, rest = http.parse(said)
        assert (reply.status, rest) == (413, b"")
        assert "error" in reply.json


def test_an_event_is_the_same_in_a_sink_and_a_stream(place: Path) -> None:
    sink = '[sinks.all]\nkind = "jsonl"\noptions = { path = "events.jsonl" }'
    with administered(place, more=sink) as daemon:
        with daemon.connect("echo") as first:
            first.sendall(b"x")
            first.recv(1)
        with unix(place) as reader:
            reader.sendall(http.request("GET", "/api/events?event=session.opened"))
            assert b"retry" in reader.recv(65536)
            with daemon.connect("echo"):
                said = b""
                while b"data: " not in said:
                    said += reader.recv(65536) or pytest.fail("it ended")
        ((_, event),) = http.events(said.partition(b"\r\n")[2])
        daemon.stop()
    written = [json.loads(each) for each in (place / "events.jsonl").read_text().splitlines()]
    assert event in written


def test_at_every_address_nobody_looks_without_the_token(place: Path) -> None:
    """What is bound to every address is for others, so that nobody looks without the token."""
    (place / "token").write_text(TOKEN)
    (place / "tcpd.toml").write_text(
        '[listeners.echo]\nlisten = "tcp:0:interface=127.0.0.1"\n'
        '[admin]\nlisten = "tcp:0"\ntoken_file = "token"\n'
    )
    with tcpd("--config", "tcpd.toml", cwd=place) as daemon:
        assert ask(daemon.connect("admin"), STATUS).status == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        reply = ask(daemon.connect("admin"), http.request("GET", "/api/status", headers=bearer))
        assert reply.status == 200
