"""A peer of an echo that does nothing but measure how long each exchange takes.

    python neighbour.py PORT

It says `ready` once it has been served, goes on until its standard input ends, and then prints
`{"seconds": [...], "errors": [...]}`.
"""

import json
import select
import socket
import sys
import time

SIZE = 64
PAUSE = 0.002
PATIENCE = 30.0


def main(port):
    seconds, errors = [], []
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    exchange(sock, bytes(SIZE))
    print("ready", flush=True)
    try:
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            data = len(seconds).to_bytes(8, "big") * (SIZE // 8)
            began = time.monotonic()
            exchange(sock, data)
            seconds.append(time.monotonic() - began)
    except (OSError, ValueError) as error:
        errors.append(repr(error))
    json.dump({"seconds": seconds, "errors": errors}, sys.stdout)


def exchange(sock, data):
    sock.sendall(data)
    back = b""
    while len(back) < SIZE:
        piece = sock.recv(SIZE)
        if not piece:
            raise ValueError("the connection was closed")
        back += piece
    if back != data:
        raise ValueError("other bytes came back")


if __name__ == "__main__":
    main(int(sys.argv[1]))
