"""A sink that keeps records in memory: for tests, and for a look at what happened last."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from tcpd.fields import Range
from tcpd.sinks.record import Record
from tcpd.sinks.sink import Sink


@dataclass
class Memory(Sink):
    """Keep the latest records in memory."""

    keep: Annotated[int, Range(1, 1_000_000)] = 1000
    """How many records are kept."""
    records: deque[Record] = field(init=False)
    """The records, the latest last."""

    def __post_init__(self) -> None:
        self.records = deque(maxlen=self.keep)

    def write(self, batch: Sequence[Record]) -> None:
        """Keep some records."""
        self.records.extend(batch)
