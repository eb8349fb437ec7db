"""What the soak's peers do to a daemon: each fault takes a fraction of a second."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable

from faults.control import HOSTILE
from faults.harness import KB, MB
from faults.peers import ends, receive, receive_all, reset, wrap
from faults.proxy_vectors import OWN, v1_vectors, v2_vectors
from faults.soak_field import Field
from faults.tls_peer import TLSPeer

HEADERS = [*v1_vectors().values(), *v2_vectors().values()]


def never_reads(field: Field, chance: random.Random) -> None:
    """Push and never read."""
    sock = field.connect("stalled")
    sock.setblocking(False)
    field.hold(sock)
    data = bytes(MB)
    for _ in range(20):
        sock.send(data)


def bulk_unread(field: Field, chance: random.Random) -> None:
    """Ask for much, and read none or a little of it."""
    sock = field.connect("crashes")
    sock.sendall(b"bulk")
    if chance.random() < 0.5:
        receive(sock, chance.randrange(10 * KB))
        reset(sock)
    else:
        field.hold(sock)


def resets(field: Field, chance: random.Random) -> None:
    """Connect and reset, before or after a few bytes."""
    for _ in range(20):
        sock = field.connect(chance.choice(("stalled", "lines", "tls", "crashes")))
        if chance.random() < 0.7:
            sock.sendall(os.urandom(chance.randrange(1, 5000)))
        reset(sock)


def silence(field: Field, chance: random.Random) -> None:
    """Connect and say nothing, or half of a hello."""
    sock = field.connect(chance.choice(("tls", "stalled", "lines")))
    field.hold(sock)
    if chance.random() < 0.5:
        hello = TLSPeer(field.context, sock).hello()
        sock.sendall(hello[: chance.randrange(len(hello))])


def garbage(field: Field, chance: random.Random) -> None:
    """Say what nobody understands."""
    for listener in ("tls", "lines", "crashes", "capped"):
        with field.connect(listener) as sock:
            sock.sendall(chance.randbytes(chance.randrange(1, 20_000)))
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(0.5)
            receive_all(sock)


def tls_and_back(field: Field, chance: random.Random) -> None:
    """A good session over TLS, half-closed by its peer."""
    data = chance.randbytes(100_000)
    with field.connect("tls") as sock:
        peer = TLSPeer(field.context, sock)
        peer.handshake()
        words = peer.last_words(data)
        sender = threading.Thread(target=sock.sendall, args=(words,))
        sender.start()
        if peer.receive_all() != data:
            field.surprises.append("other bytes came back over TLS")
        sender.join()


def tls_cut(field: Field, chance: random.Random) -> None:
    """A session over TLS that is cut."""
    with field.connect("tls") as sock:
        inside = wrap(field.context, sock)
        inside.sendall(bytes(chance.randrange(1, 50_000)))
        reset(inside)


def endless_line(field: Field, chance: random.Random) -> None:
    """A line without an end."""
    with field.connect("lines") as sock:
        sock.sendall(b"a" * MB)
        if not ends(sock, 5.0):
            field.surprises.append("a line of 1 MB was taken")


def empty_lines(field: Field, chance: random.Random) -> None:
    """Ten thousand empty lines at once."""
    with field.connect("lines") as sock:
        sock.sendall(b"\r\n" * 10_000)
        answer = receive(sock, 8 * 10_000)
        if len(answer) != 8 * 10_000:
            field.surprises.append(f"{len(answer)} bytes answered 10000 lines")


def expression(field: Field, chance: random.Random) -> None:
    """An expression that explodes, elsewhere."""
    with field.connect("lines") as sock:
        sock.sendall(b"a" * 100 * KB + b"!\n")
        if not receive(sock, 8).startswith(b"heard "):
            field.surprises.append("no answer to many a")


def crash(field: Field, chance: random.Random) -> None:
    """Make a handler raise."""
    for word in (b"data", b"end"):
        with field.connect("crashes") as sock:
            sock.sendall(word)
            sock.shutdown(socket.SHUT_WR)
            if not ends(sock, 5.0):
                field.surprises.append(f"a session lasted that failed at its {word.decode()}")


def crowd(field: Field, chance: random.Random) -> None:
    """Come in greater numbers than there are places."""
    socks = [field.connect("capped") for _ in range(30)]
    for sock in socks:
        sock.close()


def slow(field: Field, chance: random.Random) -> None:
    """Send a byte at a time."""
    with field.connect("lines") as sock:
        for _ in range(20):
            sock.sendall(b"a")
            time.sleep(0.01)


def proxy_header(field: Field, chance: random.Random) -> None:
    """A PROXY header, most often one that is wrong, from whom is trusted or from somebody else."""
    source = chance.choice(("127.0.0.1", "127.0.0.1", "127.0.0.3"))
    header, verdict = chance.choice(HEADERS)
    with field.connect("proxied", source=source) as sock:
        with contextlib.suppress(ConnectionError):  # it may be quicker
            sock.sendall(header + b"x")
            sock.shutdown(socket.SHUT_WR)
        answer = receive_all(sock).decode()
    right = source if verdict == OWN else verdict[0] if verdict else ""
    if answer not in ("", right) or (answer and source != "127.0.0.1"):
        field.surprises.append(f"{header!r} from {source} made it {answer!r}")


def header_stalls(field: Field, chance: random.Random) -> None:
    """A PROXY header that is never ended."""
    sock = field.connect("proxied")
    field.hold(sock)
    header = chance.choice(HEADERS)[0]
    sock.sendall(header[: chance.randrange(min(12, len(header)))])


def control(field: Field, chance: random.Random) -> None:
    """Send what would steer a terminal, or forge a line of the log."""
    data = chance.choice(HOSTILE)
    for listener in ("lines", "crashes", "tls", "proxied"):
        with field.connect(listener) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(data + b"\r\n")
            if listener == "proxied":
                sock.sendall(b"PROXY TCP4 %s %s 1 2\r\n" % (data, data))
            sock.shutdown(socket.SHUT_WR)
            receive_all(sock)


def unix(field: Field, chance: random.Random) -> None:
    """A session over a UNIX socket that ends at once, leaves its answer, or brings descriptors."""
    data = chance.randbytes(chance.randrange(1, 200_000))
    with field.connect_to_file("local.sock") as sock:
        match chance.randrange(4):
            case 0:
                pass
            case 1:
                sock.sendall(data[:5000])
            case 2:
                socket.send_fds(sock, [b"hello"], [0, 1, 2])
                sock.shutdown(socket.SHUT_WR)
                receive_all(sock)
            case _:
                sender = threading.Thread(target=sock.sendall, args=(data,))
                sender.start()
                if receive(sock, len(data)) != data:
                    field.surprises.append("other bytes came back over a UNIX socket")
                sender.join()


Fault = Callable[[Field, random.Random], None]
PEERS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        never_reads,
        bulk_unread,
        resets,
        silence,
        garbage,
        tls_and_back,
        tls_cut,
        endless_line,
        empty_lines,
        expression,
        crash,
        crowd,
        slow,
        proxy_header,
        header_stalls,
        control,
        unix,
    )
}
