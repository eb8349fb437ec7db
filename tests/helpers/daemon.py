"""A real tcpd under the real twistd, for tests."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
PATIENCE = 30.0
"""How long anything may take on a busy machine before a test gives up, in seconds."""


class Daemon:
    """A running `twistd -n tcpd` and what it has said so far.

    Args:
        process: the process; its standard output and error come through one pipe.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.output = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read its output until it matches a regular expression."""
        assert self.process.stdout is not None
        end = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                if match := re.search(pattern, self.output):
                    return match
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise AssertionError(f"no {pattern!r} in:\n{self.output}")
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise AssertionError(f"ended without {pattern!r}:\n{self.output}")
                self.output += data.decode()

    def port(self, listener: str = "[^ ]+") -> int:
        """Return the port on which a listener listens."""
        match = self.wait_for(rf"listener {listener} listens on [^ ]*:(\d+) ")
        return int(match[1])

    def connect(self, listener: str = "[^ ]+") -> socket.socket:
        """Return a socket that is connected to a listener."""
        return socket.create_connection(("127.0.0.1", self.port(listener)), timeout=PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, read the rest of its output, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.output += rest.decode()
        return self.process.returncode


@contextmanager
def tcpd(
    *arguments: str, cwd: Path, twistd: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> Iterator[Daemon]:
    """Run `twistd -n TWISTD... tcpd ARGUMENTS...` in a directory, until the block ends."""
    with running(BIN / "twistd", "-n", *twistd, "tcpd", *arguments, cwd=cwd, env=env) as daemon:
        yield daemon


@contextmanager
def running(
    *command: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
) -> Iterator[Daemon]:
    """Run a command that becomes a daemon in a directory, until the block ends.

    Args:
        command: the program and its arguments.
        cwd: the directory.
        env: additions to its environment.
        pass_fds: our descriptors that it inherits.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Daemon(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run_tcpd(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `twistd -n tcpd ARGUMENTS...` to its end."""
    return subprocess.run(
        [str(BIN / "twistd"), "-n", "tcpd", *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def receive_all(sock: socket.socket) -> bytes:
    """Read until the peer has shut down its side."""
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data
