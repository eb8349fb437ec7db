"""Who is in the house: the listeners and connectors of a daemon, as they come and go.

Rules:
- A listener that leaves closes its ports; its sessions go on, and are known until the last is over.
- A connector that takes another's place starts once the other is done: the far side may want no
  more than one of us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred, succeed

from tcpd.admission.sweep import GRACE, Sweep
from tcpd.config.schema import ADMIN
from tcpd.connector import Connector
from tcpd.listener import Listener
from tcpd.serving import Serving
from tcpd.session import Session


class Roster:
    """The list.

    Args:
        parent: the service that all of them are parts of.
        sweep: what sees to their deadlines.
        no_admin: called when the admin side's listener leaves.

    Attributes:
        listeners: by name.
        connectors: by name.
        aside: listeners of our own, whose sessions are nobody's business: the admin side.
    """

    def __init__(self, parent: MultiService, sweep: Sweep, no_admin: Callable[[], object]) -> None:
        self._parent = parent
        self._sweep = sweep
        self._no_admin = no_admin
        self.listeners: dict[str, Listener] = {}
        self.connectors: dict[str, Connector] = {}
        self.aside: dict[str, Listener] = {}
        # What a reload has removed, until the last connection is gone.
        self._departing: list[Serving] = []
        # Of connectors that have left, by name: what fires when their connection has closed.
        self._closing: dict[str, Deferred[Any]] = {}

    def all_listeners(self) -> Iterator[Listener]:
        """Give the listeners, our own too."""
        yield from self.listeners.values()
        yield from self.aside.values()

    def servings(self) -> Iterator[Serving]:
        """Give what makes sessions, as long as it may have some; not that of our own listeners."""
        for listener in self.listeners.values():
            yield listener.serving
        for connector in self.connectors.values():
            yield connector.serving
        yield from self._departing

    def sessions_of(self, name: str) -> Iterator[Session]:
        """Give the open sessions of a listener or a connector."""
        for serving in self.servings():
            if serving.origin.name == name:
                for _, sessions in serving.lots():
                    yield from tuple(sessions)

    def join(self, service: Listener | Connector) -> None:
        """Take in a listener or a connector. In a daemon that runs, a listener is open already.

        There, a connector starts, but not before one of its name that has left is done.
        """
        name = service.serving.origin.name
        self._table_of(service)[name] = service
        self._sweep.watch(service.serving)
        closing = self._closing.get(name)
        if isinstance(service, Connector) and closing is not None:
            closing.addBoth(lambda _: self._start(service))
        else:
            service.setServiceParent(self._parent)

    def leave(self, service: Listener | Connector) -> Deferred[object]:
        """Let go of a listener, whose sessions go on, or of a connector, whose connection ends.

        Returns:
            A Deferred that fires when it has closed its ports, or its connection.
        """
        serving = service.serving
        table = self._table_of(service)
        table.pop(serving.origin.name, None)
        if table is not self.aside:
            self._departing.append(serving)
        else:
            self._no_admin()
        leaving: Deferred[object]
        if service.parent is not None:
            leaving = maybeDeferred(service.disownServiceParent)
            if isinstance(service, Connector):
                name = serving.origin.name
                self._closing[name] = leaving
                service.cut_after(GRACE)
                leaving.addBoth(lambda _: self._closing.__delitem__(name))
        else:  # a connector that waits for its forerunner to have stopped
            leaving = self._closing.get(serving.origin.name) or succeed(None)
            if isinstance(service, Connector):
                service.stop_handler()
        serving.once_gone(lambda: self._forget(serving))
        return leaving

    def replace(self, old: Connector, new: Connector) -> None:
        """Stop a connector, and start another in its place once that is done."""
        self.leave(old)
        self.join(new)

    def _table_of(self, service: Listener | Connector) -> dict[str, Any]:
        if isinstance(service, Connector):
            return self.connectors
        return self.aside if service.serving.origin.name == ADMIN else self.listeners

    def _start(self, connector: Connector) -> None:
        is_ours = self.connectors.get(connector.serving.origin.name) is connector
        if self._parent.running and is_ours:
            connector.setServiceParent(self._parent)
        else:
            connector.stop_handler()

    def _forget(self, serving: Serving) -> None:
        if serving in self._departing:
            self._departing.remove(serving)
        serving.refusals.flush()
        self._sweep.forget(serving)
