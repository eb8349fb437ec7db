"""Steady traffic: peers that connect again and again, and whether each request was answered."""

from __future__ import annotations

import socket
import threading
import time

from faults.harness import PATIENCE, wait_until
from faults.peers import receive_all


class Load:
    """Peers that connect to an echo one after another, each with a request of its own.

    Args:
        port: of the daemon, on loopback.
        peers: how many there are at a time.

    Attributes:
        connected: how many have connected.
        answered: how many were answered, to the byte.
        failed: what went wrong, in words.
        longest: the longest that one took, from connect(2) to the end, in seconds.
    """

    def __init__(self, port: int, peers: int = 4) -> None:
        self.port = port
        self.connected = self.answered = 0
        self.failed: list[str] = []
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(peers)
        ]

    def _run(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            request = b"%d %d\n" % (number, count) * 10
            began = time.monotonic()
            try:
                sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
            except OSError as error:
                self.failed.append(f"connect: {error}")
                continue
            self.connected += 1
            with sock:
                try:
                    sock.sendall(request)
                    sock.shutdown(socket.SHUT_WR)
                    answer = receive_all(sock)
                except OSError as error:
                    self.failed.append(f"request: {error}")
                    continue
            self.longest = max(self.longest, time.monotonic() - began)
            if answer == request:
                self.answered += 1
            else:
                self.failed.append(f"{len(answer)} of {len(request)} bytes came back")

    @property
    def failed_connects(self) -> int:
        """How many could not even connect."""
        return sum(each.startswith("connect") for each in self.failed)

    def wait_for(self, count: int) -> None:
        """Wait until so many more have been answered."""
        target = self.answered + count
        wait_until(f"{count} answers", lambda: self.answered >= target)

    def stop(self) -> None:
        """Let each peer finish its request, and stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self.stop()
