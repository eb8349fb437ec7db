"""Text for a terminal or a pipe: columns, units, colours.

Rules:
- Every text from outside passes `clean` or `clean_words` before it stands in a line: nothing of it
  steers a terminal.
- Colours are added last, around what is already padded; never in a pipe, and never with NO_COLOR.
"""

from __future__ import annotations

import json
import os
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from tcpd.escape import escape_text, one_line
from tcpd.units import format_duration, format_size

NOTHING = "-"
"""What stands for what isn't known."""

_CODES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2", "reverse": "7"}


class Paint:
    """Colours texts, or leaves them as they are.

    Args:
        on: whether there are colours.
    """

    def __init__(self, on: bool) -> None:
        self.on = on

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Paint:
        """Return what suits a stream: colours on a terminal, unless NO_COLOR is set."""
        plain = environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb"
        return cls(stream.isatty() and not plain)

    def __call__(self, kind: str, text: str) -> str:
        """Return a text in a colour: `paint("red", "down")`."""
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.on and kind else text


def clean(value: object, limit: int = 200) -> str:
    """Return any value as printable text on one line; `-` for none."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        value = json.dumps(value)
    return escape_text(str(value), limit)


def clean_words(value: object, limit: int = 200) -> str:
    r"""Return words of the daemon's own as printable text on one line; `-` for none.

    What others have said in them is escaped there already, so a backslash stays one: `\n`, where
    `clean` would make `\\n` of it. Whatever isn't printable is escaped here all the same, for it
    need not be tcpd that answers.
    """
    if not isinstance(value, str) or not value:
        return clean(value, limit)
    more = len(value) - limit
    text = one_line(value[:limit])
    return f"{text}... ({more} more)" if more > 0 else text


def width_of(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(each) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(each) in "WF"
        else 1
        for each in text
    )


def cut(text: str, width: int) -> str:
    """Return a printable text in at most so many columns; what is left out shows as `~`."""
    if width_of(text) <= width:
        return text
    kept, used = "", 0
    for each in text:
        size = width_of(each)
        if used + size > width - 1:
            break
        kept += each
        used += size
    return f"{kept}~" if width > 0 else ""


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return a text filled up with spaces to so many columns."""
    fill = " " * (width - width_of(text))
    return fill + text if right else text + fill


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: str, paint: Paint
) -> list[str]:
    """Return the lines of a table.

    Args:
        heads: the columns' names, in capitals.
        rows: printable texts.
        right: the names, with spaces between, of the columns whose texts end flush.
        paint: for the first line, and for words that say that something is wrong.
    """
    flush = [head in right.split() for head in heads]
    widths = [max(width_of(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = []
    for row in (heads, *rows):
        cells = [
            pad(text, width, right=end) for text, width, end in zip(row, widths, flush, strict=True)
        ]
        cells[-1] = cells[-1].rstrip()
        if row is not heads:
            cells = [paint(colour_of(cell.strip()), cell) for cell in cells]
        line = "  ".join(cells)
        lines.append(paint("bold", line) if row is heads else line)
    return lines


def colour_of(word: str) -> str:
    """Return the colour of a state's word, or nothing."""
    if word in ("down", "failing", "stuck", "stopped", "failed", "gave-up"):
        return "red"
    if word in ("suspended", "draining", "retrying", "starting", "stopping"):
        return "yellow"
    return ""


def get(view: Any, *keys: str) -> Any:
    """Return what stands deep in a view; None where the daemon doesn't tell it."""
    for key in keys:
        if not isinstance(view, Mapping):
            return None
        view = view.get(key)
    return view


def number(value: object) -> float | None:
    """Return a number, or None for what is none."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if good else None  # type: ignore[arg-type]


def size(value: object) -> str:
    """Return bytes for people."""
    known = number(value)
    return NOTHING if known is None else format_size(round(known))


def rate(value: object) -> str:
    """Return bytes a second for people."""
    known = number(value)
    return NOTHING if known is None else f"{format_size(round(known))}/s"


def span(value: object) -> str:
    """Return seconds for people."""
    known = number(value)
    return NOTHING if known is None else format_duration(max(0.0, known))


def moment(value: object) -> str:
    """Return seconds since the epoch as RFC 3339 writes them, in UTC; the log does the same."""
    known = number(value)
    if known is None:
        return NOTHING
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(known))
    except (OverflowError, ValueError, OSError):
        return clean(value)


def count(value: object) -> str:
    """Return a number of things."""
    known = number(value)
    return NOTHING if known is None else f"{known:.0f}"


def as_json(value: object, *, indent: int | None = 2) -> str:
    """Return JSON in printable ASCII: fit for a terminal, whatever is in it."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")
