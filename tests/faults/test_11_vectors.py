"""Row 11: PROXY vectors: every malformed header in the spec's terms, v1 and v2, TLVs, CRC.

Must hold: no traceback; right verdict on each.

Best known: nginx 94 %.

Each header comes with a byte of data behind it. Where the verdict is an address, the handler has to
have it, to the port; where it is a refusal, the handler must never hear of the connection.
"""

import socket

from faults.harness import LOOPBACK, tcpd
from faults.peers import receive_all
from faults.proxy_vectors import OWN, REFUSED, v1_vectors, v2_vectors

CONFIG = f"""
[listeners.peers]
{LOOPBACK}
handler = "reply"
options = {{ framing = "raw", default = "{{{{peer.host}}}} {{{{peer.port}}}}" }}
proxy = {{ trusted = ["127.0.0.1"] }}
[listeners.echo]
{LOOPBACK}
"""


def verdict_on(daemon, header):
    """Return what the handler takes for the peer's address, or that it never heard of it."""
    with daemon.connect("peers") as sock:
        own = sock.getsockname()
        try:
            sock.sendall(header + b"x")
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # it was quicker
            return REFUSED
        answer = receive_all(sock).decode()
    if not answer:
        return REFUSED
    host, _, port = answer.partition(" ")
    return OWN if (host, int(port)) == own else (host, int(port))


def test_the_verdicts(tmp_path, figure):
    vectors = {("v1", name): each for name, each in v1_vectors().items()}
    vectors |= {("v2", name): each for name, each in v2_vectors().items()}
    with tcpd(tmp_path, CONFIG) as daemon:
        seen = {name: verdict_on(daemon, header) for name, (header, _) in vectors.items()}
        wrong = {
            name: (seen[name], verdict)
            for name, (_, verdict) in vectors.items()
            if seen[name] != verdict
        }
        right = len(vectors) - len(wrong)
        figure(f"{right} of {len(vectors)} right ({100 * right / len(vectors):.0f} %)")
        assert wrong == {}
        daemon.assert_serves("echo")
