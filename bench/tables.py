"""The figures as tables: for the terminal, and in Markdown for the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.cases import CASES, Case
from bench.contestants import CONTESTANTS, TCPD
from bench.figures import Figure, Figures
from bench.load import Sample
from bench.targets import TARGETS

TITLES = {each.name: each.title for each in CONTESTANTS}
ABSENT = "-"
# A load this busy may be what limits a figure.
LOAD_IS_BUSY = 0.97

Row = Sequence[str]


def case_tables(figures: Figures) -> Iterator[tuple[str, list[Row]]]:
    """Give each case that was measured: its title, and its rows, the first of which is the head."""
    for case in CASES:
        servers = figures.servers(case.name)
        if servers:
            yield case.title, list(_case_rows(case, servers, figures))


def _case_rows(case: Case, servers: Sequence[str], figures: Figures) -> Iterator[Row]:
    ratio = "tcpd against it"
    a_session = f"{case.unit} a {'session' if case.mode == 'idle' else 'second'}"
    if case.mode == "idle":
        yield ("server", a_session, "least to most", ratio)
    else:
        yield (
            "server", a_session, "least to most", ratio, "least to most", "p50 µs", "p99 µs",
            "p99.9 µs", "CPU µs", "of it user",
        )  # fmt: skip
    for server in (each.name for each in CONTESTANTS if each.name in servers):

        def median(what: str, server: str = server) -> float:
            found = figures.of(case.name, server, lambda sample: float(getattr(sample, what)))
            return found.median if found else 0.0

        rate = figures.of(case.name, server, _rate)
        against = figures.ratio(case.name, TCPD, server) if server != TCPD else None
        mark = " *" if median("load_busy") > LOAD_IS_BUSY else ""
        row = [TITLES[server] + mark, number(rate), spread(rate)]
        if case.mode == "idle":
            yield (*row, times(against))
            continue
        a_unit = 1 / case.per_message
        yield (
            *row,
            times(against),
            spread(against, times),
            *(f"{median(name):,.0f}" for name in ("p50", "p99", "p999")),
            f"{median('cpu') * a_unit:,.2f}",
            f"{median('user'):.0%}",
        )


def _rate(sample: Sample) -> float:
    return sample.rate


def summary_rows(figures: Figures) -> Iterator[Row]:
    """Give the rows of the summary: tcpd against the others, case by case."""
    others = [each.name for each in CONTESTANTS if each.name != TCPD and not each.only]
    yield ("tcpd against", *(TITLES[each] for each in others))
    for case in CASES:
        if case.mode != "idle" and TCPD in figures.servers(case.name):
            ratios = [figures.ratio(case.name, TCPD, other) for other in others]
            yield (case.title, *(_with_spread(ratio) for ratio in ratios))


def target_rows(figures: Figures) -> Iterator[Row]:
    """Give the rows of what was to be reached."""
    yield ("tcpd", "against", "to reach", "measured", "least to most", "reached")
    titles = {case.name: case.title for case in CASES}
    for target in TARGETS:
        found = target.measured(figures)
        if found is None:
            continue
        shown = times if target.other else number
        yield (
            titles[target.case],
            TITLES[target.other] if target.other else "bytes",
            shown(Figure(median=target.value, least=0, most=0)),
            shown(found),
            spread(found, shown),
            "yes" if target.reached(found) else "no",
        )


def quietness(figures: Figures) -> str:
    """Return, for people, how quiet the machine was."""
    waited = f"{figures.waited:.0%} of the time"
    return f"servers and load had to wait for cores that others used, {waited} together"


def number(found: Figure | None) -> str:
    """Return a figure's median as a whole number."""
    return ABSENT if found is None else f"{found.median:,.0f}"


def times(found: Figure | None) -> str:
    """Return a ratio's median."""
    return ABSENT if found is None else f"{found.median:.2f}x"


def spread(found: Figure | None, shown: Callable[[Figure | None], str] = number) -> str:
    """Return a figure's least and most."""
    if found is None:
        return ABSENT
    low, high = (Figure(median=each, least=0, most=0) for each in (found.least, found.most))
    return f"{shown(low)} to {shown(high)}"


def _with_spread(found: Figure | None) -> str:
    if found is None:
        return ABSENT
    return f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})"


def as_text(rows: Sequence[Row]) -> str:
    """Return rows as a table for a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_markdown(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown."""
    head, *body = rows
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))
