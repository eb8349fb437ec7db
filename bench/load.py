"""Running the load against a server, and what comes of it."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cases import Case
from bench.process import Server, ServerError, bind

# No run sends more messages than this, however fast the machine.
MOST_MESSAGES = 20_000_000
MOST_CONNECTS = 500_000
# Seconds beyond the time asked for; the load ends itself before that.
PATIENCE = 60.0
# Idle sessions that are open before memory is measured: they fill what a server's start left free.
FIRST_IDLE = 2_000
# Seconds for a server to come to rest, after the last of many connections was opened.
SETTLING = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One server measured once.

    Attributes:
        round: in which round.
        case: the case's name.
        server: the contestant's name.
        rate: what the case counts, a second; for an idle session, its bytes.
        p50: half of the messages took no longer than this, in microseconds.
        p99: and 99 in 100.
        p999: and 999 in 1000.
        cpu: CPU time of the server, a message, in microseconds.
        user: the part of it that was spent in user space, from 0 to 1.
        server_busy: how much of the time the server's core was busy with it, from 0 to 1.
        load_busy: likewise the load's. Near 1, it is the load that was measured.
        waited: how much of the time the server and the load, added up, had to wait because other
            processes had their cores. On a quiet machine it is next to nothing.
    """

    round: int
    case: str
    server: str
    rate: float
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    cpu: float = 0.0
    user: float = 0.0
    server_busy: float = 0.0
    load_busy: float = 0.0
    waited: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Return the sample for a file."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a measurement takes.

    Attributes:
        warm_up: seconds that don't count.
        seconds: seconds that do.
    """

    warm_up: float
    seconds: float


class Load:
    """The load, compiled.

    Args:
        program: the compiled load, with TLS or without, as the case wants it.
        core: the core to run it on, or None for any.
        timing: how long a measurement takes.
    """

    def __init__(self, program: Path, core: int | None, timing: Timing) -> None:
        self._program = program
        self._core = core
        self._timing = timing

    def measure(self, case: Case, server: Server, name: str, number: int) -> Sample:
        """Put a server under load, once.

        Raises:
            ServerError: the server failed, or answered wrongly.
        """
        timing = self._timing
        most = MOST_CONNECTS if case.mode == "connects" else MOST_MESSAGES
        process = self._start(
            case, server, f"warm_up={timing.warm_up}", f"seconds={timing.seconds}", f"most={most}"
        )
        output = self._finish(process, timing.warm_up + timing.seconds + PATIENCE)
        return sample_of(json.loads(output), case, name, number)

    def measure_memory(self, case: Case, server: Server, name: str, number: int) -> Sample:
        """Open a case's connections and see what they cost a server that has just started.

        Raises:
            ServerError: the server failed, or answered wrongly.
        """
        first = self._start(case, server, f"connections={FIRST_IDLE}", "seconds=60")
        try:
            self._wait_until_open(first)
            time.sleep(SETTLING)
            before = server.memory()
            others = case.connections - FIRST_IDLE
            second = self._start(case, server, f"connections={others}", "seconds=30")
            self._wait_until_open(second)
            time.sleep(SETTLING)
            cost = (server.memory() - before) / others
            self._finish(second, PATIENCE)
        finally:
            self._finish(first, PATIENCE)
        return Sample(round=number, case=case.name, server=name, rate=cost)

    def _start(self, case: Case, server: Server, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                self._program,
                f"mode={case.mode}",
                f"port={server.port}",
                f"pid={server.pid}",
                f"size={case.size}",
                f"line={case.line}",
                f"connections={case.connections}",
                *words,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        bind(process.pid, self._core)
        return process

    def _wait_until_open(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        if process.stdout.readline() != b"open\n":
            self._finish(process, PATIENCE)
            raise ServerError("the load didn't open its connections")

    def _finish(self, process: subprocess.Popen[bytes], patience: float) -> bytes:
        try:
            output, problem = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise ServerError("the load didn't end") from None
        if process.returncode:
            text = problem.decode(errors="replace").strip()
            raise ServerError(text or f"the load ended with status {process.returncode}")
        return output


def sample_of(result: dict[str, float], case: Case, name: str, number: int) -> Sample:
    """Return the sample that a line of the load's output is."""
    messages, seconds = result["messages"], result["seconds"]
    ticks = result["server_user"] + result["server_system"]
    return Sample(
        round=number,
        case=case.name,
        server=name,
        rate=messages * case.per_message / seconds,
        p50=result["p50"],
        p99=result["p99"],
        p999=result["p999"],
        cpu=result["server_cpu"] / messages * 1e6,
        user=result["server_user"] / ticks if ticks else 0.0,
        server_busy=result["server_cpu"] / seconds,
        load_busy=result["load_cpu"] / seconds,
        waited=result["waited"] / seconds,
    )
