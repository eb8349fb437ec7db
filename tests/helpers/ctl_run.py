"""An admin site that says what a test wants, and `tcpdctl` on a terminal of its own."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import socket
import socketserver
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CTL = [sys.executable, "-m", "tcpd.ctl.main"]
PATIENCE = 20.0
# What a site may say: how the status begins, and a session.
RUNNING = {
    "version": "0.1.0",
    "pid": 42,
    "state": "running",
    "uptime": 303.0,
}
SESSION = {
    "id": "90928d41-7",
    "listener": "gateway",
    "handler": "echo",
    "role": "listener",
    "client": {"address": "192.0.2.1", "port": 5000},
    "hop": None,
    "local": "127.0.0.1:9999",
    "opened": 1795400000.0,
    "age": 75.2,
    "idle": 0.5,
    "bytes": {"in": 2048, "out": 5},
    "rate": {"in": 1536.0, "out": None},
    "rtt": 0.0123,
    "queued": 0,
    "tls": True,
    "reading": False,
    "capture": None,
}


class Site:
    """Answers requests as it is told, and remembers them.

    Attributes:
        answers: by "METHOD path", a status and what is said: JSON, or bytes as they are, with the
            type of an event stream where the status is 0; or what gives it, piece by piece too.
        asked: what came: method, path with its query, headers, and the body's JSON.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []

    @contextmanager
    def serve(self, path: Path | None = None) -> Iterator[str]:
        """Serve on a UNIX socket, or on a free port; gives the option that leads there."""
        server = _UnixServer(str(path), _handler(self)) if path else _server(self)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            where = f"--socket={path}" if path else f"--url=http://127.0.0.1:{server.server_port}"
            yield where
        finally:
            server.shutdown()
            server.server_close()
            thread.join(PATIENCE)


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    server_port = 0


def _server(site: Site) -> ThreadingHTTPServer:
    return ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def address_string(self) -> str:
            return "test"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            site.asked.append((self.command, self.path, dict(self.headers.items()), body))
            key = f"{self.command} {self.path.partition('?')[0]}"
            unknown = {"error": "there is no such page"}
            status, said = site.answers.get(key, (404, unknown))
            if callable(said):
                said = said()
            parts = said if isinstance(said, Iterator) else None
            data = said if isinstance(said, bytes) else b"" if parts else json.dumps(said).encode()
            self.send_response(status or 200)
            self.send_header("Content-Type", "application/json" if status else "text/event-stream")
            if status:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
                for part in parts or ():
                    self.wfile.write(part)
            except ConnectionError:  # who asked has heard enough
                self.close_connection = True

        do_POST = do_GET  # noqa: N815

    return Handler


_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z])")


class Screen:
    """`tcpdctl` on a pseudo-terminal, and a person who looks and types."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, **env: str) -> None:
        self.master, self.slave = os.openpty()
        termios.tcsetwinsize(self.slave, (rows, columns))
        self.before = termios.tcgetattr(self.slave)
        environment = {**os.environ, "TERM": "xterm", **env}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [*CTL, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        self.raw = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self.slave, (rows, columns))

    @property
    def frame(self) -> list[str]:
        """The last whole frame, without colours."""
        frames = [each for each in self.raw.split("\x1b[H")[1:] if "\x1b[?25l" in each]
        if not frames:
            return []
        text = frames[-1].partition("\x1b[?25l")[0]
        return _SEQUENCE.sub("", text).replace("\r", "").split("\n")

    def expect(self, pattern: str) -> list[str]:
        """Wait until a frame has this in one of its lines."""
        end = time.monotonic() + PATIENCE
        while not any(re.search(pattern, line) for line in self.frame):
            self._read(end, f"{pattern!r} was never shown")
        return self.frame

    def finish(self) -> int:
        """Wait for its end; the result is the exit status."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.01)[0]:
                self.raw += os.read(self.master, 65536).decode()
            elif time.monotonic() > end:
                raise AssertionError(f"it never ended; shown: {self.frame}")
        while select.select([self.master], [], [], 0)[0]:
            self.raw += os.read(self.master, 65536).decode()
        return self.process.returncode

    def is_restored(self) -> bool:
        """Whether the terminal is as it was."""
        shown = "\x1b[?1049h" in self.raw and self.raw.rstrip().rfind("\x1b[?1049l") > 0
        return shown and termios.tcgetattr(self.slave) == self.before

    def _read(self, end: float, problem: str) -> None:
        if not select.select([self.master], [], [], max(0.0, end - time.monotonic()))[0]:
            raise AssertionError(f"{problem}; shown: {self.frame}\n{self.raw[-2000:]!r}")
        self.raw += os.read(self.master, 65536).decode("utf-8", "replace")

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *rest: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)


_taken: list[socket.socket] = []


def closed_port() -> int:
    """Return a port on which nobody listens, nor can: it is taken as long as this process runs."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    _taken.append(sock)
    return int(sock.getsockname()[1])
