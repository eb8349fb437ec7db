"""A peer of an echo that does nothing but measure how long each exchange takes.

    python neighbour.py PORT

It says `ready` once it has been served, goes on until its standard input ends, and then prints
`{"tenths": {"7": 1234, ...}, "errors": [...]}`: how many exchanges took so many tenths of a
millisecond, rounded up. That stays small however long it goes on.
"""

import collections
import json
import math
import select
import socket
import sys
import time

SIZE = 64
PAUSE = 0.002
PATIENCE = 30.0


def main(port):
    tenths, errors, count = collections.Counter(), [], 0
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    exchange(sock, bytes(SIZE))
    print("ready", flush=True)
    try:
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            count += 1
            data = count.to_bytes(8, "big") * (SIZE // 8)
            began = time.monotonic()
            exchange(sock, data)
            tenths[math.ceil((time.monotonic() - began) * 10_000)] += 1
    except (OSError, ValueError) as error:
        errors.append(repr(error))
    json.dump({"tenths": tenths, "errors": errors}, sys.stdout)


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
