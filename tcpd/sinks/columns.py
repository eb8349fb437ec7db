"""The columns that records have in a table of a database, whichever database it is."""

from __future__ import annotations

from tcpd.events import HandlerEvent
from tcpd.sinks.record import Record

COLUMNS = (
    "time",
    "name",
    "host",
    "run",
    "sequence",
    "session",
    "listener",
    "handler",
    "client_address",
    "client_port",
    "bytes_in",
    "bytes_out",
    "duration",
    "reason",
    "record",
)
"""The names of the columns. `host`, `run` and `sequence` together are unique."""


def row_of(record: Record) -> tuple[object, ...]:
    """Return a record's values in the order of the columns; what it doesn't say is None.

    `listener` is the connector's name for a connector's session; `reason` is why a session ended or
    didn't begin; `record` is all of it, as JSON.

    What a handler gave is in `record` alone, whatever it is called: a column has a type, which a
    handler's `duration="5m"` hasn't, and says what tcpd says.
    """
    event = record.event
    fields = event.identity.fields() if isinstance(event, HandlerEvent) else record.fields
    get = fields.get
    return (
        record.time,
        record.name,
        record.source.host,
        record.source.run,
        record.sequence,
        get("session.id"),
        get("listener") or get("connector"),
        get("handler"),
        get("client.address"),
        get("client.port"),
        get("bytes.in"),
        get("bytes.out"),
        get("duration"),
        get("close.reason") or get("refuse.reason"),
        record.line,
    )
