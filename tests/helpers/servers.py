"""Real Redis, PostgreSQL and NATS servers for tests: on free ports, in directories of their own.

Debian has them: redis-server, postgresql, nats-server.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 20.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Server:
    """A server that can be stopped, and started again with what it has stored.

    Args:
        directory: where it stores it.
    """

    program = ""
    package = ""
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory.parent / "log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def find(cls) -> str:
        """Return the program, or skip the test."""
        found = shutil.which(cls.program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if found is None:
            pytest.skip(f"{cls.program} isn't installed (Debian: {cls.package})")
        return found

    def prepare(self) -> None:
        """Do what is done once."""

    def clean(self) -> None:
        """Remove what pytest doesn't."""

    def command(self) -> list[str]:
        raise TypeError("each server has its own")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + PATIENCE
        while not self.is_ready():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "it doesn't start"
            time.sleep(0.02)

    def is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Stop it politely, or not so if that doesn't help."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def hang(self, *, on: bool = True) -> None:
        """Have it and its children answer nothing any more, or go on: its connections stay."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, signal.SIGSTOP if on else signal.SIGCONT)


class Redis(Server):
    program, package = "redis-server", "redis-server"

    def command(self) -> list[str]:
        return [
            self.find(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
            str(self.directory), "--appendonly", "yes", "--save", "", "--protected-mode", "no",
        ]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                sock.sendall(b"PING\r\n")
                return sock.recv(100) == b"+PONG\r\n"
        except OSError:
            return False


class NATS(Server):
    program, package = "nats-server", "nats-server"

    def command(self) -> list[str]:
        return [
            self.find(), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.directory),
        ]  # fmt: skip


class PostgreSQL(Server):
    program, package = "postgres", "postgresql"
    stop_signal = signal.SIGINT  # fast shutdown

    @classmethod
    def find(cls) -> str:
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
        return found[-1] if found else super().find()

    def as_user(self, command: list[str]) -> list[str]:
        """Return a command run as somebody who isn't root, whom PostgreSQL refuses."""
        if os.getuid() != 0:
            return command
        user = pwd.getpwnam("nobody")
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
                *command]  # fmt: skip

    def prepare(self) -> None:
        # Whoever it runs as has to come to it, and pytest's own directories are root's alone.
        self.directory = Path(tempfile.mkdtemp(prefix="tcpd-test-"))
        initdb = str(Path(self.find()).with_name("initdb"))
        command = [initdb, "-D", str(self.directory / "data"), "-U", "tcpd", "-A", "trust",
                   "--no-sync", "-E", "UTF8", "--locale=C"]  # fmt: skip
        subprocess.run(self.as_user(command), check=True, capture_output=True, cwd="/")

    def command(self) -> list[str]:
        return self.as_user(
            [
                self.find(), "-D", str(self.directory / "data"), "-p", str(self.port), "-h",
                "127.0.0.1", "-k", "", "-c", "fsync=off",
            ]
        )  # fmt: skip

    def clean(self) -> None:
        shutil.rmtree(self.directory)

    @property
    def connection(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=tcpd dbname=postgres"

    def is_ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.connection, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True


@contextmanager
def running(server: type[Server], directory: Path) -> Iterator[Server]:
    """Run a server until the block ends; skips the test if it isn't installed."""
    server.find()
    (directory / "store").mkdir()
    one = server(directory / "store")
    try:
        one.prepare()
        one.start()
        yield one
    finally:
        one.stop()
        one.clean()
