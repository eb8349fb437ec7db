"""The chart: for each case a group of bars, one a server, as times the speed of stock Twisted.

Plain SVG, written by hand, with a white ground so that it can be read on a dark page too.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bench.cases import CASES
from bench.contestants import ASYNCIO, CONTESTANTS, GEVENT, STOCK, TCPD, TCPD_OFF, UVLOOP, C
from bench.figures import Figures

SHOWN = (
    "echo/64B/50", "echo/1KiB/50", "echo/1KiB/1000", "echo/10KiB/50", "echo/100KiB/50",
    "lines", "connects", "tls/1KiB/50", "tls/100KiB/50", "handshakes",
)  # fmt: skip
# Told apart by people who see no colours, too: their lightness differs.
COLOURS = {
    C: "#999999", UVLOOP: "#e69f00", ASYNCIO: "#f0d9a0", GEVENT: "#a6d8c4", STOCK: "#56b4e9",
    TCPD: "#0b4f79", TCPD_OFF: "#4a7d9e",
}  # fmt: skip

SPACE = 'xmlns="http://www.w3.org/2000/svg"'
WIDTH = 900
LEFT = 330
RIGHT = 70
TOP = 70
BAR = 11
GAP = 14
LABEL = 46


def chart(figures: Figures) -> str:
    """Return the chart of a run, as a whole SVG file."""
    groups = []
    for case in CASES:
        if case.name in SHOWN:
            ratios = {each.name: figures.ratio(case.name, each.name, STOCK) for each in CONTESTANTS}
            found = {name: ratio for name, ratio in ratios.items() if ratio is not None}
            if found:
                groups.append((case.title, found))
    most = max((r.most for _title, found in groups for r in found.values()), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + sum(len(found) * BAR + GAP for _title, found in groups) + 10
    parts: list[str] = []
    y = float(TOP)
    for title, found in groups:
        middle = y + len(found) * BAR / 2 + 4
        for i, line in enumerate(_lines(title)):
            parts.append(
                _text(
                    LEFT - 10, middle + (i * 13 - (len(_lines(title)) - 1) * 6), line, anchor="end"
                )
            )
        for name, ratio in found.items():
            end = LEFT + ratio.median * scale
            low, high = LEFT + ratio.least * scale, LEFT + ratio.most * scale
            centre = y + BAR / 2
            parts.append(
                f'<rect x="{LEFT}" y="{y:.1f}" width="{end - LEFT:.1f}" height="{BAR - 1}"'
                f' fill="{COLOURS[name]}"/>'
                f'<path d="M{low:.1f} {centre:.1f}H{high:.1f}" stroke="#333"/>'
            )
            parts.append(_text(max(end, high) + 4, y + BAR - 2, f"{ratio.median:.2f}", size=9))
            y += BAR
        y += GAP
    one = LEFT + scale
    parts.append(
        f'<path d="M{one:.1f} {TOP - 6}V{height - 10}" stroke="#555" stroke-dasharray="3 3"/>'
    )
    return "\n".join(
        (
            f'<svg {SPACE} viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
            "<title>tcpd beside other servers, as times the speed of stock Twisted</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            _text(10, 22, "Times the speed of stock Twisted", size=16),
            _text(WIDTH - 10, 22, "bar: median of the rounds; line: least to most", anchor="end"),
            *_legend(),
            *parts,
            "</svg>\n",
        )
    )


def _legend() -> Iterator[str]:
    x = 10.0
    for each in CONTESTANTS:
        yield f'<rect x="{x:.0f}" y="34" width="10" height="10" fill="{COLOURS[each.name]}"/>'
        yield _text(x + 14, 43, each.title)
        x += 34 + 6.6 * len(each.title)


def _lines(title: str) -> list[str]:
    """Return a title in pieces that fit beside the bars."""
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + len(word) >= LABEL:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#222">'
        f"{escape(text)}</text>"
    )
