"""A sink that writes records to the systemd journal, each field as a field of its own.

`journalctl TCPD_CLIENT_ADDRESS=192.0.2.1` then finds what concerns a client.
"""

from __future__ import annotations

import json
import socket as sockets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tcpd.events import HandlerEvent
from tcpd.sinks.journal_protocol import SOCKET, encode, field_name, send
from tcpd.sinks.record import Record
from tcpd.sinks.record_text import message_of, priority_of
from tcpd.sinks.sink import Sink, TryAgainError

# The journal's own names for what it knows itself: a peer can't set those, nor can a handler.
_KNOWN_TO_IT = frozenset(("host.name", "time"))
_OURS = ("event.name", "event.sequence", "service.instance.id")


@dataclass
class Journal(Sink):
    """Write records to the systemd journal, with fields of their own."""

    identifier: str = "tcpd"
    """What `journalctl -t` finds them by."""
    socket: Path = Path(SOCKET)
    """journald's socket."""

    def __post_init__(self) -> None:
        self._connection: sockets.socket | None = None

    def open(self) -> None:
        """Connect to journald."""
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM)
        self._connection = connection
        try:
            connection.connect(str(self.socket))
        except OSError as error:
            raise TryAgainError(f"{self.socket}: {error.strerror}") from error

    def write(self, batch: Sequence[Record]) -> None:
        """Send some records, a datagram each; waits while journald is busy."""
        if self._connection is None:
            raise TryAgainError("it isn't open")
        for number, record in enumerate(batch):
            try:
                send(self._connection, encode(self._fields(record)))
            except OSError as error:
                raise TryAgainError(f"{self.socket}: {error.strerror}", number) from error

    def close(self) -> None:
        """Close the socket."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _fields(self, record: Record) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", message_of(record)
        yield "PRIORITY", str(priority_of(record))
        yield "SYSLOG_IDENTIFIER", self.identifier
        fields = record.fields
        named = {field_name(key): value for key, value in fields.items() if key not in _KNOWN_TO_IT}
        if isinstance(record.event, HandlerEvent):
            # The journal has fewer letters for names: a handler's `client-address` is no address.
            for key in (*_OURS, *record.event.identity.fields()):
                named[field_name(key)] = fields[key]
        for name, value in named.items():
            yield name, value if isinstance(value, str) else json.dumps(value)
