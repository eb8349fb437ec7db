"""The benchmark itself, briefly: that it works, and that tcpd is ahead by margins nobody can miss.

Ratios only, within rounds, and far from what they are on a quiet machine. They are ratios of CPU
time, since other work on the machine slows one server or the other, but costs neither much CPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures import Figures
from bench.run_file import Run

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


def processes() -> set[str]:
    """The pids of all servers and loads of any benchmark of ours."""
    found = set()
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                environment = (each / "environ").read_bytes()
            except OSError:
                continue
            if f"TCPD_BENCH_TEST={os.getpid()}".encode() in environment:
                found.add(each.name)
    return found


def test_tcpd_is_ahead_of_stock_twisted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCPD_BENCH_TEST", str(os.getpid()))
    file, drawing = tmp_path / "run.json", tmp_path / "chart.svg"
    done = bench(
        "--quick", "--servers", "c,stock,tcpd", "--only", "echo/1KiB/50", "--only", "lines",
        "--only", "connects", "--json", file, "--chart", drawing,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = Figures(Run.read(file).samples)
    assert figures.rounds == 3
    for case, least in (("echo/1KiB/50", 1.3), ("lines", 1.2), ("connects", 0.2)):
        ratio = figures.ratio(case, "stock", "tcpd", lambda sample: sample.cpu)
        assert ratio is not None
        assert ratio.median >= least, (case, ratio)
    assert figures.servers("connects") == ["c", "stock", "tcpd"]
    assert "stock Twisted" in done.stdout
    assert drawing.read_text().startswith("<svg")
    assert processes() == set()


def test_tls_and_memory_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    done = bench(
        "--quick", "--rounds", "1", "--servers", "stock,tcpd", "--only", "tls/1KiB/50",
        "--only", "handshakes", "--only", "idle", "--json", file,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if "left out: TLS" not in done.stderr:
        figures = Figures(Run.read(file).samples)
        ratio = figures.ratio("tls/1KiB/50", "stock", "tcpd", lambda sample: sample.cpu)
        assert ratio is not None
        assert ratio.median >= 1.2
        assert figures.servers("handshakes") == ["stock", "tcpd"]
    if "more than" not in done.stderr:
        sizes = [
            each["rate"] for each in json.loads(file.read_text())["samples"]
            if each["case"] == "idle"
        ]  # fmt: skip
        assert len(sizes) == 2
        assert all(0 < size < 10_000 for size in sizes)


def test_a_server_that_does_not_start_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A module of this name ahead of the library's own breaks the server, as a bad install would.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'bench.servers.asyncio_protocol' in sys.orig_argv: sys.exit('broken')\n"
    )
    monkeypatch.setenv("TCPD_BENCH_TEST", str(os.getpid()))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = bench("--quick", "--servers", "c,asyncio", "--only", "echo/64B/1")
    assert done.returncode == 1
    assert done.stderr.startswith("bench: asyncio Protocol, echo: it didn't start: ")
    assert processes() == set()
