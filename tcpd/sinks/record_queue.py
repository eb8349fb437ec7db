"""Records on their way from the reactor's thread to that of a sink: bounded, and never in the way.

Rules:
- `offer` never waits and takes no lock, as sessions are behind it; only waking an idle sink costs
  more, and that is once a batch.
- Who waits for a batch to fill up is woken sooner when the queue is half full, by count or by size,
  or something didn't fit: nothing is lost while a sink sleeps.
- The bound holds for what is being written as well: a record leaves when it is done with.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from tcpd.sinks.record import Record


class RecordQueue:
    """A bounded queue; one thread offers, one thread takes.

    Args:
        records: how many records it holds.
        size: how many bytes they may take (`Record.size`).
        batch: how many are taken at once.

    Attributes:
        refused: how many records didn't fit.
        closing: set by `close`: what is there is taken without waiting for more.
    """

    __slots__ = (
        "_batch",
        "_done",
        "_done_size",
        "_enough",
        "_half_size",
        "_many",
        "_offered",
        "_offered_size",
        "_records",
        "_size",
        "_some",
        "_waiting",
        "_woken",
        "closing",
        "refused",
    )

    def __init__(self, records: int, size: int, batch: int) -> None:
        self._records = records
        self._size = size
        self._batch = batch
        # So many records, or bytes, wait for no others. A batch may be more than the queue holds.
        self._many = min(batch, (records + 1) // 2)
        self._half_size = size / 2
        self._waiting: deque[Record] = deque()
        # One thread counts what came, the other what went, so that neither needs a lock.
        self._offered = self._offered_size = 0
        self._done = self._done_size = 0
        self.refused = 0
        self._some = threading.Event()
        self._enough = threading.Event()
        self._woken = False
        self.closing = threading.Event()

    @property
    def queued(self) -> int:
        """How many records are in it, those that are being written included."""
        return self._offered - self._done

    @property
    def queued_size(self) -> int:
        """How many bytes they take."""
        return self._offered_size - self._done_size

    def offer(self, record: Record) -> None:
        """Take a record, or count it as refused if there is no room."""
        offered, offered_size = self._offered, self._offered_size + record.size
        size = offered_size - self._done_size
        if offered - self._done >= self._records or size > self._size:
            self.refused += 1
            if not self._enough.is_set():  # a large one may not fit though the half is free
                self._enough.set()
            return
        self._offered, self._offered_size = offered + 1, offered_size
        waiting = self._waiting
        waiting.append(record)
        if not self._some.is_set():
            self._some.set()
        if (size >= self._half_size or len(waiting) >= self._many) and not self._enough.is_set():
            self._enough.set()

    def take(self, delay: float, timeout: float | None) -> list[Record]:
        """Return the next batch; an empty one if nothing came in time, or `wake` was called.

        Args:
            delay: how long the first may wait for others, in seconds.
            timeout: how long to wait for the first, in seconds; None is for ever.
        """
        waiting = self._waiting
        self._some.clear()
        at_once = waiting or self._woken or self.closing.is_set()
        if not at_once and not self._some.wait(timeout):
            return []
        self._woken = False
        self._enough.clear()
        if waiting and not self._has_enough() and not self.closing.is_set():
            self._enough.wait(delay)
        return [waiting.popleft() for _ in range(min(len(waiting), self._batch))]

    def _has_enough(self) -> bool:
        """Return whether what is there has to wait for no more."""
        return len(self._waiting) >= self._many or self.queued_size >= self._half_size

    def done(self, batch: Sequence[Record]) -> None:
        """Make room: these are written, or lost."""
        self._done += len(batch)
        self._done_size += sum(record.size for record in batch)

    def wake(self) -> None:
        """Have `take` return, whether or not anything is there."""
        self._woken = True
        self._some.set()
        self._enough.set()

    def close(self) -> None:
        """Have `take` wait no more from now on."""
        self.closing.set()
        self.wake()
