"""The access log: a line for each session that ended."""

from __future__ import annotations

import time

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent, Logger, LogLevel

from tcpd.events import SessionClosed
from tcpd.sinks.log_output import LogOutput
from tcpd.units import format_duration

# Not an attribute of the class: what such a logger calls itself is the class, whatever it is told.
log = Logger(namespace="tcpd.access")


class AccessLog:
    """Subscribes to `SessionClosed` and writes each to the daemon's log, under `tcpd.access`.

    Sessions may end by the thousand a second, so their lines go straight to our own log, those of
    one turn of the loop together. Where the log is not ours they go through `twisted.logger`.

    Args:
        output: our log, or None.
        clock: tells when the turn is over.
    """

    def __init__(self, output: LogOutput | None, clock: IReactorTime) -> None:
        self._output = output
        self._clock = clock

    def __call__(self, event: SessionClosed) -> None:
        """Write one session's line."""
        if self._output is None:
            log.info("{message}", message=access_line(event), record=event.fields())
            return
        line: LogEvent = {
            "log_time": time.time(),
            "log_level": LogLevel.info,
            "log_namespace": log.namespace,
            "log_format": "{message}",
            "message": access_line(event),
            "record": event.fields,  # which JSON asks for, and text doesn't
        }
        if self._output.gather(line):
            self._clock.callLater(0, self._output.flush)


def access_line(event: SessionClosed) -> str:
    """Return what the access log says of a session, for people."""
    who = event.identity
    return (
        f"{who.peer} -> {who.listener} ({who.handler}): {event.bytes_in} bytes in,"
        f" {event.bytes_out} out, {format_duration(event.duration)}, {event.reason}"
        f" [{who.session_id}]"
    )
