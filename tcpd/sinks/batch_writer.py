"""Puts batches into a sink, and decides what becomes of one that wouldn't go in.

Rules:
- Nothing that a sink raises comes out of here.
- A batch that may be tried again stays in hand until it is written: nothing is lost by waiting.
- Any other failure loses the batch, and is counted. Either way the sink is opened anew.
- Once records were lost, the next batch begins with a record that says how many.

It knows no threads; whoever calls it may block as long as the sink does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tcpd.escape import escape_text
from tcpd.sinks.record import Record, SinkLost
from tcpd.sinks.settings import Retry
from tcpd.sinks.sink import Sink, TryAgainError

# After so many records have got their JSON, other threads may run: making a whole batch's at one
# go would hold up the reactor's thread for milliseconds.
PACE = 8


@dataclass(slots=True)
class Counts:
    """What became of a sink's records; one thread writes it, any may read it."""

    written: int = 0
    """Records that the sink has taken."""
    lost: int = 0
    """Records that it has failed on for good."""
    failures: int = 0
    """How many of its calls have failed."""
    failing: bool = False
    """Whether the last of them did."""
    last_error: str = ""
    """Why the last that failed did; empty if none has."""
    failed_at: float | None = None
    """When it did, in seconds since 1970."""
    busy_since: float = 0.0
    """When the call began that it is in, in seconds of the clock; 0 if it is in none."""


class BatchWriter:
    """Writes to one sink.

    Args:
        sink: the sink.
        retry: the pauses between tries.
        say_lost: makes the record that says how many are missing.
        clock: tells the time in seconds.

    Attributes:
        counts: what became of its records.
        in_hand: the records that are still to be written.
        missing: how many were lost that no record has told of yet; others may add to it.
    """

    def __init__(
        self,
        sink: Sink,
        retry: Retry,
        say_lost: Callable[[int], Record],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self.in_hand: Sequence[Record] = ()
        self._sink = sink
        self._retry = retry
        self._say_lost = say_lost
        self._clock = clock
        self._open = False
        self._failures = 0
        self._unflushed_since: float | None = None
        self._told = 0

    def take(self, batch: Sequence[Record], refused: int) -> None:
        """Take a batch in hand; the one before must be done with.

        Args:
            batch: the records.
            refused: how many others didn't even get here, in all.
        """
        for number, record in enumerate(batch, 1):
            record.line  # noqa: B018  (it is kept)
            if number % PACE == 0:
                time.sleep(0)
        missing = refused + self.counts.lost - self._told
        self._told += missing
        self.in_hand = [self._say_lost(missing), *batch] if missing else batch

    def attempt(self) -> float:
        """Try to write what is in hand.

        Returns:
            The seconds until the next try, or 0 if nothing is in hand any more.
        """
        if not self._ready():
            return self._pause()
        try:
            self._call(self._sink.write, self.in_hand)
        except TryAgainError as error:
            self._failed(error)
            self._count_written(self.in_hand[: error.written])
            self.in_hand = self.in_hand[error.written :]
            return self._pause() if self.in_hand else 0.0
        except BaseException as error:  # a sink may raise SystemExit, for all we know
            self._failed(error)
            self._count_lost()
            return 0.0
        self._count_written(self.in_hand)
        self.in_hand = ()
        self._failures = 0
        self.counts.failing = False
        if self._unflushed_since is None:
            self._unflushed_since = self._clock()
        return 0.0

    def seconds_to_flush(self) -> float | None:
        """Return the seconds until a flush is due, or None if there is nothing to flush."""
        if self._unflushed_since is None:
            return None
        return max(0.0, self._unflushed_since + self._sink.flush_every - self._clock())

    def flush(self) -> None:
        """Have the sink make sure of what it has."""
        self._unflushed_since = None
        self._guarded(self._sink.flush)

    def reopen(self) -> None:
        """Have the sink open its files anew."""
        if self._open:
            self._guarded(self._sink.reopen)

    def close(self) -> None:
        """Have the sink let go of everything, after a last flush."""
        if self._unflushed_since is not None:
            self.flush()
        if self._open:
            self._guarded(self._sink.close)
        self._open = False

    def _ready(self) -> bool:
        """Return whether the sink is open, after opening it if need be."""
        if not self._open:
            try:
                self._call(self._sink.open)
            except BaseException as error:
                self._failed(error)
                return False
            self._open = True
        return True

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            self._call(call)
        except BaseException as error:
            self._failed(error)

    def _call(self, call: Callable[..., None], *arguments: object) -> None:
        self.counts.busy_since = self._clock()
        try:
            call(*arguments)
        finally:
            self.counts.busy_since = 0.0

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        self.counts.failures += 1
        self.counts.failing = True
        self.counts.last_error = _in_words(error)
        self.counts.failed_at = time.time()
        self._open = False
        self._unflushed_since = None
        try:
            self._call(self._sink.close)
        except BaseException:  # noqa: S110  (there is a reason to tell already)
            pass

    def _pause(self) -> float:
        return self._retry.pause(self._failures)

    def _count_written(self, records: Sequence[Record]) -> None:
        self.counts.written += len(records) - _tellers(records)

    def _count_lost(self) -> None:
        records, self.in_hand = self.in_hand, ()
        self.counts.lost += len(records) - _tellers(records)
        if _tellers(records):
            event = records[0].event
            self._told -= event.lost if isinstance(event, SinkLost) else 0  # nobody was told


def _tellers(records: Sequence[Record]) -> int:
    """Return how many of the records are no events, but tell of those that are missing."""
    return 1 if records and isinstance(records[0].event, SinkLost) else 0


def _in_words(error: BaseException) -> str:
    """Return an error for people, on one line."""
    text = escape_text(str(error).strip(), limit=300)
    if isinstance(error, TryAgainError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
