"""What the configuration says of a sink: which, what it gets, and what it may take.

It knows nothing of Twisted, as the configuration doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tcpd.errors import FieldError
from tcpd.event_names import EventPattern
from tcpd.fields import NO_KEY, OneOrMore, Range
from tcpd.units import ByteSize, Seconds

FIRST_PAUSE = Seconds(0.5)
LONGEST_PAUSE = Seconds(30.0)
# A record takes 1 KiB and more; so this bound is met only where handlers report large values.
QUEUE_SIZE = ByteSize(32 * 2**20)
BATCH_DELAY = Seconds(0.2)
STOP = Seconds(5.0)
EVERYTHING = (EventPattern("*"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The pauses before a batch is tried again, each twice as long as the one before."""

    initial: Annotated[Seconds, Range(0.001)] = FIRST_PAUSE
    """The first pause."""
    max: Annotated[Seconds, Range(0.001)] = LONGEST_PAUSE
    """The longest pause."""

    def __post_init__(self) -> None:
        if self.max < self.initial:
            raise FieldError(("max",), "it is shorter than 'initial'", rests_on=[("initial",)])

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        return float(min(self.max, self.initial * 2 ** min(failures - 1, 30)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """A named place where records of events are written."""

    kind: str
    """What writes them: a sink's name, `module:Class`, or `file.py:Class`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """The sink's own options."""
    events: Annotated[tuple[EventPattern, ...], OneOrMore()] = EVERYTHING
    """The events that it gets, by patterns of their names."""
    listeners: Annotated[tuple[str, ...], OneOrMore()] = ("*",)
    """The listeners and connectors whose events it gets, by patterns of their names."""
    queue: Annotated[int, Range(1, 10_000_000)] = 10_000
    """How many records may wait for it; what comes then is lost."""
    queue_size: Annotated[ByteSize, Range(65536)] = QUEUE_SIZE
    """How much memory those that wait may take."""
    batch: Annotated[int, Range(1, 100_000)] = 500
    """How many records are written at once, at most."""
    batch_delay: Seconds = BATCH_DELAY
    """How long a record may wait for others to be written with."""
    retry: Retry = field(default_factory=Retry)
    """The pauses while it can't be written to."""
    stop: Seconds = STOP
    """How long it may take, when tcpd stops, to write what waits."""
    sink: Any = field(default=None, compare=False, repr=False, metadata=NO_KEY)
    """The sink, made of its options."""
    base: Path | None = field(default=None, compare=False, repr=False, metadata=NO_KEY)
    """The directory that a file in `kind` starts from."""
