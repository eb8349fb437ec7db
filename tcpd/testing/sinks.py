"""For who writes a sink: records to write, and a check of the contract."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from tcpd.events import Event, HandlerEvent, Identity, SessionClosed
from tcpd.sinks.record import Record, Source
from tcpd.sinks.sink import Sink

_SOURCE = Source(host="host.example", run="5eed5eed")
_numbers = itertools.count(1)


def make_record(name: str = "session.closed", /, **data: object) -> Record:
    """Return a record of a session from 192.0.2.1 that listener `main` has had.

    Args:
        name: `session.closed`, or what a handler calls an event of its own.
        data: what the handler says.
    """
    number = next(_numbers)
    identity = Identity(
        session_id=f"{_SOURCE.run}-{number}",
        listener="main",
        handler="echo",
        client_address="192.0.2.1",
        client_port=49152,
        local_address="192.0.2.9:9999",
    )
    event: Event = HandlerEvent(identity=identity, name=name, data=data)
    if name == "session.closed":
        event = SessionClosed(
            identity=identity, bytes_in=5, bytes_out=7, duration=0.25, reason="peer-closed"
        )
    return Record(event, time.time_ns(), number, _SOURCE)


def check_sink(sink: Sink, count: Callable[[], int]) -> None:
    """Check that a sink keeps the contract: it can be closed in any state, and opened again.

    Args:
        sink: the sink, not open.
        count: returns how many records are there, wherever it writes.

    Raises:
        AssertionError: records are missing, or there are too many.
    """
    before, written = count(), 0

    def write(number: int) -> None:
        nonlocal written
        sink.write([make_record() for _ in range(number)])
        written += number

    def check(when: str) -> None:
        found = count() - before
        assert found == written, f"{when}: {written} records were written, {found} are there"  # noqa: S101

    sink.close()  # as after an `open` that failed
    for turn in ("opened", "opened again"):
        sink.open()
        write(1)
        write(3)
        sink.flush()
        check(f"{turn} and flushed")
        sink.flush()
        sink.reopen()
        write(2)
        sink.close()
        check(f"{turn} and closed")
        sink.close()
    sink.open()
    sink.write(
        [make_record("peer said", text="caf\u00e9\n\x1b[2J", bytes=b"\0\xff", more=[1, None])]
    )
    written += 1
    sink.close()
    check("a handler's own event")
