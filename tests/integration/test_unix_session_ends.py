"""How sessions on UNIX sockets end, on every reactor: an ordinary close is one, as on TCP."""

import os
import select
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from helpers.daemon import PATIENCE, Daemon, tcpd

HANDLERS = """
from twisted.internet.protocol import Protocol
from tcpd.handlers.echo import EchoProtocol

class Told:
    def connectionLost(self, reason):
        print("told", reason.type.__name__, flush=True)

class Knows(Told, EchoProtocol):
    "Knows of half-close."

class Simple(Told, Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
"""
CONFIGURATION = """
[listeners.{name}]
listen = "unix:{name}.sock"
handler = "h.py:{handler}"
{tls}
"""
TLS = 'tls = { certificate = "c.pem", key = "c.pem" }'
# Its close leaves nothing of ours unread; what it sends last, we can't answer any more.
PEERS = ("silent", "answered", "last-word")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """Have the daemon see at once what happens meanwhile."""
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def take_tickets(sock: ssl.SSLSocket) -> None:
    """Wait for what a server sends at the end of its handshake (RFC 8446, 4.6.1)."""
    assert select.select([sock], [], [], PATIENCE)[0]
    sock.setblocking(False)
    with suppress(ssl.SSLWantReadError):
        sock.recv(1)
    sock.settimeout(PATIENCE)


def close(sock: socket.socket) -> None:
    if isinstance(sock, ssl.SSLSocket):
        sock.setblocking(False)
        with suppress(ssl.SSLWantReadError):  # its answer
            sock.unwrap()
    sock.close()


@pytest.mark.parametrize("reactor", ["tcpd", "epoll", "asyncio", "select"])
def test_an_ordinary_close_is_the_peers(
    reactor: str, tmp_path: Path, authority: trustme.CA
) -> None:
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "c.pem"
    )
    (tmp_path / "h.py").write_text(HANDLERS)
    kinds = [(handler, tls) for handler in ("Knows", "Simple") for tls in ("", TLS)]
    names = {kind: f"{kind[0]}{'-tls' if kind[1] else ''}" for kind in kinds}
    (tmp_path / "tcpd.toml").write_text(
        "".join(
            CONFIGURATION.format(name=name, handler=handler, tls=tls)
            for (handler, tls), name in names.items()
        )
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with tcpd("--config=tcpd.toml", cwd=tmp_path, twistd=(f"--reactor={reactor}",)) as daemon:
        for name in names.values():
            daemon.wait_for(rf"listener {name} listens on")

        def ends(name: str, peer: str) -> tuple[str, str]:
            """Return why a session ended, and what its handler was told."""
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(str(tmp_path / f"{name}.sock"))
            if name.endswith("-tls"):
                sock = context.wrap_socket(sock, server_hostname="localhost")
                take_tickets(sock)
            if peer != "silent":
                sock.sendall(b"hello")
                assert sock.recv(9) == b"hello"
            with stopped(daemon):
                if peer == "last-word":
                    sock.sendall(b"bye")
                close(sock)
            cause = daemon.wait_for(rf"-> {name} .*, ([a-z-]+) \[")[1]
            told = daemon.wait_for(r"told (\w+)")[1]
            daemon.output = ""
            return cause, told

        found = {(name, peer): ends(name, peer) for name in names.values() for peer in PEERS}
    assert {key: cause for key, (cause, _) in found.items()} == dict.fromkeys(found, "peer-closed")
    # Of what was lost on the way, a handler is told.
    assert {told for (_, peer), (_, told) in found.items() if peer != "last-word"} == {
        "ConnectionDone"
    }


@pytest.mark.parametrize("last", [b"", b"and a last word"])
@pytest.mark.parametrize("reactor", ["tcpd", "epoll", "asyncio"])
def test_a_close_that_leaves_our_answer_unread_is_a_reset(
    reactor: str, last: bytes, tmp_path: Path
) -> None:
    arguments = ("--listen=unix:s.sock", "--handler=echo")
    with tcpd(*arguments, cwd=tmp_path, twistd=(f"--reactor={reactor}",)) as daemon:
        daemon.wait_for("listens on unix:")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(tmp_path / "s.sock"))
            sock.sendall(b"x")
            assert sock.recv(1, socket.MSG_PEEK) == b"x"
            with stopped(daemon):
                sock.sendall(last)  # which is answered in vain
                sock.close()
        # The kernel makes a reset of it, as it does on TCP.
        assert daemon.wait_for(r"-> main .*, ([a-z-]+) \[")[1] == "peer-reset"
