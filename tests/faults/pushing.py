"""A peer that pushes and never reads: the fault of two rows, over TCP and over TLS."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.harness import LOOPBACK, MB, Tcpd, certificate, tcpd
from faults.tls_peer import TLSPeer

PUSHED = 300 * MB
DEADLINE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    growth: int
    """By how much the daemon's memory grew at most, in bytes."""
    accepted: int
    """How many bytes it took, or the kernel did for it."""
    cut_after: float
    """The seconds from the last of them to the end; inf if there was none."""

    def __str__(self) -> str:
        return f"RSS {self.growth / MB:+.1f} MB; cut after {self.cut_after:.1f} of {DEADLINE:.0f} s"

    def check(self) -> None:
        """Assert what must hold."""
        assert self.growth <= 8 * MB
        assert abs(self.cut_after - DEADLINE) <= 1.0


def push(directory: Path, *, tls: bool) -> Pushed:
    """Push to an echo."""
    _pem, context = certificate(directory)
    config = f"[listeners.echo]\n{LOOPBACK}\ndeadlines = {{ write_stall = '{DEADLINE:.0f}s' }}\n"
    plain = "[listeners.plain]\n" + LOOPBACK
    with tcpd(directory, config + ("tls.certificate = 'server.pem'\n" if tls else "") + plain) as (
        daemon
    ):
        with daemon.connect("echo") as sock:
            if not tls:
                pushed = push_to(daemon, sock, lambda data: data)
            else:
                peer = TLSPeer(context, sock)
                peer.handshake()
                peer.flush()
                pushed = push_to(daemon, sock, peer.encrypt)
        daemon.wait_for(", write-stall ")
        daemon.assert_serves("plain")
        return pushed


def push_to(daemon: Tcpd, sock: socket.socket, encoded: Callable[[bytes], bytes]) -> Pushed:
    """Push as fast as it goes, until the end or long after the deadline."""
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    chunk = bytes(MB)
    accepted, cut_after = 0, float("inf")
    with daemon.memory_peak() as peak:
        left = memoryview(encoded(chunk))
        last = time.monotonic()
        while time.monotonic() < last + DEADLINE + 5.0:
            for _fd, events in poll.poll(100):
                if events & (select.POLLERR | select.POLLHUP):
                    cut_after = time.monotonic() - last
                    break
                sent = sock.send(left)
                accepted += sent
                assert accepted < PUSHED, "it took all of it"
                last = time.monotonic()
                left = left[sent:] or memoryview(encoded(chunk))
            else:
                continue
            break
    return Pushed(growth=peak.growth, accepted=accepted, cut_after=cut_after)
