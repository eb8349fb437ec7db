"""Out of descriptors where sockets linger: they make room, and accepting goes on."""

import select
import socket
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from helpers.daemon import BIN, PATIENCE, Daemon, running

FILES = 64
SIZE = 300_000
# Each session sends more than a peer takes that doesn't read, and closes at once. The kernel has
# the rest, so the session is over and its socket lingers. "stay" keeps a session open.
HANDLER = f"""
from twisted.internet.protocol import Protocol

class Farewell(Protocol):
    def dataReceived(self, data):
        if data == b"stay":
            self.transport.write(b"here")
        else:
            self.transport.write(bytes({SIZE}))
            self.transport.loseConnection()
"""


def limited(cwd: Path, reactor: str) -> AbstractContextManager[Daemon]:
    (cwd / "h.py").write_text(HANDLER)
    return running(
        *("prlimit", f"--nofile={FILES}:{FILES}"),
        *(BIN / "twistd", "-n", f"--reactor={reactor}", "tcpd"),
        *("--listen=tcp:0:interface=127.0.0.1", "--handler=h.py:Farewell"),
        cwd=cwd,
    )


def connected(port: int, word: bytes) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(word)
    return sock


@pytest.mark.parametrize("reactor", ["tcpd", "epoll", "asyncio"])
def test_what_lingers_makes_room_for_newcomers(reactor: str, tmp_path: Path) -> None:
    with limited(tmp_path, reactor) as daemon, ExitStack() as stack:
        port = daemon.port()
        for number in range(1, 2 * FILES + 1):
            stack.enter_context(connected(port, b"go"))
            daemon.wait_for(rf"{SIZE} out, .*, handler-closed \[\w+-{number}\]")
        assert "accepting waits" not in daemon.output
        with connected(port, b"stay") as sock:
            assert sock.recv(4) == b"here"


@pytest.mark.parametrize("reactor", ["tcpd", "epoll", "asyncio"])
def test_where_nothing_lingers_newcomers_wait_and_it_is_said_once(
    reactor: str, tmp_path: Path
) -> None:
    with limited(tmp_path, reactor) as daemon, ExitStack() as stack:
        port = daemon.port()
        crowd = [stack.enter_context(connected(port, b"stay")) for _ in range(2 * FILES)]
        served: list[socket.socket] = []
        waiting = crowd
        while ready := select.select(waiting, [], [], 1.0)[0]:
            served += ready
            waiting = [each for each in waiting if each not in ready]
        assert 30 < len(served) < FILES
        daemon.wait_for("Too many open files; accepting waits until there is room")
        while waiting:  # each that goes makes room for one that waits
            served.pop().close()
            (ready, _, _) = select.select(waiting, [], [], PATIENCE)
            assert ready
            served += ready
            waiting = [each for each in waiting if each not in ready]
        assert {each.recv(9) for each in served} == {b"here"}
        daemon.stop()
    assert daemon.output.count("accepting waits") == 1
