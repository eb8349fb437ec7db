"""Row 8: 300 slow clients, a byte at a time.

Must hold: all closed at the deadline, 1 s either way.

Best known: HAProxy.

They send ten bytes a second, for as long as they may: a hundred of them a ClientHello, a hundred a
PROXY header, a hundred a line that never ends. What ends them is the deadline of the handshake, of
the header, and of the session's lifetime, 3 s each; a limit to silence would never end them.
"""

import time

from faults.harness import LOOPBACK, certificate, tcpd
from faults.peers import when_they_end
from faults.proxy_vectors import tcp4, tlv, v2
from faults.tls_peer import TLSPeer

PEERS, DEADLINE, PAUSE = 100, 3.0, 0.1
CONFIG = f"""
[listeners.hello]
{LOOPBACK}
tls = {{ certificate = "server.pem" }}
deadlines = {{ handshake = "{DEADLINE:.0f}s" }}
[listeners.header]
{LOOPBACK}
proxy = {{ trusted = ["127.0.0.1"] }}
deadlines = {{ header = "{DEADLINE:.0f}s" }}
[listeners.line]
{LOOPBACK}
handler = "reply"
options = {{ default = "heard" }}
deadlines = {{ lifetime = "{DEADLINE:.0f}s" }}
[listeners.echo]
{LOOPBACK}
"""


def test_slow_clients(tmp_path, figure):
    _pem, context = certificate(tmp_path)
    with tcpd(tmp_path, CONFIG) as daemon:
        daemon.assert_serves("echo")
        base = daemon.descriptors_at_rest()
        began, words = {}, {}
        for _ in range(PEERS):
            for listener in ("hello", "header", "line"):
                sock = daemon.connect(listener)
                began[sock] = time.monotonic()
                words[sock] = {
                    "hello": lambda sock: TLSPeer(context, sock).hello(),
                    "header": lambda sock: v2(tcp4() + tlv(0x04, bytes(100))),
                    "line": lambda sock: b"a" * 100,
                }[listener](sock)
        ended = {}
        end = time.monotonic() + DEADLINE + 3.0
        for at in range(60):
            for sock in began.keys() - ended.keys():
                try:
                    sock.send(words[sock][at : at + 1])
                except OSError:  # the next look will tell
                    pass
            ended |= when_they_end(began.keys() - ended.keys(), PAUSE)
            if len(ended) == len(began) or time.monotonic() > end:
                break
        waited = [ended[sock] - began[sock] for sock in ended]
        left = daemon.descriptors_back_to(base, 1.0)
        figure(
            f"{len(ended)} of {len(began)} closed after {min(waited, default=0):.1f} to"
            f" {max(waited, default=0):.1f} of {DEADLINE:.0f} s"
        )
        assert len(ended) == len(began)
        assert all(abs(seconds - DEADLINE) <= 1.0 for seconds in waited)
        assert left == 0
        daemon.assert_serves("echo")
