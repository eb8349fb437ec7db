"""Server processes: started on a core of their own, asked about their memory, ended by pid."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.contestants import PORT, ROOT

# Seconds.
STARTING = 30.0
ENDING = 5.0


class ServerError(Exception):
    """A server doesn't start, or the load failed at it; the text says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """One core for the servers and one for the load; both None if nothing is to be bound."""

    server: int | None
    load: int | None


def choose_cores(usable: Iterable[int], siblings: Callable[[int], set[int]]) -> Cores:
    """Return two of the cores that may be used, which are threads of one core only in need.

    Args:
        usable: the cores' numbers, as the kernel has them.
        siblings: gives the numbers that are threads of the same core, itself included.
    """
    first, *others = sorted(usable)
    if not others:
        return Cores(server=None, load=None)
    apart = [core for core in others if core not in siblings(first)]
    return Cores(server=first, load=(apart or others)[0])


def our_cores() -> Cores:
    """Return the cores to use, of those that this process may use."""
    return choose_cores(os.sched_getaffinity(0), _siblings)


def _siblings(core: int) -> set[int]:
    """Return the threads of a core, from a list such as `0,4` or `0-1` (sysfs); at least itself."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        parts = path.read_text().strip().split(",")
    except OSError:
        return {core}
    found: set[int] = set()
    for part in parts:
        low, _dash, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


def allow_many_files() -> int:
    """Raise our limit of open files, which children inherit, as far as it goes; return it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def bind(pid: int, core: int | None) -> None:
    """Let a process run on one core only."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


def _given_path() -> list[str]:
    return [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]


class Server:
    """A running server; a context that ends it.

    Args:
        command: its command line.
        log: the file for its output. What a server logs, it logs as in earnest: tcpd's access log
            goes here.
        core: the core to run it on, or None for any.

    Attributes:
        port: where it listens, on loopback.

    Raises:
        ServerError: it doesn't start.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, core: int | None) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=log.parent,
                env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *_given_path()))},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            bind(self._process.pid, core)
            self.port = self._wait_for_port()
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _wait_for_port(self) -> int:
        end = time.monotonic() + STARTING
        while time.monotonic() < end:
            match = PORT.search(self._log.read_bytes())
            if match:
                return int(match[1] or match[2])
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise ServerError(f"it didn't start: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what it has printed."""
        return self._log.read_bytes()[-2000:].decode(errors="replace").strip()

    def memory(self) -> int:
        """Return its own memory in user space, in bytes (RssAnon, proc(5))."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise ServerError("the kernel doesn't say how much memory it has")

    def end(self) -> None:
        """End it, politely, then not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()
