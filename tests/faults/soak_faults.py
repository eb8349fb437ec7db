"""What the soak does to a daemon: each fault is a function, and takes a fraction of a second."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from faults.harness import KB, LOOPBACK, MB, Tcpd, ends, receive, receive_all, reset, wrap
from faults.tls_peer import TLSPeer

CRASHES = """
from twisted.internet.protocol import Protocol

class Crashes(Protocol):
    def connectionMade(self):
        self.where = b""

    def dataReceived(self, data):
        self.where += data
        if data == b"data":
            raise ValueError("on purpose")
        if data == b"bulk":
            self.transport.write(bytes(1_000_000))

    def connectionLost(self, reason):
        if self.where == b"end":
            raise KeyError("on purpose")
"""
DEADLINES = 'deadlines = { handshake = "2s", idle = "20s", write_stall = "2s", lifetime = "30s" }'
LOG = "soak.log"
HELD = 50
"""So many connections are left open at a time, to see what becomes of them."""
_PROVOKED = re.compile(
    r"crashes\.py|more failures like those|reload: tcpd\.toml|nothing has changed"
)


def config(turn: int) -> str:
    """Return the daemon's configuration; some of it differs from turn to turn."""
    return f"""
[listeners.echo]
{LOOPBACK}
[listeners.stalled]
{LOOPBACK}
{DEADLINES}
[listeners.tls]
{LOOPBACK}
tls = {{ certificate = "server.pem" }}
{DEADLINES}
[listeners.lines]
{LOOPBACK}
handler = "reply"
{DEADLINES}
[listeners.lines.options]
default = "heard {turn % 2}"
max_size = "200KiB"
rules = [ {{ match = {{ regex = "(a+)+$" }}, reply = "all a" }} ]
[listeners.crashes]
{LOOPBACK}
handler = "crashes.py:Crashes"
{DEADLINES}
[listeners.capped]
{LOOPBACK}
limits = {{ sessions = 5, rate = "{1000 + turn % 2}/s" }}
{DEADLINES}
[log]
file = "{LOG}"
"""


def unexpected(log: str) -> list[str]:
    """Return the errors in a log but those of the handler that crashes, and of bad files."""
    errors = re.findall(r"^\S+Z (?:error|critical): .*$", log, re.MULTILINE)
    return [line for line in errors if not _PROVOKED.search(line)]


class Field:
    """The daemon, and the connections to it that faults have left open.

    Attributes:
        surprises: what the daemon did that it must not.
        errors: lines of logs that tell of errors which no fault should bring about.
        frustrated: how often each fault was cut short, which is as it should be.
    """

    def __init__(self, daemon: Tcpd, directory: Path, context: ssl.SSLContext) -> None:
        self.daemon = daemon
        self.directory = directory
        self.context = context
        self.ports = {
            name: daemon.port(name)
            for name in ("echo", "stalled", "tls", "lines", "crashes", "capped")
        }
        self.surprises: list[str] = []
        self.frustrated: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.errors: list[str] = []
        self.turn = 0
        self._held: list[socket.socket] = []

    def connect(self, listener: str) -> socket.socket:
        """Return a connection that waits 5 s at most for anything."""
        return socket.create_connection(("127.0.0.1", self.ports[listener]), timeout=5.0)

    def hold(self, sock: socket.socket) -> None:
        """Leave a connection open; the one that was left open longest is closed."""
        with self.lock:
            self._held.append(sock)
            if len(self._held) > HELD:
                self._held.pop(0).close()

    def read_old_log(self) -> None:
        """Look for errors in the log that was moved away, and remove it."""
        old = self.directory / f"{LOG}.old"
        if old.exists():
            self.errors += unexpected(old.read_text())
            old.unlink()

    def let_go(self) -> None:
        """Close all that were left open."""
        with self.lock:
            for sock in self._held:
                sock.close()
            self._held.clear()


def never_reads(field: Field, chance: random.Random) -> None:
    """Push and never read."""
    sock = field.connect("stalled")
    sock.setblocking(False)
    field.hold(sock)
    data = bytes(MB)
    for _ in range(20):
        sock.send(data)


def bulk_unread(field: Field, chance: random.Random) -> None:
    """Ask for much, and read none or a little of it."""
    sock = field.connect("crashes")
    sock.sendall(b"bulk")
    if chance.random() < 0.5:
        receive(sock, chance.randrange(10 * KB))
        reset(sock)
    else:
        field.hold(sock)


def resets(field: Field, chance: random.Random) -> None:
    """Connect and reset, before or after a few bytes."""
    for _ in range(20):
        sock = field.connect(chance.choice(("stalled", "lines", "tls", "crashes")))
        if chance.random() < 0.7:
            sock.sendall(os.urandom(chance.randrange(1, 5000)))
        reset(sock)


def silence(field: Field, chance: random.Random) -> None:
    """Connect and say nothing, or half of a hello."""
    sock = field.connect(chance.choice(("tls", "stalled", "lines")))
    field.hold(sock)
    if chance.random() < 0.5:
        hello = TLSPeer(field.context, sock).hello()
        sock.sendall(hello[: chance.randrange(len(hello))])


def garbage(field: Field, chance: random.Random) -> None:
    """Say what nobody understands."""
    for listener in ("tls", "lines", "crashes", "capped"):
        with field.connect(listener) as sock:
            sock.sendall(chance.randbytes(chance.randrange(1, 20_000)))
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(0.5)
            receive_all(sock)


def tls_and_back(field: Field, chance: random.Random) -> None:
    """A good session over TLS, half-closed by its peer."""
    data = chance.randbytes(100_000)
    with field.connect("tls") as sock:
        peer = TLSPeer(field.context, sock)
        peer.handshake()
        words = peer.last_words(data)
        sender = threading.Thread(target=sock.sendall, args=(words,))
        sender.start()
        if peer.receive_all() != data:
            field.surprises.append("other bytes came back over TLS")
        sender.join()


def tls_cut(field: Field, chance: random.Random) -> None:
    """A session over TLS that is cut."""
    with field.connect("tls") as sock:
        inside = wrap(field.context, sock)
        inside.sendall(bytes(chance.randrange(1, 50_000)))
        reset(inside)


def endless_line(field: Field, chance: random.Random) -> None:
    """A line without an end."""
    with field.connect("lines") as sock:
        sock.sendall(b"a" * MB)
        if not ends(sock, 5.0):
            field.surprises.append("a line of 1 MB was taken")


def empty_lines(field: Field, chance: random.Random) -> None:
    """Ten thousand empty lines at once."""
    with field.connect("lines") as sock:
        sock.sendall(b"\r\n" * 10_000)
        answer = receive(sock, 8 * 10_000)
        if len(answer) != 8 * 10_000:
            field.surprises.append(f"{len(answer)} bytes answered 10000 lines")


def expression(field: Field, chance: random.Random) -> None:
    """An expression that explodes, elsewhere."""
    with field.connect("lines") as sock:
        sock.sendall(b"a" * 100 * KB + b"!\n")
        if not receive(sock, 8).startswith(b"heard "):
            field.surprises.append("no answer to many a")


def crash(field: Field, chance: random.Random) -> None:
    """Make a handler raise."""
    for word in (b"data", b"end"):
        with field.connect("crashes") as sock:
            sock.sendall(word)
            sock.shutdown(socket.SHUT_WR)
            if not ends(sock, 5.0):
                field.surprises.append(f"a session lasted that failed at its {word.decode()}")


def crowd(field: Field, chance: random.Random) -> None:
    """Come in greater numbers than there are places."""
    socks = [field.connect("capped") for _ in range(30)]
    for sock in socks:
        sock.close()


def slow(field: Field, chance: random.Random) -> None:
    """Send a byte at a time."""
    with field.connect("lines") as sock:
        for _ in range(20):
            sock.sendall(b"a")
            time.sleep(0.01)


def reload(field: Field, chance: random.Random) -> None:
    """Reload, in one case of three a file that is wrong."""
    with field.lock:
        field.turn += 1
        text = config(field.turn)
        if chance.random() < 0.3:
            text = text.replace("limits", "limmits")
        fresh = field.directory / "tcpd.new"
        fresh.write_text(text)
        fresh.rename(field.directory / "tcpd.toml")
    field.daemon.send_signal(signal.SIGHUP)


def rotate(field: Field, chance: random.Random) -> None:
    """Move the log away and have it opened anew."""
    with field.lock:
        log = field.directory / LOG
        if not log.exists():  # the last signal is still under way
            return
        field.read_old_log()
        log.rename(field.directory / f"{LOG}.old")
    field.daemon.send_signal(signal.SIGUSR1)


Fault = Callable[[Field, random.Random], None]
FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        never_reads,
        bulk_unread,
        resets,
        silence,
        garbage,
        tls_and_back,
        tls_cut,
        endless_line,
        empty_lines,
        expression,
        crash,
        crowd,
        slow,
        reload,
        rotate,
    )
}
