"""What is seen and operated: the daemon, as far as views and controls know it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

from tcpd.capture.captures import Captures
from tcpd.config.schema import Config
from tcpd.connector import Connector
from tcpd.events import Bus
from tcpd.listener import Listener
from tcpd.serving import Serving
from tcpd.session import Session
from tcpd.sinks.hub import Sinks
from tcpd.sinks.log_switch import LogSwitch
from tcpd.tally import Tallies
from tcpd.vitals import Vitals

State = Literal["starting", "running", "draining", "stopping"]


class House(Protocol):
    """Where listeners, connectors and sinks are at home: the daemon.

    Attributes:
        config: what it was told last.
        bus: where events go.
        listeners: by name.
        connectors: by name.
        sinks: what writes events down.
        captures: what writes sessions' bytes down.
        log_switch: the log, if it is ours.
        tallies: what has come and gone.
        vitals: how the process fares.
    """

    config: Config
    bus: Bus
    listeners: dict[str, Listener]
    connectors: dict[str, Connector]
    sinks: Sinks
    captures: Captures
    log_switch: LogSwitch | None
    tallies: Tallies
    vitals: Vitals

    @property
    def reactor(self) -> Any:
        """The reactor."""

    @property
    def state(self) -> State:
        """What the daemon as a whole does."""

    @property
    def drain_limit(self) -> float:
        """How many seconds sessions may take to finish."""

    def servings(self) -> Iterator[Serving]:
        """Give what makes sessions: also what a reload has removed, while it has some."""

    def reload(self) -> bool:
        """Read the configuration again; gives whether it holds now (`vitals.last_reload`)."""

    def configured(self, config: Config) -> None:
        """Take note of the configuration that holds from now on."""


def sessions_of(house: House, listener: str = "") -> list[Session]:
    """Return the open sessions, the oldest first of each; those of one listener or connector only.

    Args:
        house: where they are.
        listener: the name of a listener or connector; empty for all.
    """
    return [
        session
        for serving in house.servings()
        if not listener or serving.origin.name == listener
        for _, lot in serving.lots()
        for session in lot
    ]


def find_session(house: House, session_id: str) -> Session | None:
    """Return an open session by its id; None if there is none such."""
    run, _, number = session_id.rpartition("-")
    if not run or not number.isascii() or not number.isdecimal() or len(number) > 20:
        return None
    for serving in house.servings():
        for origin in serving.origins():
            session = origin.sessions.get(int(number))
            if session is not None and session.id == session_id:
                return session
    return None
