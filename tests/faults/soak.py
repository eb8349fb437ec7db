"""All faults at once against one daemon, with steady traffic that has to see none of it.

    python tests/faults/soak.py --minutes 5
    python tests/faults/soak.py --hours 8 --seed 7

Four threads choose faults at random. Meanwhile one session exchanges 64 bytes again and again, and
peers connect, ask and leave. In the end no request has failed, no byte was wrong, the session's p99
is bounded, descriptors are back where they were, and memory hasn't grown after the first while.
Then TERM comes while answers are under way: all of them arrive, and the daemon exits with 0.

A full disk and a clock that is set are left out, as they take an environment of their own (a small
file system, libfaketime); rows 26 and 27 have them.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.harness import MB, certificate, tcpd
from faults.load import Load
from faults.peers import Neighbour
from faults.soak_drain import drain
from faults.soak_faults import PEERS
from faults.soak_field import CRASHES, LOG, Field, config, unexpected
from faults.soak_house import HOUSE

FAULTS = PEERS | HOUSE
WORKERS = 4
PAUSE = 0.02
P99 = 0.2
GROWTH = 10 * MB
SAMPLES = 60
# Deadlines of 2 s, and what a polite close may take on top.
AFTERMATH = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    seconds: float
    faults: Counter[str]
    frustrated: Counter[str]
    """How many of them were cut short."""
    answered: int
    failed: list[str]
    neighbour: Neighbour
    growth: int
    """By how much the daemon's memory grew in the last third of the time, in bytes."""
    descriptors: int
    """How many it had open in the end that it hadn't before."""
    status: int
    """What it exited with."""
    drained: list[str]
    """What went wrong when it stopped."""
    unexpected: list[str]
    """Lines of its log that tell of what nobody provoked."""

    def __str__(self) -> str:
        return (
            f"{self.faults.total()} faults in {self.seconds:.0f} s: {len(self.failed)} of"
            f" {self.answered + len(self.failed)} requests failed,"
            f" {len(self.neighbour.errors)} of {self.neighbour.count} exchanges, p99"
            f" {self.neighbour.p99 * 1000:.0f} ms; RSS {self.growth / MB:+.1f} MB,"
            f" {self.descriptors} descriptors more;"
            f" exit {self.status}"
        )

    def check(self) -> None:
        """Assert what must hold."""
        assert self.failed == []
        assert self.neighbour.errors == []
        assert self.neighbour.p99 <= P99
        assert self.answered > 0
        assert self.growth <= GROWTH
        assert self.descriptors == 0
        assert self.status == 0
        assert self.drained == []
        assert self.unexpected == []
        assert min(self.faults.values()) > 0
        assert [name for name in HOUSE if self.frustrated[name] == self.faults[name]] == []


def soak(directory: Path, seconds: float, seed: int) -> Soaked:
    """Run it."""
    _pem, context = certificate(directory)
    (directory / "crashes.py").write_text(CRASHES)
    with socket.socket() as reserved:
        # Bound and no more: nobody listens there, and nobody else gets the port.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        uplink = reserved.getsockname()[1]
        with tcpd(directory, config(0, uplink), tracebacks=True) as daemon:
            daemon.log_path = directory / LOG
            daemon.assert_serves("echo")
            idle = daemon.descriptors_at_rest()
            field = Field(daemon, directory, context, uplink)
            return with_traffic(field, seconds, seed, idle)


def with_traffic(field: Field, seconds: float, seed: int, idle: int) -> Soaked:
    """Soak a daemon that has so many descriptors open when nobody is there."""
    daemon = field.daemon
    port = daemon.port("echo")
    with Neighbour(port) as neighbour, Load(port, 2) as load:
        faults: Counter[str] = Counter(dict.fromkeys(FAULTS, 0))
        for name, fault in FAULTS.items():
            provoke(field, random.Random(seed), name, fault, faults)
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=work, args=(field, f"{seed} {number}", end, faults))
            for number in range(WORKERS)
        ]
        for thread in threads:
            thread.start()
        memory: list[int] = []
        while any(thread.is_alive() for thread in threads):
            time.sleep(seconds / SAMPLES)
            memory.append(daemon.memory)
        field.let_go()
    field.reload(config(0, field.uplink))
    left = daemon.descriptors_back_to(idle, AFTERMATH)
    status, drained = drain(field)
    field.read_old_log()
    return Soaked(
        seconds=seconds,
        faults=faults,
        frustrated=field.frustrated,
        answered=load.answered,
        failed=load.failed + field.surprises,
        neighbour=neighbour,
        growth=growth(memory),
        descriptors=left,
        status=status,
        drained=drained,
        unexpected=[*field.errors, *unexpected(daemon.log)],
    )


def growth(memory: list[int]) -> int:
    """Return by how much the last third of the samples of memory exceeds the second.

    In the first third it grows to what so many sessions and their queues need at a time, and
    malloc(3) keeps that.
    """
    third = len(memory) // 3
    return max(memory[2 * third :]) - max(memory[third : 2 * third])


def work(field: Field, seed: str, end: float, faults: Counter[str]) -> None:
    """Provoke faults at random until a time has come."""
    chance = random.Random(seed)
    while time.monotonic() < end:
        name, fault = chance.choice(list(FAULTS.items()))
        provoke(field, chance, name, fault, faults)
        time.sleep(PAUSE)


def provoke(
    field: Field,
    chance: random.Random,
    name: str,
    fault: Callable[[Field, random.Random], None],
    faults: Counter[str],
) -> None:
    """Provoke a fault; that it goes badly for whoever makes it is its nature."""
    try:
        fault(field, chance)
    except (OSError, ValueError):
        field.frustrated[name] += 1
    except AssertionError as error:
        field.surprises.append(f"{name}: {error}")
    faults[name] += 1


def main() -> None:
    """Run it for as long as asked."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    seconds = options.minutes * 60 + options.hours * 3600 or 300.0
    print(f"{seconds:.0f} s, --seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        soaked = soak(Path(directory), seconds, options.seed)
    print(soaked)
    for name, count in sorted(soaked.faults.items()):
        print(f"{count:8} {name}, {soaked.frustrated[name]} cut short")
    for lines in (soaked.failed, soaked.neighbour.errors, soaked.drained, soaked.unexpected):
        print("".join(f"{line}\n" for line in lines[:20]), end="")
    soaked.check()


if __name__ == "__main__":
    main()
