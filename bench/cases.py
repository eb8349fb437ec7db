"""What is measured: the cases, and which of them a run takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal["echo", "lines", "tls"]
"""What a server has to speak; see `bench.servers`."""
Mode = Literal["messages", "connects", "idle"]
"""What the load does; see `c/load.c`."""

# Below stock Twisted's backlog of 50, lest waits for a lost SYN are what is measured.
CONNECTING_AT_ONCE = 32
LINES_A_MESSAGE = 100
IDLE_SESSIONS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to measure.

    Attributes:
        name: for `--only` and for the files, as "echo/1KiB/50".
        title: for people.
        kind: what the servers speak.
        mode: what the load does.
        size: bytes a message.
        connections: how many there are at once.
        line: bytes a line, if a message is made of lines.
        unit: what is counted a second.
        per_message: how many of those a message is.
    """

    name: str
    title: str
    kind: Kind
    mode: Mode = "messages"
    size: int = 1
    connections: int = 50
    line: int = 0
    unit: str = "messages"
    per_message: int = 1


def _size(size: int) -> str:
    return f"{size // 1024} KiB" if size >= 1024 else f"{size} B"


def _messages(kind: Kind, size: int, connections: int) -> Case:
    over = " over TLS" if kind == "tls" else ""
    s = "" if connections == 1 else "s"
    return Case(
        name=f"{kind}/{_size(size).replace(' ', '')}/{connections}",
        title=f"{_size(size)}{over}, {connections} connection{s}",
        kind=kind,
        size=size,
        connections=connections,
    )


CASES: tuple[Case, ...] = (
    *(
        _messages("echo", size, connections)
        for size in (64, 1024, 10 * 1024, 100 * 1024)
        for connections in (1, 50, 1000)
    ),
    Case(
        name="lines",
        title=f"Lines of 20 bytes, {LINES_A_MESSAGE} a segment, one write a line, 50 connections",
        kind="lines",
        size=20 * LINES_A_MESSAGE,
        line=20,
        unit="lines",
        per_message=LINES_A_MESSAGE,
    ),
    Case(
        name="connects",
        title=f"Connect, echo of one byte, close; {CONNECTING_AT_ONCE} at once",
        kind="echo",
        mode="connects",
        connections=CONNECTING_AT_ONCE,
        unit="connections",
    ),
    *(
        _messages("tls", size, connections)
        for size in (1024, 100 * 1024)
        for connections in (1, 50)
    ),
    Case(
        name="handshakes",
        title=f"TLS handshake, echo of one byte, close; {CONNECTING_AT_ONCE} at once",
        kind="tls",
        mode="connects",
        connections=CONNECTING_AT_ONCE,
        unit="handshakes",
    ),
    Case(
        name="idle",
        title="Memory of an idle session",
        kind="echo",
        mode="idle",
        connections=IDLE_SESSIONS,
        unit="bytes",
    ),
)


def choose(patterns: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases that one of some patterns matches (`echo/*`, `lines`); all for no patterns.

    Raises:
        ValueError: a pattern matches none.
    """
    for pattern in patterns:
        if not any(_matches(case, pattern) for case in CASES):
            known = " ".join(case.name for case in CASES)
            raise ValueError(f"--only {pattern}: no such case; there are: {known}")
    return tuple(
        case for case in CASES if not patterns or any(_matches(case, each) for each in patterns)
    )


def _matches(case: Case, pattern: str) -> bool:
    return fnmatchcase(case.name, pattern) or case.name.startswith(pattern + "/")
