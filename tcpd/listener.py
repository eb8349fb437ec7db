"""A configured listener as a Twisted service: it opens its addresses and closes them again.

Rules:
- All of its addresses open, or it fails to start and says which did not and why.
- It may open them before the process gives up its privileges (`privilegedStartService`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.endpoint import ServerEndpoint
from tcpd.endpoint_making import server_endpoint, server_tls_of
from tcpd.errors import StartError
from tcpd.events import ListenerChanged
from tcpd.net.port import Port
from tcpd.net.tls import ServerTLS
from tcpd.net.unix_port import UNIXPort
from tcpd.plain_errors import why_not_open
from tcpd.serving import Serving
from tcpd.session import format_address


class Door:
    """One address of a listener.

    Args:
        address: Twisted's endpoint string, parsed.
        endpoint: what opens it.
        tls: TLS for its connections, or None.

    Attributes:
        port: its port, while it is open.
        opening: fires when it is open; None while nobody has tried.
    """

    __slots__ = ("address", "endpoint", "opening", "port", "tls")

    def __init__(
        self, address: ServerEndpoint, endpoint: IStreamServerEndpoint, tls: ServerTLS | None
    ) -> None:
        self.address = address
        self.endpoint = endpoint
        self.tls = tls
        self.port: IListeningPort | None = None
        self.opening: Deferred[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is open, or about to be; not if its port has broken."""
        if self.port is None:
            return self.opening is not None
        return bool(getattr(self.port, "connected", True))

    def become(self, fresh: Door) -> None:
        """Be another door to the same socket, as far as connections to come are concerned."""
        self.address, self.endpoint, self.tls = fresh.address, fresh.endpoint, fresh.tls
        if isinstance(self.port, Port):
            self.port.secure(self.tls)

    def close_at_once(self) -> None:
        """Close it without waiting for the reactor."""
        port = self._leave()
        if port is not None:
            _close_now(port)

    def close(self) -> Deferred[Any] | None:
        """Close it; gives what fires when that is done, unless it is done already."""
        port = self._leave()
        closing: Deferred[Any] | None = None if port is None else port.stopListening()
        return closing

    def _leave(self) -> IListeningPort | None:
        opening, self.opening = self.opening, None
        port, self.port = self.port, None
        if opening is not None:
            opening.cancel()
        return port


class Listener(Service):
    """Accepts connections at some addresses, and serves each with a handler.

    Args:
        reactor: the reactor.
        addresses: Twisted's server endpoint strings, parsed.
        serving: what makes sessions of the connections.
        tls: TLS for all of the addresses, or None.

    Attributes:
        doors: its addresses.
        serving: what makes sessions of the connections.
        suspended: whether an operator has it accept nobody.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        addresses: Sequence[ServerEndpoint],
        serving: Serving,
        tls: ServerTLS | None = None,
    ) -> None:
        self.setName(serving.origin.name)
        self.serving = serving
        self.doors: list[Door] = []
        for each in addresses:
            own = server_tls_of(each) or tls
            self.doors.append(Door(each, server_endpoint(reactor, each, own), own))
        self._starting = False
        self._is_open = False
        self.suspended = False
        self._problem: StartError | None = None
        if serving.gate is not None:
            serving.gate.on_full = self._hold

    @property
    def ports(self) -> list[IListeningPort]:
        """The open ports, as Twisted's endpoints gave them."""
        return [door.port for door in self.doors if door.port is not None]

    def privilegedStartService(self) -> None:
        """Open the addresses.

        Raises:
            StartError: one of them can't be opened, or the handler fails to start; none is then
                left open.
        """
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """Open the addresses, unless that has been done already.

        Raises:
            StartError: one of them can't be opened, or the handler fails to start; none is then
                left open.
        """
        super().startService()
        self._listen()

    def stopService(self) -> Deferred[Any]:
        """Close the addresses; sessions go on.

        Returns:
            A Deferred that fires when all are closed; before, they can't be opened again.
        """
        super().stopService()
        self._is_open = False
        closing = [self.close(door) for door in self.doors]
        return DeferredList([each for each in closing if each is not None], consumeErrors=True)

    def give_sockets_to(self, user: int, group: int) -> None:
        """Give the files of UNIX sockets to a user and a group, by number; needs to be root."""
        for port in self.ports:
            if isinstance(port, UNIXPort):
                port.give_to(user, group)

    def close_at_once(self) -> None:
        """Close the addresses without waiting for the reactor, which may never run."""
        self._is_open = False
        for door in self.doors:
            door.close_at_once()

    def _listen(self) -> None:
        if self._is_open:
            return
        try:
            for door in self.doors:
                self.open(door)
        except StartError:
            self.close_at_once()
            raise
        self.opened()

    def opened(self) -> None:
        """Note that all the addresses were opened, and tell of it."""
        self._is_open = True
        self.tell_of(self.doors)

    def tell_of(self, doors: Iterable[Door]) -> None:
        """Tell of the addresses that are open."""
        for door in doors:
            if door.port is not None:
                self.tell(format_address(door.port.getHost()), up=True)

    def open(self, door: Door) -> None:
        """Open one address. One that takes its time is told of when it is open, others aren't.

        Raises:
            StartError: it can't be opened, or the handler fails to start.
        """
        self._starting = True
        # Known to the door before its callbacks, which may come at once.
        door.opening = opening = maybeDeferred(door.endpoint.listen, self.serving)
        opening.addCallbacks(
            self._opened, self._failed, callbackArgs=(door, opening), errbackArgs=(door, opening)
        )
        self._starting = False
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def close(self, door: Door) -> Deferred[Any] | None:
        """Close one address, and tell of it; gives what fires when that is done, if it isn't."""
        if door.port is not None and door.is_open:
            self.tell(format_address(door.port.getHost()), up=False)
        return door.close()

    def _opened(self, port: IListeningPort, door: Door, opening: Deferred[Any]) -> None:
        if door.opening is not opening:  # closed before it was open
            port.stopListening()
            return
        door.port = port
        if isinstance(port, Port):
            port.expect_header(expected=self.serving.proxies is not None)
        self._hold_as_is()
        if not self._starting:
            self.tell(format_address(port.getHost()), up=True)

    def take(self, doors: list[Door]) -> None:
        """Have these addresses from now on, which others may have opened."""
        self.doors = doors
        for port in self.ports:
            if isinstance(port, Port):
                port.expect_header(expected=self.serving.proxies is not None)
        self._hold_as_is()

    def inherit_gate(self, former: Listener) -> None:
        """Count whom another listener has let in, which this one goes on for under its own name."""
        own, gate = self.serving.gate, former.serving.gate
        if own is not None and gate is not None:
            gate.on_full = self._hold
            self.serving.gate = gate
            gate.become(own)
            self._hold_as_is()

    def suspend(self) -> None:
        """Accept nobody until `resume`; who connects waits in the kernel's queue."""
        self.suspended = True
        self._hold_as_is()

    def resume(self) -> None:
        """Accept again."""
        self.suspended = False
        self._hold_as_is()

    def tell_state(self, state: str) -> None:
        """Tell of each open address that an operator had it come to another state.

        Args:
            state: `suspended`, `draining` or `resumed`.
        """
        origin, up = self.serving.origin, not self.suspended
        for door in self.doors:
            if door.port is not None and door.is_open:
                address = format_address(door.port.getHost())
                event = ListenerChanged(listener=origin.name, address=address, up=up, state=state)
                origin.bus.emit(event)

    def _hold_as_is(self) -> None:
        """Have all ports hold back as they should now, those too that have just been opened."""
        if self.serving.gate is not None:
            self._hold(self.serving.gate.holds)
        self._hold(self.suspended, "suspended")

    def _hold(self, hold: bool, reason: str = "limit", /) -> None:
        """Let who comes now wait in the kernel's queue; or let them come, as there is room."""
        for port in self.ports:
            if isinstance(port, Port):  # another package's can't; there the gate refuses
                (port.hold if hold else port.release)(reason)

    def _failed(self, failure: Failure, door: Door, opening: Deferred[Any]) -> None:
        if door.opening is not opening:
            return  # closed before it was open
        door.opening = None
        problem = self.problem_with(door, failure.value)
        if self._starting:
            self._problem = problem
        else:
            self.log.critical("{problem}", problem=problem)

    def problem_with(self, door: Door, error: BaseException | None) -> StartError:
        """Return why one of the addresses can't be opened, for people."""
        if isinstance(error, StartError):  # the handler's fault, and none of the address
            return error
        name, address = self.serving.origin.name, door.address
        text = (
            f"listener {name!r} cannot listen on {address.address}: {why_not_open(error, address)}"
        )
        problem = StartError(text)
        problem.__cause__ = error
        return problem

    def tell(self, address: str, *, up: bool) -> None:
        """Tell that an address of this listener is open, or that it closes."""
        origin = self.serving.origin
        held = up and self.suspended  # open, but it accepts nobody
        event = ListenerChanged(
            listener=origin.name,
            address=address,
            up=up and not held,
            state="suspended" if held else "",
        )
        origin.bus.emit(event)
        self.log.info(
            "listener {listener} listens on {address} (handler {handler})"
            if up
            else "listener {listener} no longer listens on {address}",
            listener=origin.name,
            address=address,
            handler=origin.handler,
            record={**event.fields(), "handler": origin.handler},
        )


def _close_now(port: IListeningPort) -> None:
    """Close a port without waiting for the reactor, which may never run."""
    if isinstance(port, Port):
        port.stopReading()
        port.connectionLost(Failure(CONNECTION_DONE))  # removes the file of a UNIX socket, too
    else:
        port.stopListening()
