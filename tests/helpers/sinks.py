"""Events, records, and sinks that misbehave, for tests of sinks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tcpd.event_names import EventPattern
from tcpd.events import HandlerEvent, Identity, SessionClosed
from tcpd.sinks.record import Record, Source
from tcpd.sinks.runner import SinkStatus
from tcpd.sinks.settings import Retry, SinkConfig
from tcpd.sinks.sink import Sink
from tcpd.units import Seconds

PATIENCE = 20.0
NOON = 1_790_000_000 * 10**9 + 123_456_789  # 2026-09-21T14:13:20.123456Z
SOURCE = Source(host="gw1", run="ab12cd34")
WELL = SinkStatus(
    name="db", kind="sqlite", state="waiting", queued=0, queued_size=0,
    written=0, lost=0, failures=0, last_error="", past_error="", failed_at=None,
)  # fmt: skip


def identity(number: int = 1, listener: str = "main", address: str = "192.0.2.1") -> Identity:
    return Identity(
        session_id=f"ab12cd34-{number}",
        listener=listener,
        handler="echo",
        client_address=address,
        client_port=5000,
        local_address="192.0.2.9:80",
    )


def closed(number: int = 1, listener: str = "main", address: str = "192.0.2.1") -> SessionClosed:
    return SessionClosed(
        identity=identity(number, listener, address),
        bytes_in=10,
        bytes_out=20,
        duration=1.5,
        reason="peer-closed",
    )


def said(name: str, **data: Any) -> HandlerEvent:
    return HandlerEvent(identity=identity(), name=name, data=data)


def record(number: int = 1, time_ns: int = NOON, event: Any = None, **kwargs: Any) -> Record:
    return Record(event or closed(number, **kwargs), time_ns, number, SOURCE)


def records(count: int, first: int = 1) -> list[Record]:
    return [record(number) for number in range(first, first + count)]


def until(condition: Callable[[], object]) -> None:
    """Wait until something holds that other threads bring about."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.002)


@dataclass
class Script(Sink):
    """Does with each call what the test says: `fail` maps a call's name to errors, in turn."""

    fail: dict[str, list[BaseException]] = field(default_factory=dict)
    flush_every: float = 1000.0
    calls: list[str] = field(default_factory=list)
    written: list[Record] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    gate: threading.Event | None = None
    """Blocks `write` until it is set."""

    def _play(self, call: str) -> None:
        self.calls.append(call)
        if errors := self.fail.get(call):
            raise errors.pop(0)

    def open(self) -> None:
        self._play("open")

    def write(self, batch: Sequence[Record]) -> None:
        if self.gate is not None:
            self.calls.append("blocked")
            self.gate.wait()
        self._play("write")
        self.batches.append(len(batch))
        self.written.extend(batch)

    def flush(self) -> None:
        self._play("flush")

    def reopen(self) -> None:
        self._play("reopen")

    def close(self) -> None:
        self._play("close")

    @property
    def numbers(self) -> list[int]:
        """The sessions whose records it has."""
        return [int(each.event.identity.session_id.split("-")[1]) for each in self.sessions]

    @property
    def sessions(self) -> list[Any]:
        return [each for each in self.written if hasattr(each.event, "identity")]


def config(sink: Sink, **settings: Any) -> SinkConfig:
    """Return a configuration under which nothing takes long."""
    quick: dict[str, Any] = {
        "batch_delay": Seconds(0.0),
        "retry": Retry(initial=Seconds(0.01), max=Seconds(0.02)),
    }
    settings["events"] = tuple(map(EventPattern, settings.get("events", ("*",))))
    return SinkConfig(kind=type(sink).__name__, sink=sink, **{**quick, **settings})
