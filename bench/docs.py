"""The figures in docs/performance.md: what stands between two markers is renewed, the rest is not.

The chart is written beside the file, under its name, as SVG.
"""

from __future__ import annotations

from pathlib import Path

from bench.chart import chart
from bench.figures import Figures
from bench.run_file import Run
from bench.tables import as_markdown, case_tables, quietness, summary_rows, target_rows

START = "<!-- figures: written by python -m bench --docs -->"
END = "<!-- end of figures -->"


def update_docs(path: Path, run: Run) -> None:
    """Renew the figures in a Markdown file, and the chart.

    Raises:
        ValueError: the file lacks the markers.
    """
    drawing = path.with_suffix(".svg")
    text = replaced(path.read_text(), section(run, drawing.name), path.name)
    drawing.write_text(chart(Figures(run.samples)))
    path.write_text(text)


def replaced(text: str, figures: str, name: str) -> str:
    """Return a text with other figures between its markers.

    Raises:
        ValueError: the text lacks them, or has them twice or in the wrong order.
    """
    before, start, rest = text.partition(START)
    _old, end, after = rest.partition(END)
    if not (start and end) or START in rest or END in before + after:
        raise ValueError(f"{name}: expected one line {START!r}, then one {END!r}")
    return f"{before}{START}\n\n{figures}\n\n{END}{after}"


def section(run: Run, drawing: str) -> str:
    """Return a run's figures in Markdown."""
    figures = Figures(run.samples)
    machine = "\n".join(f"- {name}: {value}" for name, value in run.machine.items())
    measured = f"{figures.rounds} rounds, {run.seconds:g} s a measurement; {quietness(figures)}"
    details = "\n\n".join(
        f"### {title}\n\n{as_markdown(rows)}" for title, rows in case_tables(figures)
    )
    return "\n\n".join(
        (
            f"Measured on {run.date}: {measured} (median).",
            machine,
            f"![tcpd beside other servers]({drawing})",
            "## In short",
            as_markdown(list(summary_rows(figures))),
            "## What tcpd sets out to reach",
            as_markdown(list(target_rows(figures))),
            "## All figures",
            details,
        )
    )
