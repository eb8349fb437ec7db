"""What a sink is, for who writes one: docs/sinks.md is the guide.

Rules that the daemon keeps towards a sink:
- It has a thread of its own, and only that thread calls it, one call at a time. It may block.
- `write` comes only between `open` and `close`. After anything has failed the sink is closed and
  opened anew before it is written to again.
- Whatever it raises, and however long it takes, concerns its own records only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tcpd.sinks.record import Record


class TryAgainError(Exception):
    """The batch can't be written now, but may be later: a server is away, a disk is full.

    Args:
        problem: why, for people.
        written: how many of the batch's first records are written nevertheless; they don't come
            again.
    """

    def __init__(self, problem: object, written: int = 0) -> None:
        super().__init__(str(problem))
        self.written = written


class Sink(ABC):
    """Writes records somewhere.

    A sink is a dataclass that derives from this one. Its fields are its options, which are checked
    as those of handlers are: by their types, and by `__post_init__`. `__init__` opens nothing, as
    sinks are made for a mere check of the configuration too.
    """

    flush_every: float = 1.0
    """So many seconds after a write, at the latest, `flush` is called."""

    def open(self) -> None:  # noqa: B027  (most sinks need not)
        """Get ready to write: open the file, connect to the server.

        Raises:
            Exception: it can't; it is tried again after a pause, and what waits isn't lost.
        """

    @abstractmethod
    def write(self, batch: Sequence[Record]) -> None:
        """Write some records, at least one.

        Raises:
            TryAgainError: they can't be written now; those that are not come again after a pause.
            Exception: the whole batch is lost, and counted.
        """

    def flush(self) -> None:  # noqa: B027  (most sinks need not)
        """Make sure of what was written so far; called before `close` too.

        Raises:
            Exception: what was written may not be safe; it is counted as a failure.
        """

    def reopen(self) -> None:  # noqa: B027  (most sinks need not)
        """Open files anew, as something may have moved them away; called on SIGUSR1.

        Raises:
            Exception: it can't; the sink is closed, and opened before the next write.
        """

    def close(self) -> None:  # noqa: B027  (most sinks need not)
        """Let go of everything; called after a failure too, whatever it was."""
