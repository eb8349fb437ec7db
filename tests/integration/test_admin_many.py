"""Ten thousand idle sessions: the status page's answers stay quick, and hold nobody up for long."""

from __future__ import annotations

import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import admin_http as http
from helpers.daemon import PATIENCE, Daemon, tcpd

MANY = 10_000
LIMIT = 0.1  # seconds
TRIES = 7


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with all those sessions."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 500:
        pytest.skip(f"this user may open {hard} files only (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 500), hard))
    place: Path = tmp_path_factory.mktemp("many")
    (place / "tcpd.toml").write_text(
        '[listeners.echo]\nlisten = "tcp:0:interface=127.0.0.1"\n'
        'limits = { sessions = "off", per_address = "off" }\n'
        '[admin]\nlisten = "tcp:0:interface=127.0.0.1"\n'
    )
    clients: list[socket.socket] = []
    with tcpd("--config", "tcpd.toml", cwd=place) as daemon:
        daemon.port("admin")
        address = ("127.0.0.1", daemon.port("echo"))
        try:
            clients += (socket.create_connection(address, PATIENCE) for _ in range(MANY))
            while ask(daemon, "/api/status").json["sessions"]["open"] < MANY:
                time.sleep(0.1)
            yield daemon
        finally:
            for each in clients:
                each.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(daemon: Daemon, path: str) -> http.Reply:
    with daemon.connect("admin") as sock:
        sock.sendall(http.request("GET", path))
        said = b""
        while True:
            said += sock.recv(1 << 20)
            try:
                return http.parse(said)[0]
            except ValueError:
                continue


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/api/status",
        "/metrics",
        "/api/sessions?limit=100&sort=-rate",
        "/api/sessions?limit=100&sort=client",
        "/api/sessions?limit=1000",
        "/api/sessions?limit=100&filter=127.0.0.1:4",
    ],
)
def test_an_answer_takes_less_than_a_tenth_of_a_second(crowded: Daemon, path: str) -> None:
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        reply = ask(crowded, path)
        took.append(time.perf_counter() - began)
        assert reply.status == 200
        if "filter" not in path:
            assert str(MANY).encode() in reply.body  # all of them are in it
    took.sort()
    print(f"\n{path}: {took[0] * 1e3:.1f} ms at best, {took[TRIES // 2] * 1e3:.1f} in the middle")
    # The best of them: a busy machine makes any one of them late.
    assert took[0] < LIMIT


@pytest.mark.slow
def test_meanwhile_others_are_served(crowded: Daemon) -> None:
    """What a session waits for while the page's answers are made, one after the other."""
    waits = []
    with crowded.connect("echo") as client, crowded.connect("admin") as admin:
        admin.setblocking(False)
        request = http.request("GET", "/api/sessions?limit=1000&sort=client")
        for _ in range(10):
            admin.send(request)
            for _ in range(20):
                began = time.perf_counter()
                client.sendall(b"x")
                assert client.recv(1) == b"x"
                waits.append(time.perf_counter() - began)
            admin.setblocking(True)
            said = b""
            while not re.search(rb"\]\}\n$", said):
                said += admin.recv(1 << 20)
            admin.setblocking(False)
    waits.sort()
    middle, worst = waits[len(waits) // 2], waits[-1]
    print(f"\nan echo meanwhile: {middle * 1e3:.1f} ms in the middle, {worst * 1e3:.1f} at worst")
    assert middle < LIMIT
