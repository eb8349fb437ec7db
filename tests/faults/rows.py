"""The scoreboard's rows, as their scripts tell of them, and the table that is made of a run.

A row is a script `test_NN_name.py`. Its docstring begins with the fault, what must hold, and the
best figure known of others:

    Row 3: 64 file descriptors, 200 connects.

    Must hold: at most 0.1 s of CPU in 5 s.

    Best known: Twisted 0.0 s.

What follows tells how the fault is made, and what would make the row fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "reliability.md"
START = "<!-- table: written by python tests/faults/report.py -->"
END = "<!-- end of table -->"
COUNT = 32

_HEAD = re.compile(
    r"Row (?P<number>\d+): (?P<fault>.+?)\.\n\nMust hold: (?P<criterion>.+?)\.\n\n"
    r"Best known: (?P<best>.+?)\.(?:\n\n|$)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    number: int
    fault: str
    criterion: str
    best: str
    script: str

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table says of it, but for our figure."""
        number = f"[{self.number}](../tests/faults/{self.script})"
        return (number, self.fault, self.criterion, self.best)


def row_of(path: Path) -> Row:
    """Return the row that a script is.

    Raises:
        ValueError: its docstring doesn't say.
    """
    match = _HEAD.match(ast.get_docstring(ast.parse(path.read_text())) or "")
    if match is None:
        raise ValueError(f"{path.name}: expected a docstring with Row, Must hold and Best known")
    found = {name: " ".join(text.split()) for name, text in match.groupdict().items()}
    return Row(
        number=int(found["number"]),
        fault=found["fault"],
        criterion=found["criterion"],
        best=found["best"],
        script=path.name,
    )


def all_rows() -> list[Row]:
    """Return the rows, by number."""
    return sorted(map(row_of, HERE.glob("test_[0-9][0-9]_*.py")), key=lambda row: row.number)


def table(rows: list[Row], figures: Mapping[int, str]) -> str:
    """Return the table in Markdown; a row without a figure says so."""
    lines = ["| # | fault | must hold | best known of others | tcpd |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (*row.cells, figures.get(row.number, "not measured"))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def section(rows: list[Row], figures: Mapping[int, str], measured: str) -> str:
    """Return what stands between the markers."""
    return f"Measured on {measured}.\n\n{table(rows, figures)}"


def table_in(text: str) -> list[list[str]]:
    """Return the cells of the table in the docs, row by row, without its head."""
    _before, _start, rest = text.partition(START)
    lines = [line for line in rest.partition(END)[0].splitlines() if line.startswith("| [")]
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


def replaced(text: str, section: str) -> str:
    """Return the docs with another section between the markers.

    Raises:
        ValueError: the text lacks the markers, or has them twice or in the wrong order.
    """
    before, start, rest = text.partition(START)
    _old, end, after = rest.partition(END)
    if not (start and end) or START in rest or END in before + after:
        raise ValueError(f"expected one line {START!r}, then one {END!r}")
    return f"{before}{START}\n\n{section}\n\n{END}{after}"
