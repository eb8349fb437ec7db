"""What the rows of the scoreboard share: a real daemon, what the kernel knows of it, and peers.

A row starts `twistd -n tcpd` in a process and a directory of its own, makes its fault happen over
real sockets on loopback, and asks the kernel, not the daemon, what that has cost.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import re
import resource
import select
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers.daemon import BIN, PATIENCE

LOOPBACK = 'listen = "tcp:0:interface=127.0.0.1"'
"""The line of a listener that only this machine reaches, at a port that the kernel chooses."""
CROWDED = "limits = { sessions = 20000, per_address = 20000 }"
"""The line of a listener that many sessions of one address may use."""
MB = 1_000_000
KB = 1_000
_TICKS = os.sysconf("SC_CLK_TCK")
_PEAK = "5"  # resets VmHWM, see /proc/PID/clear_refs in proc(5)


def wait_until(what: str, is_so: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait until something is so, and return what it is; fail if it never is."""
    end = time.monotonic() + patience
    while not (found := is_so()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
    return found


class Tcpd:
    """A running daemon.

    Args:
        process: what was started.
        log_path: where its output goes, or where its log does.
        pid: the daemon's, if it isn't the process that was started.
    """

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path, pid: int = 0) -> None:
        self.process = process
        self.log_path = log_path
        self.pid = pid or process.pid

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self.log_path.read_text(errors="surrogateescape") if self.log_path.exists() else ""

    @property
    def log_size(self) -> int:
        """How many bytes it has logged."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait until its log matches a regular expression."""
        end = time.monotonic() + patience
        while True:
            ended = self.process.poll() is not None
            if match := re.search(pattern, self.log):
                return match
            assert not ended, f"ended without {pattern!r}:\n{self.log[-5000:]}"
            assert time.monotonic() < end, f"no {pattern!r} in:\n{self.log[-5000:]}"
            time.sleep(0.005)

    def port(self, listener: str = "[^ ]+") -> int:
        """Return the port of a listener, once it listens."""
        return int(self.wait_for(rf"listener {listener} listens on [^ ]*:(\d+) ")[1])

    def connect(
        self, listener: str = "[^ ]+", *, source: str | None = None, receive: int | None = None
    ) -> socket.socket:
        """Return a socket that is connected to a listener.

        Args:
            listener: its name.
            source: the address of ours to come from.
            receive: the size of our receive buffer, in bytes.
        """
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        if receive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        if source is not None:
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.port(listener)))
        return sock

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"the kernel doesn't tell {name}")

    @property
    def memory(self) -> int:
        """Its resident memory, in bytes, to the page."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the kernel doesn't tell its memory")

    @contextlib.contextmanager
    def memory_peak(self) -> Iterator[Peak]:
        """Measure by how much its resident memory grows at most while the block runs."""
        peak = Peak()
        Path(f"/proc/{self.pid}/clear_refs").write_text(_PEAK)
        base = self._status("VmHWM")
        yield peak
        peak.growth = self._status("VmHWM") - base

    @property
    def cpu(self) -> float:
        """The seconds of CPU that it has used, in the kernel too."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS

    @property
    def descriptors(self) -> int:
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def descriptors_at_rest(self) -> int:
        """How many files it has open once those are closed that are about to be."""
        count = -1
        while count != (count := self.descriptors):
            time.sleep(0.1)
        return count

    def descriptors_back_to(self, base: int, patience: float = PATIENCE) -> int:
        """Wait until it has no more files open than before; return how many it has more."""
        end = time.monotonic() + patience
        while self.descriptors > base and time.monotonic() < end:
            time.sleep(0.01)
        return self.descriptors - base

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """End it, and return its exit status."""
        if self.process.poll() is None:
            self.send_signal(number)
        return self.process.wait(patience)

    def assert_serves(self, listener: str = "[^ ]+") -> None:
        """Assert that it lives, and that a listener with an echo echoes."""
        assert self.process.poll() is None, self.log[-5000:]
        with self.connect(listener) as sock:
            assert_echoes(sock)

    def assert_no_traceback(self) -> None:
        """Assert that nothing in it raised what nobody expected."""
        at = min((self.log.find(word) for word in ("Traceback", "Unhandled") if word in self.log),
                 default=-1)  # fmt: skip
        assert at < 0, self.log[max(0, at - 500) : at + 3000]


class Peak:
    """By how much memory has grown at most, in bytes."""

    growth: int = 0


@contextlib.contextmanager
def tcpd(
    directory: Path,
    config: str,
    *,
    name: str = "tcpd",
    before: Sequence[str | Path] = (),
    twistd: Sequence[str | Path] = (),
    descriptors: int | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    tracebacks: bool = False,
) -> Iterator[Tcpd]:
    """Run `twistd -n tcpd` with a configuration until the block ends.

    Args:
        directory: where it runs; its configuration is NAME.toml, its output NAME.log.
        config: the configuration, as TOML.
        name: what its files are called, where there are several.
        before: a command that runs twistd.
        twistd: flags for twistd itself.
        descriptors: how many files it may open (RLIMIT_NOFILE).
        env: additions to its environment.
        pass_fds: our descriptors that it inherits.
        tracebacks: whether it may log any.
    """
    (directory / f"{name}.toml").write_text(config)
    log = directory / f"{name}.log"

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    # With "--pidfile=" several can run in one directory.
    command = [*before, BIN / "twistd", "-n", "--pidfile=", *twistd]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "tcpd", f"--config={name}.toml"],
            cwd=directory,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            preexec_fn=limit,  # noqa: PLW1509
        )
    daemon = Tcpd(process, log)
    try:
        yield daemon
        if not tracebacks:
            daemon.assert_no_traceback()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def allow_files(count: int) -> None:
    """Let this process, and what it starts, open so many files; skip the test where it can't."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"takes {count} file descriptors, and the limit is {hard} (ulimit -Hn)")
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


def quantile(values: Collection[float], part: float) -> float:
    """Return the value that such a part of all values doesn't exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * part) - 1)]


def certificate(directory: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate in a directory; return it with its key, and a client that trusts it."""
    authority = trustme.CA()
    pem = directory / "server.pem"
    issued = authority.issue_cert(*(names or ("127.0.0.1",)))
    issued.private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return pem, context


def wrap(context: ssl.SSLContext, sock: socket.socket) -> ssl.SSLSocket:
    """Speak TLS over a connection."""
    return context.wrap_socket(sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system of 64 KiB in memory; skip the test where that can't be done."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=755", "tcpd-faults", path]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("to mount a small file system takes root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path) -> None:
    """Fill up a file system with one file."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def pidfd_wait(pid: int, patience: float = PATIENCE) -> None:
    """Wait until a process that is no child of ours has gone."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([watch], [], [], patience)[0], f"process {pid} doesn't end"
    finally:
        os.close(watch)


def without_privilege_over_files() -> None:
    """Have root be stopped by a file's mode, too, from the next exec on; see capabilities(7)."""
    pr_capbset_drop, cap_dac_override = 24, 1
    ctypes.CDLL(None).prctl(pr_capbset_drop, cap_dac_override, 0, 0, 0)
