"""Row 9: no ClientHello, half a ClientHello.

Must hold: closed at the handshake deadline, 1 s either way.

Best known: HAProxy, nginx.

Fifty peers of each kind connect to a TLS listener; the deadline is 3 s. A third kind has said its
whole hello, and never finishes.
"""

import time

from faults.harness import LOOPBACK, certificate, tcpd
from faults.peers import when_they_end
from faults.tls_peer import TLSPeer

DEADLINE = 3.0
PEERS = 50
CONFIG = f"""
[listeners.echo]
{LOOPBACK}
tls = {{ certificate = "server.pem" }}
deadlines = {{ handshake = "{DEADLINE:.0f}s" }}
[listeners.plain]
{LOOPBACK}
"""


def test_handshakes_that_never_end(tmp_path, figure):
    _pem, context = certificate(tmp_path)
    with tcpd(tmp_path, CONFIG) as daemon:
        daemon.assert_serves("plain")
        base = daemon.descriptors_at_rest()
        socks, began = [], {}
        for number in range(3 * PEERS):
            sock = daemon.connect("echo")
            began[sock] = time.monotonic()
            hello = TLSPeer(context, sock).hello()
            parts = (b"", hello[: len(hello) // 2], hello)
            sock.sendall(parts[number % 3])
            socks.append(sock)
        ended = when_they_end(socks, DEADLINE + 5.0)
        waited = [ended[sock] - began[sock] for sock in ended]
        left = daemon.descriptors_back_to(base, 1.0)
        least, most = min(waited, default=0), max(waited, default=0)
        count = f"{len(ended)} of {len(socks)}"
        figure(f"{count} closed after {least:.1f} to {most:.1f} of {DEADLINE:.0f} s")
        assert len(ended) == len(socks)
        assert all(abs(seconds - DEADLINE) <= 1.0 for seconds in waited)
        assert left == 0
        assert "(handshake-timeout)" in daemon.log
        daemon.assert_serves("plain")
