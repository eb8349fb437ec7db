"""The access log: a line for each session that ended."""

from __future__ import annotations

from typing import ClassVar

from twisted.logger import Logger

from tcpd.events import SessionClosed
from tcpd.units import format_duration


class AccessLog:
    """Subscribes to `SessionClosed` and writes each to the daemon's log, under `tcpd.access`."""

    log: ClassVar[Logger] = Logger(namespace="tcpd.access")

    def __call__(self, event: SessionClosed) -> None:
        """Write one session's line."""
        who = event.identity
        self.log.info(
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
