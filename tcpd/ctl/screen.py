"""What `tcpdctl top` shows: the daemon's answers and the user's choices in, lines out.

Sans-I/O. A frame has exactly as many lines as the terminal, and none is wider than it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tcpd.ctl.options import SORTS
from tcpd.ctl.shown import View, client_of, views_of
from tcpd.ctl.text import Paint, clean, count, cut, get, number, pad, rate, size, span, width_of
from tcpd.escape import escape_text

HEAD = 4
"""Lines above the sessions."""
FOOT = 1
"""Lines below them."""
HELP = (
    ("Up Down PgUp PgDn Home", "choose a session"),
    ("s S", "sort by the next, the previous column"),
    ("r", "turn the order round"),
    ("/", "show only what has a text in it; Enter shows, Esc gives up, Ctrl-U clears"),
    ("k", "close the chosen session, after a question"),
    ("space", "stand still, go on"),
    ("q Ctrl-C", "leave"),
)
KEYS = "q leave  / filter  s sort  r turn round  k close  space stand still  ? help"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the daemon said at one moment."""

    status: View
    sessions: Sequence[View]
    total: int


@dataclass(slots=True, kw_only=True)
class Choices:
    """What the user has chosen.

    Attributes:
        sort: what the sessions are sorted by, with a `-` before it for the highest first.
        text: what is looked for in them.
        listener: the only listener shown; empty for all.
        offset: how many sessions stand above the first line.
        chosen: the id of the session that keys act on.
        typing: the filter that is being typed; None while none is.
        asked: the session that the user is asked about; None while there is no question.
        still: whether what is shown stands still.
        help: whether the help is shown.
        message: what has to be told, until the next key.
        trouble: why the daemon's figures are old; empty while they aren't.
    """

    sort: str = "-rate"
    text: str = ""
    listener: str = ""
    offset: int = 0
    chosen: str = ""
    typing: str | None = None
    asked: View | None = None
    still: bool = False
    help: bool = False
    message: str = ""
    trouble: str = ""
    sorts: Sequence[str] = field(default=SORTS)

    def sort_by_next(self, step: int) -> None:
        """Sort by another column: numbers the highest first."""
        key = self.sort.removeprefix("-")
        key = self.sorts[(self.sorts.index(key) + step) % len(self.sorts)]
        words = ("id", "client", "listener", "handler")
        self.sort = key if key in words else f"-{key}"
        self.offset = 0

    def turn_round(self) -> None:
        """Turn the order round."""
        turned = self.sort.startswith("-")
        self.sort = self.sort[1:] if turned else f"-{self.sort}"
        self.offset = 0

    def move(self, by: int, look: Look, room: int) -> None:
        """Choose the session so many lines below, or above; the list moves along at its ends."""
        at = self.place_in(look) + by
        if at < 0:
            self.offset = max(0, self.offset + at)
        elif at >= len(look.sessions):
            last = max(0, look.total - room)
            self.offset = min(last, self.offset + at - len(look.sessions) + 1)
        at = max(0, min(at, len(look.sessions) - 1))
        if look.sessions:
            self.chosen = str(look.sessions[at].get("id"))

    def place_in(self, look: Look) -> int:
        """Return the line of the chosen session; 0 if it isn't there any more."""
        ids = [each.get("id") for each in look.sessions]
        return ids.index(self.chosen) if self.chosen in ids else 0


def room_of(rows: int) -> int:
    """Return how many sessions a terminal of so many lines has room for."""
    return max(1, rows - HEAD - FOOT)


def frame(look: Look, choices: Choices, columns: int, rows: int, paint: Paint) -> list[str]:
    """Return the lines of the whole terminal."""
    body = _help() if choices.help else _sessions(look, choices, columns, paint, room_of(rows))
    head = _head(look, choices)
    lines = [*(cut(line, columns) for line in head)]
    if choices.trouble:
        lines[1] = paint("red", cut(clean(choices.trouble, 400), columns))
    lines[0] = paint("bold", lines[0])
    if choices.help:
        lines += ["", *(cut(line, columns) for line in body)]
    else:
        lines += body
    lines = (lines + [""] * rows)[: max(0, rows - FOOT)]
    return [*lines, _foot(choices, columns, paint)][:rows]


def _head(look: Look, choices: Choices) -> list[str]:
    status = look.status
    listeners = views_of(status, "listeners")
    process = status.get("process")
    first = (
        f"tcpd {clean(status.get('version'), 20)}  process {count(status.get('pid'))}  "
        f"{clean(status.get('state'), 20)}  up {span(status.get('uptime'))}  "
        f"loop {span(get(status, 'loop', 'lag'))} late  memory {size(get(process, 'rss'))}"
    )
    odd = [
        f"{clean(each.get('name'), 64)} {clean(each.get('state'), 20)}"
        for each in listeners
        if each.get("state") != "up"
    ]
    second = (
        f"{count(get(status, 'sessions', 'open'))} sessions open, "
        f"{count(get(status, 'sessions', 'total'))} in all  "
        f"in {_total(listeners, 'in')}  out {_total(listeners, 'out')}"
    )
    second += f"  {', '.join(odd)}" if odd else f"  {len(listeners)} listeners up"
    key = choices.sort.removeprefix("-")
    order = "highest first" if choices.sort.startswith("-") else "lowest first"
    some = f"{choices.offset + 1} to " if choices.offset else ""
    third = f"{some}{choices.offset + len(look.sessions)} of {look.total} shown, by {key}, {order}"
    if choices.listener:
        third += f", of {clean(choices.listener, 64)}"
    if choices.text:
        third += f", with '{escape_text(choices.text, 40)}'"
    if choices.still:
        third += ", standing still"
    return [first, second, third]


def _total(listeners: Sequence[View], way: str) -> str:
    known = [each for view in listeners if (each := number(get(view, "rate", way))) is not None]
    return rate(sum(known)) if known else "-"


def _sessions(look: Look, choices: Choices, columns: int, paint: Paint, room: int) -> list[str]:
    sessions = look.sessions[:room]
    rows = [_cells(each) for each in sessions]
    heads = ["ID", "LISTENER", "CLIENT", "AGE", "IDLE", "RTT", "IN/S", "OUT/S", "IN", "OUT"]
    heads += ["QUEUED"]
    widths = [max([width_of(head), *(width_of(row[at]) for row in rows)])
              for at, head in enumerate(heads)]  # fmt: skip
    # Without colours the chosen line is known by a mark before it.
    marks = ("", "") if paint.on else ("> ", "  ")
    columns -= len(marks[0])
    # What has no room: first the totals go, and what the kernel knows, then the texts are cut, then
    # the rest goes but for who.
    shown = list(range(len(heads)))
    least = dict(enumerate(widths))
    least |= {1: min(widths[1], 8), 2: min(widths[2], 21)}  # 21: any IPv4 address and port
    for some, need in (((9, 8, 5, 4, 10), widths), ((3, 1, 7, 6), least)):
        for gone in some:
            if sum(need[at] + 2 for at in shown) - 2 > columns:
                shown.remove(gone)
    for texts in (1, 2, 0):
        over = sum(widths[at] + 2 for at in shown) - 2 - columns
        widths[texts] -= max(0, min(over, widths[texts] - 8))
    lines = []
    for row in (heads, *rows):
        cells = [pad(cut(row[at], widths[at]), widths[at], right=at > 2) for at in shown]
        lines.append(pad(cut("  ".join(cells), columns), max(0, columns)))
    chosen = choices.place_in(look) + 1 if rows else 0
    lines = [f"{marks[at != chosen or not at]}{line}" for at, line in enumerate(lines)]
    for at in {0, chosen} & set(range(len(lines))):
        lines[at] = paint("reverse", lines[at])
    return lines


def _cells(session: View) -> list[str]:
    return [
        clean(session.get("id"), 40),
        clean(session.get("listener"), 64),
        client_of(session),
        span(session.get("age")),
        span(session.get("idle")),
        span(session.get("rtt")),
        rate(get(session, "rate", "in")),
        rate(get(session, "rate", "out")),
        size(get(session, "bytes", "in")),
        size(get(session, "bytes", "out")),
        size(session.get("queued")),
    ]


def _help() -> list[str]:
    width = max(len(keys) for keys, _ in HELP)
    return [f"{keys:{width}}  {words}" for keys, words in HELP]


def _foot(choices: Choices, columns: int, paint: Paint) -> str:
    if choices.typing is not None:
        text = escape_text(choices.typing)
        return cut(f"filter: {text[-max(1, columns - 10) :]}_", columns)
    if choices.asked is not None:
        who = f"{clean(choices.asked.get('id'), 40)} of {client_of(choices.asked)}"
        question = f"close {who}?  y yes  r reset  any other key: no"
        if width_of(question) > columns:  # what the keys do is worth more than who it is
            question = f"y r n? close {who}"
        return paint("yellow", cut(question, columns))
    if choices.message:
        return paint("bold", cut(clean(choices.message, 400), columns))
    return cut(KEYS, columns)


def chosen_of(look: Look, choices: Choices) -> Any:
    """Return the session that keys act on; None if there is none."""
    return look.sessions[choices.place_in(look)] if look.sessions else None
