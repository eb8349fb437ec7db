"""What is reloaded."""

from __future__ import annotations

from typing import Protocol

from tcpd.config.schema import AdminConfig, Config, ConnectorConfig, ListenerConfig
from tcpd.connector import Connector
from tcpd.events import Bus
from tcpd.listener import Listener
from tcpd.roster import Roster
from tcpd.sinks.hub import Sinks
from tcpd.sinks.log_switch import LogSwitch


class House(Protocol):
    """Where listeners and connectors are at home: the daemon.

    Attributes:
        config: what it was told last, with the handlers that run.
        roster: its listeners and connectors, as they come and go.
        listeners: by name.
        connectors: by name.
        bus: where events go.
        log_switch: the log, if it is ours.
        sinks: what writes events down.
    """

    config: Config
    roster: Roster
    listeners: dict[str, Listener]
    connectors: dict[str, Connector]
    bus: Bus
    log_switch: LogSwitch | None
    sinks: Sinks

    @property
    def is_up(self) -> bool:
        """Whether it runs, and isn't about to stop."""

    @property
    def gave_up_privileges(self) -> bool:
        """Whether the process had more privileges when it began."""

    def make_listener(self, name: str, config: ListenerConfig) -> Listener:
        """Return a listener that isn't open, or raise TcpdError."""

    def make_admin_listener(self, config: AdminConfig) -> Listener:
        """Return the listener of the admin side, not open, or raise TcpdError."""

    def make_connector(self, name: str, config: ConnectorConfig) -> Connector:
        """Return a connector that isn't started, or raise TcpdError."""

    def configured(self, config: Config) -> None:
        """Take note of the configuration that holds from now on."""

    def status(self) -> str:
        """Return a line for the service manager."""
