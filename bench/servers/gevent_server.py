"""gevent: a greenlet a connection, which reads and writes as if it blocked."""

from __future__ import annotations

from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from gevent.server import StreamServer

BACKLOG = 4096
# From 128 KiB on, malloc would ask the kernel for fresh pages for every read.
READ_SIZE = 64 * 1024


def echo(sock: Any, address: object) -> None:
    """Serve one connection, to its end."""
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    try:
        while data := sock.recv(READ_SIZE):
            sock.sendall(data)
    except ConnectionError:
        pass


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), echo, backlog=BACKLOG)
    server.start()
    print("port", server.server_port, flush=True)
    server.serve_forever()
