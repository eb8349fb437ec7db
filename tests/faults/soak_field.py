"""What the soak has: a daemon of many listeners, and the connections that faults leave open."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import threading
from collections import Counter
from pathlib import Path

from faults.control import clear
from faults.harness import LOOPBACK, Tcpd, wait_until

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
            self.transport.write(bytes(range(250)) * 4000)
        if data == b"more":
            self.transport.write(bytes(range(250)) * 40_000)

    def connectionLost(self, reason):
        if self.where == b"end":
            raise KeyError("on purpose")
"""
MORE = bytes(range(250)) * 40_000
"""What that handler answers to `more`; it is more than kernels queue."""
DEADLINES = 'deadlines = { handshake = "2s", idle = "20s", write_stall = "2s", lifetime = "30s" }'
LOG = "soak.log"
DRAIN = 2
"""How long open sessions may take to finish when the daemon stops, in seconds."""
HELD = 50
"""So many connections are left open at a time, to see what becomes of them."""
_RELOADED = re.compile(r"the configuration was read again|the new configuration is refused")
_PROVOKED = re.compile(
    r"crashes\.py|more failures like those|reload: tcpd\.toml|nothing has changed"
)


VISITOR = f"""
[listeners.visitor]
listen = ["tcp:0:interface=127.0.0.1", "unix:visitor.sock"]
{DEADLINES}
"""


def config(turn: int, uplink: int) -> str:
    """Return the daemon's configuration; some of it differs from turn to turn.

    Args:
        turn: one listener is there only when it is odd.
        uplink: the port that the connector connects to.
    """
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
[listeners.proxied]
{LOOPBACK}
handler = "reply"
options = {{ framing = "raw", default = "{{{{peer.host}}}}" }}
proxy = {{ trusted = ["127.0.0.1"] }}
{DEADLINES}
[listeners.local]
listen = "unix:local.sock"
{DEADLINES}
[connectors.uplink]
connect = "tcp:127.0.0.1:{uplink}"
reconnect = {{ initial = "50ms", max = "200ms" }}
{VISITOR if turn % 2 else ""}
[stop]
drain = "{DRAIN}s"
[log]
file = "{LOG}"
"""


def unexpected(log: str) -> list[str]:
    """Return what a log shouldn't hold.

    That is the errors but those of the handler that crashes and of bad files, and control bytes.
    """
    errors = [] if clear(log.encode(errors="surrogateescape")) else ["a raw control byte in a log"]
    errors += re.findall(r"^\S+Z (?:error|critical): .*$", log, re.MULTILINE)
    return [line for line in errors if not _PROVOKED.search(line)]


class Field:
    """The daemon, and the connections to it that faults have left open.

    Attributes:
        surprises: what the daemon did that it must not.
        lock: over the connections that are left open.
        steering: over what has one at a time: the log, the configuration, the daemon's limits.
        uplink_server: over the server that the connector looks for.
        uplink: its port.
        turn: of the configuration that holds.
        errors: lines of logs that tell of errors which no fault should bring about.
        frustrated: how often each fault was cut short, which is as it should be.
    """

    def __init__(self, daemon: Tcpd, directory: Path, context: ssl.SSLContext, uplink: int) -> None:
        self.daemon = daemon
        self.directory = directory
        self.context = context
        self.ports = {
            name: daemon.port(name)
            for name in ("echo", "stalled", "tls", "lines", "crashes", "capped", "proxied")
        }
        self.uplink = uplink
        self.surprises: list[str] = []
        self.frustrated: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.steering = threading.Lock()
        self.uplink_server = threading.Lock()
        self.errors: list[str] = []
        self.turn = 0
        self._held: list[socket.socket] = []

    def connect(
        self, listener: str, *, source: str = "127.0.0.1", receive: int | None = None
    ) -> socket.socket:
        """Return a connection that waits 5 s at most for anything.

        Args:
            listener: where to.
            source: the address of ours to come from.
            receive: the size of our receive buffer, in bytes.
        """
        sock = socket.socket()
        sock.settimeout(5.0)
        if receive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        try:
            if source != "127.0.0.1":
                sock.bind((source, 0))
            sock.connect(("127.0.0.1", self.ports[listener]))
        except OSError:
            sock.close()
            raise
        return sock

    def connect_to_file(self, name: str) -> socket.socket:
        """Return a connection to a UNIX socket that waits 5 s at most for anything."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5.0)
        try:
            sock.connect(str(self.directory / name))
        except OSError:
            sock.close()
            raise
        return sock

    def reload(self, text: str) -> str:
        """Have a configuration read, and return what the log says of it."""
        fresh = self.directory / "tcpd.new"
        fresh.write_text(text)
        fresh.rename(self.directory / "tcpd.toml")
        before = len(self.daemon.log)
        self.daemon.send_signal(signal.SIGHUP)
        wait_until("a reload", lambda: _RELOADED.search(self.daemon.log, before))
        return self.daemon.log[before:]

    def rotate(self) -> None:
        """Move the log away, and have it opened anew."""
        self.read_old_log()
        log = self.directory / LOG
        log.rename(self.directory / f"{LOG}.old")
        self.daemon.send_signal(signal.SIGUSR1)
        wait_until("a new log", log.exists)

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
            self.errors += unexpected(old.read_text(errors="surrogateescape"))
            old.unlink()

    def let_go(self) -> None:
        """Close all that were left open."""
        with self.lock:
            for sock in self._held:
                sock.close()
            self._held.clear()
