"""A reactor whose streams are tcpd's own.

`StreamReactor` is the part of a reactor that makes ports and connections; the tcpd reactor is one,
and `Network` puts it in front of any other reactor, so that Twisted's endpoints work through it.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import error
from twisted.internet.interfaces import IReactorFDSet
from zope.interface import directlyProvides, providedBy

from tcpd.errors import TcpdError
from tcpd.net.port import BACKLOG, TWISTED_BACKLOG, Port
from tcpd.net.proxy_sender import HeaderSender
from tcpd.net.sockets import Connector, Server, UNIXConnector, UNIXServer
from tcpd.net.tls import ClientTLS, ServerTLS
from tcpd.net.unix_port import UNIXPort


class StreamReactor:
    """IReactorTCP, IReactorUNIX and the streams of IReactorSocket, by tcpd's ports and transports.

    A backlog of 50, which is what Twisted passes when nobody asked for one, becomes 4096.
    """

    server_tls: ServerTLS | None = None
    client_tls: ClientTLS | None = None
    server_header = False
    client_header: HeaderSender | None = None

    def _real_reactor(self) -> Any:
        return self

    def listenTCP(
        self, port: Any, factory: Any, backlog: int = BACKLOG, interface: str = ""
    ) -> Any:
        """Listen on a TCP port, or raise CannotListenError."""
        return self._listen(Port(port, factory, _backlog(backlog), interface, self._real_reactor()))

    def listenUNIX(
        self,
        address: Any,
        factory: Any,
        backlog: int = BACKLOG,
        mode: int = 0o666,
        wantPID: Any = 0,
    ) -> Any:
        """Listen on a UNIX socket, or raise CannotListenError."""
        return self._listen(
            UNIXPort(address, factory, _backlog(backlog), mode, self._real_reactor(), wantPID)
        )

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """Listen on a socket that somebody else has bound; a copy of the descriptor is taken."""
        _check_family(addressFamily)
        reactor = self._real_reactor()
        if addressFamily == socket.AF_UNIX:
            return self._listen(UNIXPort._fromListeningDescriptor(reactor, fileDescriptor, factory))
        return self._listen(
            Port._fromListeningDescriptor(reactor, fileDescriptor, addressFamily, factory)
        )

    def _listen(self, port: Any) -> Any:
        if self.server_tls is not None:
            port.secure(self.server_tls)
        if self.server_header:
            port.expect_header()
        port.startListening()
        return port

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """Serve a connection that is open already; a copy of the descriptor is taken.

        Returns:
            the transport, or None if the factory refused.
        """
        _check_family(addressFamily)
        kind: Any = UNIXServer if addressFamily == socket.AF_UNIX else Server
        return kind.adopt(fileDescriptor, addressFamily, factory, self._real_reactor())

    def connectTCP(
        self,
        host: str,
        port: Any,
        factory: Any,
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> Any:
        """Connect to a TCP port; gives the connector."""
        connector = Connector(host, port, factory, timeout, bindAddress, self._real_reactor())
        connector.tls = self.client_tls
        connector.header = self.client_header
        connector.connect()
        return connector

    def connectUNIX(
        self, address: Any, factory: Any, timeout: float = 30.0, checkPID: Any = 0
    ) -> Any:
        """Connect to a UNIX socket; gives the connector."""
        connector = UNIXConnector(address, factory, timeout, self._real_reactor(), checkPID)
        connector.tls = self.client_tls
        connector.header = self.client_header
        connector.connect()
        return connector


class Network(StreamReactor):
    """Any reactor, with tcpd's ports and transports, and TLS if it is asked for.

    Args:
        reactor: the reactor that does everything else.
        server_tls: with it, what listens speaks TLS.
        client_tls: with it, what connects speaks TLS.
        server_header: whether what is accepted begins with a PROXY header.
        client_header: with it, what connects sends a PROXY header first.

    Raises:
        TcpdError: the reactor can't watch descriptors.
    """

    def __init__(
        self,
        reactor: Any,
        server_tls: ServerTLS | None = None,
        client_tls: ClientTLS | None = None,
        *,
        server_header: bool = False,
        client_header: HeaderSender | None = None,
    ) -> None:
        real = reactor._real_reactor() if isinstance(reactor, Network) else reactor
        if not IReactorFDSet.providedBy(real):
            raise TcpdError(
                f"the reactor {type(real).__name__} can't watch descriptors (IReactorFDSet); "
                "epoll, poll, select and asyncio can"
            )
        self._reactor = real
        self.server_tls = server_tls
        self.client_tls = client_tls
        self.server_header = server_header
        self.client_header = client_header
        directlyProvides(self, providedBy(real))

    def _real_reactor(self) -> Any:
        return self._reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


def _backlog(asked: int) -> int:
    return BACKLOG if asked == TWISTED_BACKLOG else asked


def _check_family(family: Any) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        raise error.UnsupportedAddressFamily(family)
