"""Where log lines go: standard output, journald, or a file.

Rules:
- A file is created 0640, appended to, and never reached through a symbolic link.
- What can't be written (a full disk, a reader that doesn't read) is lost and counted; the next
  line that can be written says how many, in the log's own format.
- It never waits for long: a log must not stall what it reports on.
- Nothing here raises, for a log must not end what it reports on.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
)
from zope.interface import implementer

from tcpd.errors import TcpdError
from tcpd.sinks.log_format import (
    INFO,
    Formatter,
    InfoFormatter,
    format_journal,
    format_json,
    format_text,
)
from tcpd.sinks.repeats import Repeats

# Seconds that a reader may take to make room, as in a burst of lines; once it has failed to, it
# gets none until it has.
PATIENCE = 0.1

# Gives the line of an event.
Entry = Callable[[], str]


def runs_under_journald(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Return whether a stream goes to journald, as `JOURNAL_STREAM` says (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def open_log_file(path: Path, owner: tuple[int, int] | None = None) -> TextIO:
    """Open a log file for appending; created if it isn't there.

    Args:
        path: where it is.
        owner: the user and group that it is given to if it is created; None for our own.

    Raises:
        TcpdError: it can't be opened, or is a symbolic link.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    flags |= os.O_NONBLOCK  # a FIFO that nobody reads is an error, and nothing to wait for
    try:
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o640)
        except FileExistsError:
            descriptor = os.open(path, flags)
        else:
            if owner is not None:
                os.fchown(descriptor, *owner)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise TcpdError(
                f"cannot write the log to {str(path)!r}: it is a symbolic link; name its target"
            ) from None
        raise TcpdError(f"cannot write the log to {str(path)!r}: {error.strerror}") from None
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")


@implementer(ILogObserver)
class LogOutput:
    """Writes log events to a stream, each at once, but for those it is asked to gather.

    Args:
        formatter: makes the line of an event.
        stream: where lines go.
        path: the file behind the stream, if it is one that `reopen` may open again.

    Attributes:
        format: the formatter.
        lost: how many events could not be written since the last that could.
    """

    def __init__(self, formatter: Formatter, stream: TextIO, path: Path | None = None) -> None:
        self.format = formatter
        self._stream = stream
        self._path = path
        self.lost = 0
        self._broken_off = False
        self._gathered: list[Entry] = []

    def __call__(self, event: LogEvent) -> None:
        """Write one event, after those that were gathered."""
        self._gathered.append(partial(self.format, event))
        self.flush()

    @property
    def info(self) -> InfoFormatter | None:
        """What makes the line of a mere message, for `gather`; None where a line is more."""
        return INFO.get(self.format)

    def gather(self, entry: Entry) -> bool:
        """Keep an event until the next `flush`, to be made and written together with others.

        Args:
            entry: gives its line, made by `format` or `info`.

        Returns:
            Whether it is the first, so that somebody has to see to a `flush`.
        """
        self._gathered.append(entry)
        return len(self._gathered) == 1

    def flush(self) -> None:
        """Write what was gathered."""
        entries, self._gathered = self._gathered, []
        if not entries:
            return
        try:
            text = "".join([entry() for entry in entries])
            if self.lost:
                text = self.format(self._loss()) + text
            if self._broken_off:
                text = "\n" + text
            self._stream.flush()
            self._write(text.encode("utf-8", "backslashreplace"))
        except Exception:
            self.lost += len(entries)
        else:
            self.lost = 0

    def _loss(self) -> LogEvent:
        return {
            "log_time": time.time(),
            "log_level": LogLevel.warn,
            "log_namespace": __name__,
            "log_format": "log records lost before this one, since they could not be"
            " written: {lost}",
            "lost": self.lost,
            "record": {"lost": self.lost},
        }

    def _write(self, data: bytes) -> None:
        """Write past any buffer, so that what failed leaves nothing behind to come out later."""
        descriptor = self._stream.fileno()
        ready = select.poll()
        ready.register(descriptor, select.POLLOUT)
        while data:
            if not ready.poll(0 if self.lost else PATIENCE * 1000):
                raise BlockingIOError
            # As much as a pipe or socket that is ready takes at once (pipe(7)).
            written = os.write(descriptor, data[: select.PIPE_BUF])
            data = data[written:]
            self._broken_off = bool(data)

    def reopen(self) -> None:
        """Open the file anew, after something has moved it away; keep the old one if that fails."""
        if self._path is None:
            return
        self.flush()
        fresh = open_log_file(self._path)
        self._stream, old = fresh, self._stream
        old.close()

    def close(self) -> None:
        """Write what was gathered, and close the file, if it is one."""
        self.flush()
        if self._path is not None:
            self._stream.close()


def with_level(output: LogOutput, level_name: str) -> ILogObserver:
    """Return an observer that passes on events of this level (`debug` to `critical`) and above.

    Of failures that are repeated it passes on the first few and how many there are (`Repeats`).
    """
    level = LogLevel.levelWithName(level_name)
    predicate = LogLevelFilterPredicate(defaultLogLevel=level)
    # Connectors report their states themselves, once each; this one would add a line a try.
    quiet = LogLevel.warn if level < LogLevel.warn else level
    predicate.setLogLevelForNamespace("twisted.application._client_service.ClientService", quiet)
    observer: ILogObserver = FilteringLogObserver(Repeats(output), [predicate])
    return observer


def choose_log_output(
    form: Literal["text", "json"],
    file: Path | None,
    environ: Mapping[str, str],
    owner: tuple[int, int] | None = None,
) -> LogOutput:
    """Return where the log goes.

    Args:
        form: how lines look.
        file: the file to append to; None for standard output.
        environ: the environment, which says whether journald reads our standard output.
        owner: the user and group that a new file is given to, for a process that is about to
            become theirs.

    Raises:
        TcpdError: the file can't be opened.
    """
    formatter = format_json if form == "json" else format_text
    if file is not None:
        return LogOutput(formatter, open_log_file(file, owner), file)
    # The process's own, for sys.stdout becomes a part of the log.
    stream = sys.__stdout__ or sys.stdout
    if form == "text" and runs_under_journald(environ, stream):
        formatter = format_journal
    return LogOutput(formatter, stream)
