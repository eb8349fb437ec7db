"""The real client in a process of its own, the peers it talks to, and a terminal to type at."""

import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLIENT = [sys.executable, "-m", "tcpd.client.main"]
LIMIT = 20.0
"""Seconds after which whatever a test waits for has failed; nothing ever waits so long in vain."""


class Peer:
    """A server of plain sockets, each connection served by a function in a thread.

    What the functions raise is raised again when the peer is closed.
    """

    def __init__(
        self,
        *serve: Callable[[Any], None],
        path: Path | None = None,
        host: str = "127.0.0.1",
        tls: Any = None,
    ) -> None:
        if path is not None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(path))
            self._socket.listen()
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, 0), family=family)
            self.port: int = self._socket.getsockname()[1]
        self._serve = list(serve)
        self._tls = tls
        self._open: list[socket.socket] = []
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        for turn in range(1_000_000):
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            # The last function serves all the connections that come after it.
            serve = self._serve[min(turn, len(self._serve) - 1)]
            thread = threading.Thread(target=self._run, args=(serve, connection), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self, serve: Callable[[Any], None], connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            serve(connection)
        except BaseException as error:
            self.failures.append(error)
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop listening; connections go on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.stop()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(LIMIT)
        if kind is None and self.failures:
            raise self.failures[0]


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    while data := connection.recv(65536):
        pieces.append(data)
    return b"".join(pieces)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def until_gone(connection: socket.socket) -> None:
    """Read whatever comes and say nothing, until there's a reset or the test is over."""
    with contextlib.suppress(OSError):
        read_all(connection)
        hung_up = select.poll()
        hung_up.register(connection, 0)
        hung_up.poll(LIMIT * 1000)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def run_client(
    *arguments: object, stdin: Any = b"", environment: dict[str, str] | None = None, **more: Any
) -> "subprocess.CompletedProcess[bytes]":
    """Run the client between pipes; `stdin` is bytes, or anything that `subprocess` takes."""
    given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    return subprocess.run(
        [*CLIENT, *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        timeout=LIMIT,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given, **more},
    )


@contextlib.contextmanager
def start_client(*arguments: object, **more: Any) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the client between pipes; it is gone when the block is left."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*CLIENT, *map(str, arguments)],
        **{"stdin": pipe, "stdout": pipe, "stderr": pipe, "bufsize": 0, **more},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])")


class Terminal:
    """The client on a pseudo-terminal of its own, and a person who types at it."""

    def __init__(
        self, *arguments: object, state: Path, columns: int = 80, stderr: Any = None, **env: str
    ) -> None:
        self.master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self.before = termios.tcgetattr(slave)
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(state), **env}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [*CLIENT, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave if stderr is None else stderr,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        self.slave = slave
        self.raw = b""
        self._seen = 0

    @property
    def text(self) -> str:
        """Everything that was shown, without the terminal's own sequences."""
        return _SEQUENCE.sub("", self.raw.decode("utf-8", "replace"))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def ready(self) -> None:
        """Wait until there is a prompt to type at."""
        deadline = time.monotonic() + LIMIT
        while b"\x1b[?2004h" not in self.raw:  # it asks for bracketed paste when it begins
            self._read(deadline, "there was never a prompt")

    def expect(self, text: str) -> None:
        """Wait until a text is shown after what was expected before."""
        deadline = time.monotonic() + LIMIT
        while (at := self.text.find(text, self._seen)) < 0:
            self._read(deadline, f"{text!r} was never shown")
        self._seen = at + len(text)

    def hang_up(self) -> None:
        """Take the terminal away, as closing its window does."""
        os.close(self.slave)
        os.close(self.master)
        self.slave = self.master = -1

    def finish(self) -> int:
        """Wait for the end; the result is the exit status, negative for a signal."""
        deadline = time.monotonic() + LIMIT
        while self.process.poll() is None:
            if not select.select([self.master], [], [], 0.01)[0]:
                if time.monotonic() > deadline:
                    raise AssertionError(f"it never ended; shown:\n{self.text}")
                continue
            self.raw += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0)[0]:
            self.raw += os.read(self.master, 65536)
        return self.process.returncode

    def _read(self, deadline: float, problem: str) -> None:
        if not select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"{problem}; shown:\n{self.text}\nraw: {self.raw!r}")
        self.raw += os.read(self.master, 65536)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *rest: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.master >= 0:
            self.hang_up()
