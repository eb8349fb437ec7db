"""Run the rows of the scoreboard, and write their figures into docs/reliability.md.

python tests/faults/report.py             # run them and renew the table
python tests/faults/report.py --texts     # run nothing: renew the texts, keep the figures
python tests/faults/report.py --read FILE # of a run with pytest --figures FILE
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from faults.rows import COUNT, DOCS, all_rows, replaced, section, table_in  # noqa: E402


def run() -> dict[str, Any]:
    """Run all rows; return their figures."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "figures.json"
        scripts = [HERE / row.script for row in all_rows()]
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *scripts, f"--figures={path}"],
            cwd=HERE.parents[1],
        )
        return json.loads(path.read_text())


def figures_of(seen: dict[str, Any]) -> dict[int, str]:
    """Return what the table says of each row that was run.

    Raises:
        SystemExit: a row has failed; a table isn't made of that.
    """
    failed = [f"{number}: {each}" for number, row in seen["rows"].items() for each in row["failed"]]
    if failed:
        raise SystemExit("these rows failed, so the table stays as it is:\n" + "\n".join(failed))
    words = {}
    for number, row in seen["rows"].items():
        parts = [*row["figures"], *(f"not run: {each}" for each in row["skipped"])]
        words[int(number)] = "; ".join(parts)
    return words


def machine() -> str:
    """Say what it was measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")}
    cores = sum(line.startswith("processor") for line in cpuinfo)
    python, linux = platform.python_version(), platform.release().partition("-")[0]
    return f"{cores} cores ({', '.join(sorted(models))}), Linux {linux}, Python {python}"


def main() -> None:
    """Renew the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--texts", action="store_true", help="keep the figures, renew the texts")
    parser.add_argument("--read", metavar="FILE", type=Path, help="figures of an earlier run")
    options = parser.parse_args()
    text = DOCS.read_text()
    if options.texts:
        figures = {int(cells[0].partition("]")[0][1:]): cells[-1] for cells in table_in(text)}
        intro = text.partition("Measured on ")[2].partition(".\n")[0]
    else:
        seen = json.loads(options.read.read_text()) if options.read else run()
        figures = figures_of(seen)
        intro = f"{seen['date']}: {machine()}"
    DOCS.write_text(replaced(text, section(all_rows(), figures, intro)))
    print(f"{DOCS}: {len(figures)} of {COUNT} rows have a figure")


if __name__ == "__main__":
    main()
