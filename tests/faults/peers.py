"""Peers of a daemon under fault: what they say, what they hear, and how a connection ends."""

from __future__ import annotations

import contextlib
import json
import math
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from helpers.daemon import PATIENCE


def assert_echoes(sock: socket.socket, data: bytes = b"hello") -> None:
    """Assert that what is sent comes back."""
    sock.settimeout(PATIENCE)
    sock.sendall(data)
    assert receive(sock, len(data)) == data


def receive(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes, or what comes before the end."""
    pieces = []
    while size and (data := sock.recv(min(size, 1 << 18))):
        pieces.append(data)
        size -= len(data)
    return b"".join(pieces)


def receive_all(sock: socket.socket) -> bytes:
    """Read until the end, be it a reset."""
    pieces = []
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := sock.recv(1 << 18):
            pieces.append(data)
    return b"".join(pieces)


def ends(sock: socket.socket, patience: float) -> bool:
    """Wait until a connection ends, and return whether it does; what comes is dropped."""
    end = time.monotonic() + patience
    try:
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(65536):
                return True
    except TimeoutError:
        return False
    except (ConnectionError, ssl.SSLError):
        return True
    return False


def reset(sock: socket.socket) -> None:
    """Close a connection by RST, which leaves no TIME_WAIT behind either (socket(7), SO_LINGER)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def when_they_end(socks: Collection[socket.socket], patience: float) -> dict[socket.socket, float]:
    """Wait until connections end; return when each did (time.monotonic). What comes is dropped."""
    ended: dict[socket.socket, float] = {}
    end = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        while len(ended) < len(socks) and (left := end - time.monotonic()) > 0:
            for key, _events in selector.select(left):
                sock = key.fileobj
                try:
                    if sock.recv(65536):
                        continue
                except (BlockingIOError, ssl.SSLWantReadError):
                    continue
                except (ConnectionError, ssl.SSLError):
                    pass
                ended[sock] = time.monotonic()
                selector.unregister(sock)
    return ended


class Crowd:
    """Many plain connections to one port, driven together without a thread.

    Args:
        port: of the daemon, on loopback.
        count: how many connect at once.
        data: what each sends as soon as it is connected.
        source: the address of ours that all come from, if not the one that the kernel chooses.
    """

    def __init__(
        self, port: int, count: int, data: bytes = b"x", *, source: str | None = None
    ) -> None:
        self.answered: dict[socket.socket, float] = {}
        self.refused: list[socket.socket] = []
        self.open: list[socket.socket] = []
        self._data = data
        self._selector = selectors.EpollSelector()
        self._started: dict[socket.socket, float] = {}
        for _ in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            if source is not None:
                sock.bind((source, 0))
            self._started[sock] = time.monotonic()
            sock.connect_ex(("127.0.0.1", port))
            self._selector.register(sock, selectors.EVENT_WRITE)
            self.open.append(sock)

    def run(self, until: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Turn until something is so, or patience is at its end."""
        end = time.monotonic() + patience
        while not until() and (left := end - time.monotonic()) > 0:
            for key, events in self._selector.select(min(left, 0.05)):
                self._serve(key.fileobj, events)

    def _serve(self, sock: Any, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                if self._data:
                    sock.send(self._data)
                self._selector.modify(sock, selectors.EVENT_READ)
                if not self._data:
                    self._answer(sock)
            elif sock.recv(65536):
                self._answer(sock)
            else:
                self._refuse(sock)
        except BlockingIOError:
            pass
        except OSError:
            self._refuse(sock)

    def _answer(self, sock: socket.socket) -> None:
        if sock not in self.answered:
            self.answered[sock] = time.monotonic() - self._started[sock]

    def _refuse(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        self.refused.append(sock)
        self.open.remove(sock)
        sock.close()

    def wait_for_answers(self, count: int | None = None) -> None:
        """Wait until so many have been answered, or all."""
        wanted = count if count is not None else len(self.open)
        self.run(lambda: len(self.answered) >= wanted)
        assert len(self.answered) >= wanted, f"{len(self.answered)} of {wanted} were answered"

    def close(self, *, by_reset: bool = False) -> None:
        """Close all that are open."""
        self._selector.close()
        for sock in self.open:
            reset(sock) if by_reset else sock.close()
        self.open = []

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *rest: object) -> None:
        self.close()


class Neighbour:
    """A well-behaved peer of an echo, in a process of its own so that nothing of ours delays it.

    It sends 64 bytes every 2 ms, or as soon as they are back, over one connection.

    Args:
        port: of the daemon, on loopback.

    Attributes:
        count: how many exchanges there were.
        p50: their median, in seconds.
        p99: what all but one in a hundred stayed below, in seconds.
        worst: the longest, in seconds.
        errors: what went wrong, if anything did.
    """

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", Path(__file__).with_name("neighbour.py"), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self.count = 0
        self.p50 = self.p99 = self.worst = math.nan
        self.errors: list[str] = []

    def __enter__(self) -> Neighbour:
        return self

    def __exit__(self, *rest: object) -> None:
        output, _ = self._process.communicate(timeout=PATIENCE)
        seen = json.loads(output)
        self.errors = seen["errors"]
        taken = sorted((int(tenths), count) for tenths, count in seen["tenths"].items())
        self.count = sum(count for _, count in taken)
        if taken:
            self.p50, self.p99 = (self._quantile(taken, part) for part in (0.5, 0.99))
            self.worst = taken[-1][0] / 10_000

    def _quantile(self, taken: list[tuple[int, int]], part: float) -> float:
        left = math.ceil(self.count * part)
        for tenths, count in taken:
            left -= count
            if left <= 0:
                return tenths / 10_000
        raise AssertionError("a part of all is more than all")


def wrap(context: ssl.SSLContext, sock: socket.socket) -> ssl.SSLSocket:
    """Speak TLS over a connection."""
    return context.wrap_socket(sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
