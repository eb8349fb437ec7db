"""A sink that writes records to standard output, for a terminal, a pipe, or journald."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tcpd.sinks.log_output import runs_under_journald
from tcpd.sinks.record import Record
from tcpd.sinks.record_text import priority_of, text_of
from tcpd.sinks.sink import Sink, TryAgainError


@dataclass
class StandardOutput(Sink):
    """Write records to standard output, one a line."""

    format: Literal["text", "json"] = "text"
    """Lines for people, or an object a line for programs."""
    priorities: Literal["auto", "always", "never"] = "auto"
    """Whether a line begins with its priority, `<6>`; by default where journald reads it."""

    def __post_init__(self) -> None:
        self._fd = -1
        self._line: Callable[[Record], str] = _json if self.format == "json" else _text

    def open(self) -> None:
        """See where standard output goes."""
        stream = sys.__stdout__  # the process's own: twistd puts its log in the place of the other
        if stream is None:
            raise TryAgainError("there is no standard output")
        self._fd = stream.fileno()
        journald = runs_under_journald(os.environ, stream)
        if self.priorities == "always" or (self.priorities == "auto" and journald):
            # journald knows the time.
            line = _json if self.format == "json" else text_of
            self._line = lambda record: f"<{priority_of(record)}>{line(record)}"

    def write(self, batch: Sequence[Record]) -> None:
        """Write some records; waits for as long as the reader does."""
        for written, record in enumerate(batch):
            try:
                self._write_all(f"{self._line(record)}\n".encode("utf-8", "backslashreplace"))
            except OSError as error:
                raise TryAgainError(f"standard output: {error.strerror}", written) from error

    def _write_all(self, data: bytes) -> None:
        """Write a line, in one call where that is possible: the log may write there as well."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody who shares it has made it so
                ready = select.poll()
                ready.register(self._fd, select.POLLOUT)
                ready.poll()


def _json(record: Record) -> str:
    return record.line


def _text(record: Record) -> str:
    return f"{record.time} {text_of(record)}"
