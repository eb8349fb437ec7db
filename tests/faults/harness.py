"""What the rows of the scoreboard share: a real daemon, and what the kernel knows of it.

A row starts `twistd -n tcpd` in a process and a directory of its own, makes its fault happen over
real sockets on loopback, and asks the kernel, not the daemon, what that has cost.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import resource
import select
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from faults.peers import assert_echoes
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
