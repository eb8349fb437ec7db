"""A configured listener as a Twisted service: it opens its addresses and closes them again.

Rules:
- All of its addresses open, or it fails to start and says which did not and why.
- It may open them before the process gives up its privileges (`privilegedStartService`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.endpoint import ServerEndpoint, quote
from tcpd.errors import StartError, TcpdError
from tcpd.events import ListenerChanged
from tcpd.net.network import Network
from tcpd.net.tls import ServerTLS
from tcpd.sd_listen import InheritedEndpoint, inherited_sockets
from tcpd.serving import Serving
from tcpd.session import format_address


class Listener(Service):
    """Accepts connections at some addresses, and serves each with a handler.

    Args:
        reactor: the reactor.
        addresses: Twisted's server endpoint strings, parsed.
        serving: what makes sessions of the connections.
        tls: TLS for all of the addresses, or None.

    Attributes:
        ports: the open ports, as Twisted's endpoints gave them.
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
        self._serving = serving
        self._endpoints = [(each, server_endpoint(reactor, each, tls)) for each in addresses]
        self.ports: list[IListeningPort] = []

    def privilegedStartService(self) -> None:
        """Open the addresses.

        Raises:
            StartError: one of them can't be opened; none is then left open.
        """
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """Open the addresses, unless that has been done already."""
        super().startService()
        if not self.ports:
            self._listen()

    def stopService(self) -> Deferred[Any]:
        """Close the addresses; sessions go on.

        Returns:
            A Deferred that fires when all are closed.
        """
        super().stopService()
        ports, self.ports = self.ports, []
        for port in ports:
            self._changed(port, up=False)
        closing = [port.stopListening() for port in ports]
        return DeferredList([d for d in closing if d is not None], consumeErrors=True)

    def _listen(self) -> None:
        for address, endpoint in self._endpoints:
            problems: list[Failure] = []
            # Endpoints of ports and sockets answer at once; one that takes its time is told later.
            opening = endpoint.listen(self._serving)
            opening.addCallback(self._opened)
            opening.addErrback(problems.append)
            if problems:
                for port in self.ports:
                    port.stopListening()
                self.ports = []
                name = self._serving.origin.name
                raise StartError(
                    f"listener {name!r} cannot listen on {address.address}: {_why(problems[0])}"
                )

    def _opened(self, port: IListeningPort) -> None:
        self.ports.append(port)
        self._changed(port, up=True)

    def _changed(self, port: IListeningPort, *, up: bool) -> None:
        address = format_address(port.getHost())
        origin = self._serving.origin
        origin.bus.emit(ListenerChanged(listener=origin.name, address=address, up=up))
        self.log.info(
            "listener {listener} listens on {address} (handler {handler})"
            if up
            else "listener {listener} no longer listens on {address}",
            listener=origin.name,
            address=address,
            handler=origin.handler,
        )


def server_endpoint(
    reactor: Any, address: ServerEndpoint, tls: ServerTLS | None
) -> IStreamServerEndpoint:
    """Return the endpoint that a string describes, on our own ports.

    Args:
        reactor: the reactor.
        address: one of Twisted's server endpoint strings, parsed.
        tls: TLS for its connections, or None; an `ssl:` string brings its own.

    Raises:
        TcpdError: a certificate or key that the string names can't be used, or no installed
            package knows this kind of endpoint.
    """
    text = address.text
    if address.kind == "systemd":
        network = Network(reactor, server_tls=tls)
        return InheritedEndpoint(network, inherited_sockets(), address.options)
    if address.tls is not None and address.tls.certificate is not None:
        tls = ServerTLS(address.tls.certificate, address.tls.key, chain=address.tls.chain)
        passed_on = {key: address.options.get(key) for key in ("interface", "backlog")}
        parts = ["tcp", address.options["port"]]
        parts += [f"{key}={quote(value)}" for key, value in passed_on.items() if value]
        text = ":".join(parts)
    try:
        endpoint: IStreamServerEndpoint = serverFromString(Network(reactor, server_tls=tls), text)
    except (ValueError, TypeError) as error:
        raise TcpdError(f"{text!r} is no endpoint: {error}") from error
    return endpoint


def _why(failure: Failure) -> str:
    """Return why an address could not be opened, in words."""
    error = failure.value
    cause = error.socketError if isinstance(error, CannotListenError) else error
    if isinstance(cause, PermissionError):
        return (
            "permission denied; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        )
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror[0].lower() + cause.strerror[1:]
    return str(cause) or type(cause).__name__
