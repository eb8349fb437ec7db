"""One sink at work: its queue, its thread, and its counters.

Rules:
- Only the thread of the sink touches the sink. The thread never keeps the process from ending.
- When the sink is closed it may write what waits until its time is up; then it is left alone, and
  what it hasn't written is counted as lost.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tcpd.sinks.batch_writer import BatchWriter
from tcpd.sinks.record import Record
from tcpd.sinks.record_queue import RecordQueue
from tcpd.sinks.settings import SinkConfig

# Seconds that one call of a sink may take before it counts as stuck.
STUCK_AFTER = 10.0
# While tcpd stops no pause is longer, in seconds: there is not much time.
LAST_PAUSE = 0.2

State = Literal["waiting", "writing", "failing", "stuck", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """How a sink is doing, for metrics and for people; the numbers are since tcpd started."""

    name: str
    kind: str
    state: State
    """`waiting` for records, `writing`, `failing` (it tries again), `stuck` in a call, `closed`."""
    queued: int
    """Records that wait for it, those that are being written included."""
    queued_size: int
    """Bytes of memory that they take."""
    written: int
    """Records that it has written."""
    lost: int
    """Records that it has not written and never will."""
    failures: int
    """How many of its calls have failed."""
    last_error: str
    """Why the last of those did; empty if none has, or all is well again."""
    past_error: str
    """The same, once all is well again."""
    failed_at: float | None
    """When the last of those did, in seconds since 1970."""


class Runner:
    """Runs one sink.

    Args:
        name: the sink's name.
        config: what it is and may take; `config.sink` is the sink itself.
        say_lost: makes the record that says how many are missing.

    Attributes:
        ended: set once it touches its sink no more, or was left alone.
        deadline: when it has to have ended, in seconds of `time.monotonic`; 0 until `close`.
    """

    def __init__(self, name: str, config: SinkConfig, say_lost: Callable[[int], Record]) -> None:
        self.name = name
        self.config = config
        self._queue = RecordQueue(config.queue, config.queue_size, config.batch)
        self._writer = BatchWriter(config.sink, config.retry, say_lost)
        self._thread: threading.Thread | None = None
        self._reopen = False
        self._abandoned = False
        self._left = 0
        self.ended = threading.Event()
        self.deadline = 0.0
        self.offer = self._queue.offer
        """Takes a record, in the reactor's thread; never waits."""

    def start(self, after: Runner | None = None) -> None:
        """Begin to write; if it stands in for another runner, once that one has ended."""
        self._thread = threading.Thread(
            target=self._work, args=(after,), name=f"tcpd-sink-{self.name}", daemon=True
        )
        self._thread.start()

    def reopen(self) -> None:
        """Have the sink open its files anew, as soon as it isn't busy."""
        self._reopen = True
        self._queue.wake()

    def close(self) -> None:
        """Let the sink write what waits, in the time that it has for that, and end."""
        if self.deadline:
            return
        self.deadline = time.monotonic() + self.config.stop
        self._queue.close()
        if self._thread is None:
            self._abandon()

    def wait(self, seconds: float = math.inf) -> None:
        """Wait until it has ended, its time is up, or so long; `close` was called before."""
        self.ended.wait(max(0.0, min(seconds, self.deadline - time.monotonic())))

    def is_over(self) -> bool:
        """Return whether it has ended after `close`, or its time is up: then it is left alone."""
        if not self.ended.is_set() and self.deadline and time.monotonic() >= self.deadline:
            self._abandon()
        return self.ended.is_set()

    @property
    def is_stuck(self) -> bool:
        """Whether the sink has been in one call for too long."""
        since = self._writer.counts.busy_since
        return bool(since) and time.monotonic() - since > STUCK_AFTER

    @property
    def lost(self) -> int:
        """How many records it has lost."""
        return self._queue.refused + self._writer.counts.lost + self._left

    def status(self) -> SinkStatus:
        """Return how it is doing."""
        counts, queued = self._writer.counts, self._queue.queued - self._left
        failing = counts.failing
        state: State = "writing" if queued else "waiting"
        if self.ended.is_set():
            state = "closed"
        elif self.is_stuck:
            state = "stuck"
        elif failing:
            state = "failing"
        return SinkStatus(
            name=self.name,
            kind=self.config.kind,
            state=state,
            queued=queued,
            queued_size=self._queue.queued_size if queued else 0,
            written=counts.written,
            lost=self.lost,
            failures=counts.failures,
            last_error=counts.last_error if failing else "",
            past_error="" if failing else counts.last_error,
            failed_at=counts.failed_at,
        )

    def _abandon(self) -> None:
        self._abandoned = True
        self._left = self._queue.queued
        self.ended.set()

    def _work(self, after: Runner | None) -> None:
        """Be the sink's thread."""
        # Signals are for the main thread, which a signal has to wake.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if after is not None:
            after.ended.wait(max(0.0, after.deadline - time.monotonic()))
        queue, writer = self._queue, self._writer
        while not self._abandoned:
            if self._reopen:
                self._reopen = False
                writer.reopen()
            batch = queue.take(self.config.batch_delay, writer.seconds_to_flush())
            if batch:
                self._write(batch)
            elif queue.closing.is_set():
                break
            if writer.seconds_to_flush() == 0.0:
                writer.flush()
        if not self._abandoned:
            writer.close()
        self.ended.set()

    def _write(self, batch: list[Record]) -> None:
        """Write a batch, as often as it takes."""
        queue, writer = self._queue, self._writer
        writer.take(batch, queue.refused)
        while pause := writer.attempt():
            if queue.closing.is_set():
                time.sleep(min(pause, LAST_PAUSE))
            else:
                queue.closing.wait(pause)
            if self._abandoned:
                return
        queue.done(batch)
