"""Row 10: a PROXY header that stalls.

Must hold: closed at its deadline (3 s or more, as the spec asks).

Best known: reset at once.

Peers say nothing, half of a header of either version, or all but its last byte, to a plain listener
and to one with TLS; the deadline is 3 s, and is kept to the second.
"""

import time

from faults.harness import LOOPBACK, certificate, tcpd
from faults.peers import when_they_end
from faults.proxy_vectors import checked, tcp4, v1_vectors

DEADLINE = 3.0
CONFIG = f"""
[listeners.plain]
{LOOPBACK}
proxy = {{ trusted = ["127.0.0.1"] }}
deadlines = {{ header = "{DEADLINE:.0f}s" }}
[listeners.tls]
{LOOPBACK}
proxy = {{ trusted = ["127.0.0.1"] }}
deadlines = {{ header = "{DEADLINE:.0f}s" }}
tls = {{ certificate = "server.pem" }}
[listeners.echo]
{LOOPBACK}
"""


def test_headers_that_stall(tmp_path, figure):
    certificate(tmp_path)
    with tcpd(tmp_path, CONFIG) as daemon:
        daemon.assert_serves("echo")
        base = daemon.descriptors_at_rest()
        began = {}
        for header in (v1_vectors()["TCP4"][0], checked(tcp4())):
            for size in (0, 1, 5, 12, 15, 16, 20, len(header) - 1):
                for listener in ("plain", "tls"):
                    sock = daemon.connect(listener)
                    began[sock] = time.monotonic()
                    sock.sendall(header[:size])
        ended = when_they_end(began, DEADLINE + 5.0)
        waited = [ended[sock] - began[sock] for sock in ended]
        left = daemon.descriptors_back_to(base, 1.0)
        least, most = min(waited, default=0), max(waited, default=0)
        count = f"{len(ended)} of {len(began)}"
        figure(f"{count} closed after {least:.1f} to {most:.1f} of {DEADLINE:.0f} s")
        assert len(ended) == len(began)
        assert all(DEADLINE <= seconds <= DEADLINE + 1.0 for seconds in waited)
        assert left == 0
        assert "(header-timeout)" in daemon.log
        daemon.assert_serves("echo")
