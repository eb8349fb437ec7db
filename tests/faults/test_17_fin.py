"""Row 17: send + FIN back to back, 200 times; 20 MB and a slow reader; both over TLS too.

Must hold: all bytes, every time.

Best known: HAProxy, nginx.

A peer says everything, shuts down its side at once, and then reads. A server that takes the end of
what a peer sends for the end of the connection loses the answer. Over TLS the peer's end is its
close_notify and a FIN, in one segment with the data. 20 MB come back from an echo, and in answer to
a single byte, from a handler that knows of no half-close.
"""

import os
import random
import socket
import threading
import time

import pytest
from faults.harness import LOOPBACK, MB, certificate, tcpd
from faults.tls_peer import TLSPeer

TIMES = 200
SIZE, SEED = 20 * MB, 17
HANDLER = f"""
import random
from twisted.internet.protocol import Protocol

class Answers(Protocol):
    def dataReceived(self, data):
        self.transport.write(random.Random({SEED}).randbytes({SIZE}))
"""
CONFIG = "".join(
    f"[listeners.{name}]\n{LOOPBACK}\n{handler}[listeners.{name}-tls]\n{LOOPBACK}\n{handler}"
    "tls = { certificate = 'server.pem' }\n"
    for name, handler in (("echo", ""), ("answer", "handler = 'answers.py:Answers'\n"))
)


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
    (tmp_path / "answers.py").write_text(HANDLER)
    with tcpd(tmp_path, CONFIG) as daemon:

        def connect(listener, **how):
            if kind == "plain":
                return PlainPeer(daemon.connect(listener, **how))
            peer = TLSPeer(context, daemon.connect(f"{listener}-tls", **how))
            peer.handshake()
            return peer

        def come_slowly(listener, request, answer):
            """Return whether an answer is whole, for a slow reader that has said everything."""
            peer = connect(listener, receive=65536)
            words = peer.last_words(request)
            with peer.sock as sock:
                thread = threading.Thread(target=send_and_finish, args=(sock, words))
                thread.start()
                peer.sock = SlowSocket(sock)
                whole = peer.receive_all() == answer
                thread.join()
            return whole

        whole = 0
        for _ in range(TIMES):
            data = os.urandom(1000)
            peer = connect("echo")
            with peer.sock as sock:
                send_and_finish(sock, peer.last_words(data))
                whole += peer.receive_all() == data
        data = random.Random(SEED).randbytes(SIZE)
        large = [come_slowly("echo", data, data), come_slowly("answer", b"x", data)]
        figure(f"{kind}: {whole} of {TIMES} whole, {sum(large)} of 2 times 20 MB")
        assert whole == TIMES
        assert all(large)


def send_and_finish(sock, data):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
