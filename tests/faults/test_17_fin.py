"""Row 17: send + FIN back to back, 200 times; 20 MB and a slow reader; both over TLS too.

Must hold: all bytes, every time.

Best known: HAProxy, nginx.

A peer says everything, shuts down its side at once, and then reads. A server that takes the end of
what a peer sends for the end of the connection loses the answer. Over TLS the peer's end is its
close_notify and a FIN, in one segment with the data.
"""

import os
import socket
import threading
import time

import pytest
from faults.harness import LOOPBACK, MB, certificate, tcpd
from faults.tls_peer import TLSPeer

TIMES = 200
CONFIG = f"""
[listeners.plain]
{LOOPBACK}
[listeners.tls]
{LOOPBACK}
tls = {{ certificate = "server.pem" }}
"""


class PlainPeer:
    def __init__(self, sock):
        self.sock = sock

    def last_words(self, data):
        return data

    def receive_all(self, at_most=1 << 18):
        pieces = []
        while data := self.sock.recv(at_most):
            pieces.append(data)
        return b"".join(pieces)


class SlowSocket:
    """A socket that is read a little at a time, with pauses: to the end, something is queued."""

    def __init__(self, sock):
        self.sock = sock

    def recv(self, size):
        time.sleep(0.003)
        return self.sock.recv(min(size, 65536))


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_all_comes_back(tmp_path, figure, kind):
    _pem, context = certificate(tmp_path)
    with tcpd(tmp_path, CONFIG) as daemon:

        def connect(**how):
            sock = daemon.connect(kind, **how)
            if kind == "plain":
                return PlainPeer(sock)
            peer = TLSPeer(context, sock)
            peer.handshake()
            return peer

        whole = 0
        for _ in range(TIMES):
            data = os.urandom(1000)
            peer = connect()
            with peer.sock as sock:
                sock.sendall(peer.last_words(data))
                sock.shutdown(socket.SHUT_WR)
                whole += peer.receive_all() == data

        data = os.urandom(20 * MB)
        peer = connect(receive=65536)
        words = peer.last_words(data)
        with peer.sock as sock:
            thread = threading.Thread(target=send_and_finish, args=(sock, words))
            thread.start()
            peer.sock = SlowSocket(sock)
            all_of_it = peer.receive_all() == data
            thread.join()
        figure(f"{kind}: {whole} of {TIMES} whole, 20 MB {'whole' if all_of_it else 'not whole'}")
        assert whole == TIMES
        assert all_of_it


def send_and_finish(sock, data):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
