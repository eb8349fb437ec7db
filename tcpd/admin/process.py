"""The process's own figures, as proc(5) and getrusage(2) tell them."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SELF = Path("/proc/self")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """What the process takes."""

    pid: int
    fds: int
    """Open file descriptors."""
    max_fds: int
    """How many it may have; see RLIMIT_NOFILE in getrlimit(2)."""
    rss: int
    """Bytes of memory that it has."""
    virtual: int
    """Bytes of address space."""
    cpu: float
    """Seconds of processor time, its own and the kernel's on its behalf."""
    started: float
    """When it began, in seconds since the epoch."""


def process_figures() -> ProcessFigures:
    """Return the figures as they are now."""
    pages = (_SELF / "statm").read_text().split()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return ProcessFigures(
        pid=os.getpid(),
        fds=_descriptors(),
        max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        rss=int(pages[1]) * _PAGE,
        virtual=int(pages[0]) * _PAGE,
        cpu=usage.ru_utime + usage.ru_stime,
        started=_started(os.getpid()),
    )


def _descriptors() -> int:
    # From Linux 6.2 on the size of the directory is the number of its entries. To list ten thousand
    # of them takes several milliseconds.
    directory = _SELF / "fd"
    return directory.stat().st_size or len(os.listdir(directory)) - 1


@cache
def _started(pid: int) -> float:
    """Return when this process began; asked again only after a fork."""
    # The name, in parentheses, may hold anything, spaces too.
    fields = (_SELF / "stat").read_text().rpartition(")")[2].split()
    lines = Path("/proc/stat").read_text().splitlines()
    boot = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return boot + int(fields[19]) / _TICKS
