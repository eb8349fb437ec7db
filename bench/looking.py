"""What it costs to look: an echo's latency with and without somebody who watches tcpd.

    python -m bench.looking
    python -m bench.looking --rate 20000 --rounds 9

tcpd runs on one core and has idle sessions and a steady load. In turns nobody looks, and hasn't
for so long that no rates are sampled; Prometheus does, once a second; somebody's page does;
`tcpdctl top --interval 1` does; all three do. Who looks does so once a second, so the latency of
each second is measured by itself: what is shown is the median second, which a second in which the
machine stood still doesn't change, and the quietest tenth of them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.contestants import ROOT
from bench.process import Cores, allow_many_files, bind, our_cores
from bench.tools import SOURCES
from tcpd.admin.rates import EVERY, LINGERS

PAGE = "/api/stream?sort=-rate&limit=100"
TOP = ("/api/sessions?sort=-rate&limit=40", "/api/status")
WAYS: dict[str, tuple[bool, tuple[tuple[str, ...], ...]]] = {
    "nobody": (False, ()),
    "a scrape": (False, (("/metrics",),)),
    "the page": (True, ()),
    "top": (False, (TOP,)),
    "all three": (True, (("/metrics",), TOP)),
}
"""Whether the page is open, and what is asked for once a second, each by somebody else."""
CONFIG = """
[admin]
listen = "tcp:0:interface=127.0.0.1"
[listeners.echo]
listen = "tcp:0:interface=127.0.0.1"
limits = { sessions = 20000 }
"""
PATIENCE = 60.0


class Lookers:
    """Whoever looks, each in a thread, from now until they are stopped.

    Args:
        port: of the admin side.
        page: whether somebody has the page open.
        askers: what each of the others asks for once a second.

    Attributes:
        taken: seconds that each answer took.
        snapshots: how many the page has had.
    """

    def __init__(self, port: int, page: bool, askers: tuple[tuple[str, ...], ...]) -> None:
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.snapshots = 0
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(each,)) for each in askers]
        if page:
            self._threads.append(threading.Thread(target=self._read_stream))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Have all of them leave."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self, paths: tuple[str, ...]) -> None:
        _take_no_time_from_the_load()
        while not self._over.wait(1.0):
            for path in paths:
                began = time.monotonic()
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
                connection.request("GET", path)
                answer = connection.getresponse()
                if answer.status != 200 or not answer.read():
                    raise SystemExit(f"{path} answers {answer.status}")
                connection.close()
                self.taken[path].append(time.monotonic() - began)

    def _read_stream(self) -> None:
        _take_no_time_from_the_load()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        connection.request("GET", PAGE)
        answer = connection.getresponse()
        while not self._over.is_set():
            self.snapshots += answer.readline().startswith(b"event: snapshot")
        connection.close()


def _take_no_time_from_the_load() -> None:
    """Have this thread run only when the load, on the same core, doesn't: see sched(7)."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def compile_c(directory: Path, name: str, *sources: str) -> Path:
    """Compile a program and return it."""
    target = directory / name
    files = [SOURCES / source for source in sources]
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", target, *files], check=True)
    return target


def port_of(log: Path, listener: str) -> int:
    """Wait for the port of a listener."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        _before, found, rest = log.read_text().partition(f"listener {listener} listens on ")
        if found and "\n" in rest:
            return int(rest.split()[0].rpartition(":")[2])
        time.sleep(0.05)
    raise SystemExit(f"tcpd didn't start: {log.read_text()[-2000:]}")


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9


def measure(asked: argparse.Namespace, directory: Path, cores: Cores) -> None:
    """Measure in turns and print the medians."""
    steady = compile_c(directory, "steady", "steady.c")
    load = compile_c(directory, "load", "load.c", "plain.c")
    (directory / "tcpd.toml").write_text(CONFIG)
    log = directory / "tcpd.log"
    run = "from twisted.scripts.twistd import run; run()"
    command = [asked.python, "-c", run, "-n", "--pidfile=", "tcpd", "--config", "tcpd.toml"]
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, env=asked.env
        )
    idle = None
    try:
        bind(daemon.pid, cores.server)
        admin, echo = port_of(log, "admin"), port_of(log, "echo")
        words = [f"port={echo}", f"connections={asked.idle}", f"seconds={24 * 3600}"]
        idle = subprocess.Popen(
            [load, "mode=idle", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert idle.stdout is not None
        idle.stdout.readline()
        seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
        taken: dict[str, list[float]] = defaultdict(list)
        for number in range(asked.rounds):
            for way, (page, askers) in WAYS.items():
                if way == "nobody" and number:
                    time.sleep(LINGERS + EVERY)
                lookers = Lookers(admin, page, askers)
                before = cpu_of(daemon.pid)
                numbers = [echo, asked.rate, asked.connections, asked.seconds]
                done = subprocess.run(
                    [steady, *map(str, numbers)], stdout=subprocess.PIPE, check=True
                )
                sample = json.loads(done.stdout)
                sample["busy"] = (cpu_of(daemon.pid) - before) / (asked.seconds + 1)
                lookers.stop()
                seen[way].append(sample)
                for path, times in lookers.taken.items():
                    taken[f"{way}: {path}"] += times
                print(f"round {number + 1} {way}: {sample}, {lookers.snapshots} snapshots")
        show(seen, taken)
    finally:
        if idle is not None:
            idle.communicate()
        daemon.terminate()
        daemon.wait()


def show(seen: dict[str, list[dict[str, Any]]], taken: dict[str, list[float]]) -> None:
    """Print the medians, and how long answers took."""
    print("| who looks | messages a second | p50 | p99 | to nobody's | quiet p99 | tcpd's core |")
    print("|---|---|---|---|---|---|---|")
    seconds = {
        way: sorted(each for sample in samples for each in sample["p99_of_seconds"])
        for way, samples in seen.items()
    }
    without = statistics.median(seconds["nobody"])
    for way, samples in seen.items():
        rate = statistics.median(each["messages"] / each["seconds"] for each in samples)
        p50 = statistics.median(each["p50"] for each in samples)
        busy = statistics.median(each["busy"] for each in samples)
        mine = statistics.median(seconds[way])
        quietest = seconds[way][len(seconds[way]) // 10]
        print(
            f"| {way} | {rate:,.0f} | {p50:.0f} us | {mine:.0f} us | {mine / without:.2f}x | "
            f"{quietest} us | {busy:.0%} |"
        )
    for what, times in taken.items():
        print(
            f"{what}: median {statistics.median(times) * 1000:.0f} ms, "
            f"worst {max(times) * 1000:.0f} ms of {len(times)}"
        )


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=50_000, help="messages a second [50000]")
    parser.add_argument("--idle", type=int, default=10_000, help="idle sessions [10000]")
    parser.add_argument("--connections", type=int, default=50, help="of the load [50]")
    parser.add_argument("--seconds", type=int, default=5, help="that each turn counts [5]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds [5]")
    asked = parser.parse_args()
    asked.python = sys.executable
    asked.env = {**os.environ, "PYTHONPATH": str(ROOT)}
    allow_many_files()
    cores = our_cores()
    bind(os.getpid(), cores.load)
    with tempfile.TemporaryDirectory() as directory:
        measure(asked, Path(directory), cores)


if __name__ == "__main__":
    main()
