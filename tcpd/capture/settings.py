"""What can be set for captures: the table `capture` of a listener or connector, and `[capture]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tcpd.fields import Range
from tcpd.units import ByteSize, Seconds

Format = Literal["pcapng", "hexdump", "jsonl"]

SUFFIXES: dict[Format, str] = {"pcapng": ".pcapng", "hexdump": ".txt", "jsonl": ".jsonl"}
"""How the files of each format end."""

ROTATE_SIZE = ByteSize(100 << 20)
QUEUE_SIZE = ByteSize(32 << 20)
LIVE_SIZE = ByteSize(100 << 20)
LIVE_TIME = Seconds(3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureConfig:
    """The capture of all sessions of a listener or connector."""

    path: Path
    """The directory for the files."""
    format: Format = "pcapng"
    """What is written: packets, or text."""
    files: Literal["listener", "session"] = "listener"
    """Whether there is one file for all sessions, or one for each."""
    session_size: Annotated[ByteSize, Range(1)] | None = None
    """So many bytes of a session are captured, both directions together; without it, all."""
    max_size: Annotated[ByteSize, Range(1)] | None = None
    """After so much has been written the capture ends; without it, never."""
    max_time: Annotated[Seconds, Range(0.001)] | None = None
    """So long after its first session the capture ends; without it, never."""
    rotate_size: Annotated[ByteSize, Range(4096)] = ROTATE_SIZE
    """A file that would grow beyond this is put aside, and a new one is begun."""
    rotate_every: Annotated[Seconds, Range(1.0)] | None = None
    """A file that is older than this is put aside, too; without it, at no age."""
    keep: Annotated[int, Range(1, 100_000)] = 10
    """How many files are kept besides those that are written to."""
    queue_size: Annotated[ByteSize, Range(4096)] = QUEUE_SIZE
    """How much may wait for the disk; what comes then is lost, and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCaptureConfig:
    """Captures that an operator starts while tcpd runs."""

    path: Path | None = None
    """The directory for their files; without it, that of the listener's own capture."""
    max_size: Annotated[ByteSize, Range(1)] = LIVE_SIZE
    """After so much has been written the capture ends."""
    max_time: Annotated[Seconds, Range(0.001)] = LIVE_TIME
    """After so long the capture ends."""


def file_name(stem: str, format_: Format) -> str:
    """Return the name of the file of a listener or session."""
    return stem + SUFFIXES[format_]
