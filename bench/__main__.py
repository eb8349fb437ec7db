"""`python -m bench`: measure, print, and write what was asked for."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import cases, contestants
from bench.chart import chart
from bench.docs import update_docs
from bench.figures import Figures
from bench.load import Timing
from bench.machine import machine_facts
from bench.process import ServerError
from bench.rounds import take_turns
from bench.run_file import Run
from bench.tables import as_text, case_tables, quietness, target_rows
from bench.tools import ToolError, make_tools

ROUNDS = 8
LONG = Timing(warm_up=0.2, seconds=0.8)
QUICK = Timing(warm_up=0.1, seconds=0.3)
QUICK_ROUNDS = 3


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what a command line asks for; a mistake in it ends the process with status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure tcpd beside other servers."
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds [{ROUNDS}]")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE",
        help="measure these cases only: echo, 'echo/*/50', lines, connects, tls, idle; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--servers", type=lambda text: text.split(","), default=[], metavar="NAME,...",
        help="measure these only: " + ", ".join(each.name for each in contestants.CONTESTANTS),
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROUNDS} short rounds, for a first look"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample here")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw a chart here (SVG)")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE",
        help="renew the figures in this Markdown file, and the chart beside it",
    )  # fmt: skip
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="measure nothing; show what --json has written"
    )
    asked = parser.parse_args(words)
    if asked.rounds is None:
        asked.rounds = QUICK_ROUNDS if asked.quick else ROUNDS
    if asked.rounds < 1:
        parser.error("--rounds: 1 at least")
    try:
        asked.cases = cases.choose(asked.only)
        asked.contestants = contestants.choose(asked.servers)
    except ValueError as error:
        parser.error(str(error))
    return asked


def measure(asked: argparse.Namespace) -> tuple[Run, list[str]]:
    """Measure what was asked for; gives what failed, too.

    Raises:
        ToolError: something that it takes can't be made.
        ServerError: a server failed.
    """
    timing = QUICK if asked.quick else LONG
    with tempfile.TemporaryDirectory(prefix="tcpd-bench-") as name:
        directory = Path(name)
        samples, failures = take_turns(
            asked.cases,
            asked.contestants,
            rounds=asked.rounds,
            timing=timing,
            tools=make_tools(directory),
            directory=directory,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    date = datetime.now(UTC).date().isoformat()
    run = Run(date=date, machine=machine_facts(), seconds=timing.seconds, samples=samples)
    return run, failures


def show(run: Run) -> None:
    """Print a run's tables."""
    figures = Figures(run.samples)
    for name, value in run.machine.items():
        print(f"{name}: {value}")
    print(f"quiet: {quietness(figures)}")
    for title, rows in case_tables(figures):
        print(f"\n{title}\n{as_text(rows)}")
    targets = list(target_rows(figures))
    if len(targets) > 1:
        print(f"\nTo reach\n{as_text(targets)}")


def main(words: Sequence[str]) -> int:
    """Run the command; gives its exit status."""
    asked = parse(words)
    try:
        run, failures = measure(asked) if asked.read is None else (Run.read(asked.read), [])
        if asked.json is not None:
            run.write(asked.json)
        show(run)
        if asked.chart is not None:
            asked.chart.write_text(chart(Figures(run.samples)))
        if failures:
            raise ServerError("\n".join(("some measurements failed:", *failures)))
        if asked.docs is not None:
            update_docs(asked.docs, run)
    except (ToolError, ServerError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
