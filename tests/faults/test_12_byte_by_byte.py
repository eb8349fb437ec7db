"""Row 12: a valid header a byte at a time.

Must hold: accepted.

Best known: both fail.

Every byte of the header is a segment of its own, of both versions, and what follows it, too: over
TLS that is the ClientHello.
"""

import socket
import time

from faults.harness import LOOPBACK, certificate, tcpd
from faults.peers import receive_all
from faults.proxy_vectors import CLIENT, checked, tcp4, tlv, v1_vectors
from faults.tls_peer import TLSPeer

REPLY = 'handler = "reply"\noptions = { default = "{{peer.host}} {{peer.port}}" }'
CONFIG = f"""
[listeners.plain]
{LOOPBACK}
{REPLY}
proxy = {{ trusted = ["127.0.0.1"] }}
[listeners.tls]
{LOOPBACK}
{REPLY}
proxy = {{ trusted = ["127.0.0.1"] }}
tls = {{ certificate = "server.pem" }}
"""
HEADERS = [v1_vectors()["TCP4"][0], checked(tcp4() + tlv(0x02, b"example.org"))]
PAUSE = 0.001


def send_slowly(sock, data):
    """Send each byte as a segment of its own."""
    for at in range(len(data)):
        sock.sendall(data[at : at + 1])
        time.sleep(PAUSE)


def test_headers_in_single_bytes(tmp_path, figure):
    _pem, context = certificate(tmp_path)
    expected = b"%s %d\n" % (CLIENT[0].encode(), CLIENT[1])
    with tcpd(tmp_path, CONFIG) as daemon:
        accepted = 0
        for header in HEADERS:
            with daemon.connect("plain") as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                send_slowly(sock, header + b"x\n")
                sock.shutdown(socket.SHUT_WR)
                accepted += receive_all(sock) == expected
            with daemon.connect("tls") as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = TLSPeer(context, sock)
                send_slowly(sock, header + peer.hello())
                peer.handshake()
                send_slowly(sock, peer.last_words(b"x\n"))
                accepted += peer.receive_all() == expected
        figure(f"{accepted} of {2 * len(HEADERS)} accepted, plain and over TLS")
        assert accepted == 2 * len(HEADERS)
