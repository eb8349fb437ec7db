"""The connectors' part of a reload: which connection is kept, and which is made anew."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from tcpd.config.schema import ConnectorConfig
from tcpd.connector import Connector
from tcpd.errors import StartError
from tcpd.reload.house import House

# What leaves the connection alone when it changes: it counts from the next one on.
_LEAVES_CONNECTION = frozenset(("reconnect", "deadlines", "capture"))


class ConnectorsChange:
    """The change from the connectors that run to those that shall run.

    Args:
        running: by name.
        fresh: by name, not started.
        changed: for each name that is there before and after, the first keys that differ.
        configs: the new configuration of each.
    """

    def __init__(
        self,
        running: Mapping[str, Connector],
        fresh: Mapping[str, Connector],
        changed: Mapping[str, set[str]],
        configs: Mapping[str, ConnectorConfig],
    ) -> None:
        self._running = running
        self._fresh = fresh
        self._changed = changed
        self._configs = configs
        self._kept = {name for name in running.keys() & fresh.keys() if self._goes_on(name)}

    def _goes_on(self, name: str) -> bool:
        """Return whether a connector keeps its connection."""
        changed, running = self._changed[name], self._running[name]
        if running.serving.factory is not self._fresh[name].serving.factory:
            return False
        if changed and running.state == "gave-up":
            return False  # it is worth another try
        return changed <= _LEAVES_CONNECTION

    @property
    def replaced(self) -> set[str]:
        """The names of those that are stopped and started anew."""
        return (self._running.keys() & self._fresh.keys()) - self._kept

    def prepare(self, undo: ExitStack) -> list[StartError]:
        """Start the handlers of those that are new; gives all that failed.

        Args:
            undo: what undoes it.
        """
        problems = []
        for name, connector in self._fresh.items():
            if name in self._kept:
                continue
            try:
                connector.start_handler()
            except StartError as error:
                problems.append(error)
            else:
                undo.callback(connector.stop_handler)
        return problems

    def commit(self, house: House) -> None:
        """Have the new connectors run. Nothing here fails."""
        new = [each for name, each in self._fresh.items() if name not in self._running]
        for name, running in tuple(self._running.items()):
            fresh = self._fresh.get(name)
            if fresh is None:
                house.roster.leave(running)
            elif name in self._kept:
                changed = self._changed[name]
                terms = fresh.serving.terms if "deadlines" in changed else None
                running.change(self._configs[name].reconnect, terms)
                running.renew_tls(fresh)
            else:
                house.roster.replace(running, fresh)
        for fresh in new:
            house.roster.join(fresh)
