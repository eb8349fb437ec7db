"""The access log: a line for each session that ended."""

from __future__ import annotations

from twisted.logger import Logger

from tcpd.events import SessionClosed
from tcpd.units import format_duration

# Not an attribute of the class: what such a logger calls itself is the class, whatever it is told.
log = Logger(namespace="tcpd.access")


class AccessLog:
    """Subscribes to `SessionClosed` and writes each to the daemon's log, under `tcpd.access`."""

    def __call__(self, event: SessionClosed) -> None:
        """Write one session's line."""
        who = event.identity
        log.info(
            "{peer} -> {listener} ({handler}): {bytes_in} bytes in, {bytes_out} out, {duration},"
            " {reason} [{session}]",
            peer=who.peer,
            listener=who.listener,
            handler=who.handler,
            bytes_in=event.bytes_in,
            bytes_out=event.bytes_out,
            duration=format_duration(event.duration),
            reason=event.reason,
            session=who.session_id,
            record=event.fields(),
        )
