"""Failures that come again and again, of which the log gets the first few and then counts.

A handler's bug meets every peer, and peers come by the thousand a second: their tracebacks would
fill a disk with one and the same text.

Rules:
- Failures are the same if their exceptions are of one type and their tracebacks are the same, line
  by line: two ways to one `raise` are two failures.
- Of the same ones `SHOWN` a minute are written as they are. Of the others it is written how many
  they are, when the 10th, 20th, 50th, 100th and so on has come, and when they come in another
  minute.
- Everything else passes, and memory is bounded, whatever fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

# A handful shows whether it is always the same, and who meets it.
SHOWN = 5
MINUTE = 60.0
# So many kinds of failures are known at a time; the one that began first is forgotten.
KINDS = 100

# The exception's type, the line that raised it, and a hash of the way there.
_Kind = tuple[str, str, int]


@dataclass(slots=True)
class _Count:
    """Of one kind of failures: since when, how many came, and how many of them nobody was told."""

    since: float
    came: int = 0
    untold: int = 0


@implementer(ILogObserver)
class Repeats:
    """An observer that passes on what isn't repeated too often.

    Args:
        observer: what it passes on to.
        now: the time, in seconds.
    """

    def __init__(self, observer: ILogObserver, now: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer
        self._now = now
        self._counts: dict[_Kind, _Count] = {}

    def __call__(self, event: LogEvent) -> None:
        """Pass an event on, or count it."""
        failure = event.get("log_failure")
        if failure is None:
            self._observer(event)
            return
        kind = _kind(failure)
        count = self._count(kind)
        count.came += 1
        if count.came <= SHOWN:
            self._tell(event, kind, count)
            self._observer(event)
            return
        count.untold += 1
        if _is_round(count.came):
            self._tell(event, kind, count)

    def _count(self, kind: _Kind) -> _Count:
        now = self._now()
        count = self._counts.get(kind)
        if count is None:
            if len(self._counts) >= KINDS:
                del self._counts[next(iter(self._counts))]
            count = self._counts[kind] = _Count(now)
        elif now - count.since >= MINUTE:
            count.since, count.came = now, 0
        return count

    def _tell(self, event: LogEvent, kind: _Kind, count: _Count) -> None:
        if not count.untold:
            return
        error, place, _way = kind
        told: LogEvent = {
            **{key: event[key] for key in ("log_time", "log_level") if key in event},
            "log_namespace": __name__,
            "log_format": "{count} more failures like those before, left out: {error} in {place}",
            "count": count.untold,
            "error": error,
            "place": place,
        }
        count.untold = 0
        self._observer(told)


def _kind(failure: Any) -> _Kind:
    """Return what makes failures the same."""
    trace = failure.getTracebackObject()
    place, way = "an unknown place", 0
    while trace is not None:
        file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        place, way = f"{file}:{line}", hash((way, file, line))
        trace = trace.tb_next
    return failure.type.__name__, place, way


def _is_round(number: int) -> bool:
    """Return whether a number is 1, 2 or 5 with zeros behind it, and 10 at least."""
    digits = str(number)
    return len(digits) > 1 and digits.rstrip("0") in ("1", "2", "5")
