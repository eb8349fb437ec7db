"""What the log says of a sink in trouble: that it began, how it goes on, and that it is over.

Rules:
- The log gets two lines for the shortest trouble, and one every `SUMMARY` seconds for a long one,
  however many records are lost.
- It only looks at numbers, from time to time; a sink's own thread never logs.
"""

from __future__ import annotations

from twisted.logger import Logger

from tcpd.sinks.runner import Runner, SinkStatus

# Seconds between the lines about a trouble that goes on.
SUMMARY = 60.0
# Seconds without a failure or a loss after which it is over.
QUIET = 5.0


class Trouble:
    """Watches one sink for the log.

    Args:
        runner: the sink at work.
    """

    log = Logger(namespace="tcpd.sinks")

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._seen = (0, 0)
        self._lost_before = 0
        self._lost_said = 0
        self._bad_at = 0.0
        self._said_at: float | None = None

    def look(self, now: float) -> None:
        """Log what is to be said at a time, in seconds; called about once a second."""
        status = self._runner.status()
        seen = (status.failures, status.lost)
        is_bad = seen != self._seen or status.state in ("failing", "stuck")
        self._seen = seen
        if is_bad:
            self._bad_at = now
        if self._said_at is None:
            if is_bad:
                self._say_first(status, now)
        elif not is_bad and now - self._bad_at >= QUIET:
            self._say_last(status)
        elif now - self._said_at >= SUMMARY:
            self._say_more(status, now)

    def _say_first(self, status: SinkStatus, now: float) -> None:
        self._said_at = now
        self._lost_said = status.lost
        self.log.warn(
            "the sink {sink} is in trouble: {why}; {lost} records lost, {queued} wait",
            sink=status.name,
            why=_why(status),
            lost=status.lost - self._lost_before,
            queued=status.queued,
        )

    def _say_more(self, status: SinkStatus, now: float) -> None:
        self._said_at = now
        lost, self._lost_said = status.lost - self._lost_said, status.lost
        self.log.warn(
            "the sink {sink} is still in trouble: {why}; {lost} more records lost, {queued} wait",
            sink=status.name,
            why=_why(status),
            lost=lost,
            queued=status.queued,
        )

    def _say_last(self, status: SinkStatus) -> None:
        self._said_at = None
        lost = status.lost - self._lost_before
        self._lost_before = self._lost_said = status.lost
        self.log.info(
            "the sink {sink} is well again; {lost} records were lost", sink=status.name, lost=lost
        )

    def say_end(self) -> None:
        """Log what a sink that has ended didn't write."""
        status = self._runner.status()
        lost = status.lost - self._lost_said
        if lost:
            self.log.warn(
                "the sink {sink} has ended; {lost} records that it had not written are lost{why}",
                sink=status.name,
                lost=lost,
                why=f": {error}" if (error := _error(status)) else "",
            )


def _why(status: SinkStatus) -> str:
    if status.state == "stuck":
        return "it doesn't come back from what it does"
    return _error(status) or "more comes than it can write, and its queue is full"


def _error(status: SinkStatus) -> str:
    return status.last_error or status.past_error
