"""The access log: a line for each session that ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent, Logger, LogLevel

from tcpd.events import host_and_port
from tcpd.session import Session, address_and_port
from tcpd.sinks.log_format import Formatter, InfoFormatter
from tcpd.sinks.log_output import LogOutput
from tcpd.units import format_duration

# Not an attribute of the class: what such a logger calls itself is the class, whatever it is told.
log = Logger(namespace="tcpd.access")


class AccessLog:
    """Heeds the ends of sessions and writes each to the daemon's log, under `tcpd.access`.

    Sessions may end by the thousand a second, so the lines of one turn of the loop are made and
    written together, at its end, and go straight to our own log. Where the log is not ours they go
    through `twisted.logger`, each at once.

    Args:
        output: our log, or None.
        clock: tells when the turn is over.
    """

    def __init__(self, output: LogOutput | None, clock: IReactorTime) -> None:
        self._output = output
        self._clock = clock
        self._line: Callable[[Session], str] | None = None
        if output is not None:
            info = output.info
            self._line = partial(_whole, output.format) if info is None else partial(_bare, info)

    def __call__(self, session: Session) -> None:
        """Write one session's line."""
        if self._output is None or self._line is None:
            log.info("{message}", message=access_line(session), record=session.record().fields())
        elif self._output.gather(partial(self._line, session)):
            self._clock.callLater(0, self._output.flush)


def _bare(info: InfoFormatter, session: Session) -> str:
    return info(time.time(), access_line(session))


def _whole(formatter: Formatter, session: Session) -> str:
    event: LogEvent = {
        "log_time": time.time(),
        "log_level": LogLevel.info,
        "log_namespace": log.namespace,
        "log_format": "{message}",
        "message": access_line(session),
        "record": session.record().fields(),
    }
    return formatter(event)


def access_line(session: Session) -> str:
    """Return what the access log says of a session that has ended, for people."""
    origin, transport = session.origin, session.transport
    peer = host_and_port(*address_and_port(transport.getPeer()))
    return (
        f"{peer} -> {origin.name} ({origin.handler}): {transport.bytes_in} bytes in,"
        f" {transport.bytes_out} out, {format_duration(session.ended - session.opened)},"
        f" {session.close_reason} [{session.id}]"
    )
