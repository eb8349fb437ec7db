"""The transports themselves: TCP and UNIX sockets, accepted and dialled, and their connectors.

Each is `StreamTransport` over one of Twisted's own classes, which know how a socket of that kind is
made, addressed and connected. What is added here is how a session begins.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N815, PLR0917
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tcpd.net.hot_path import HotPath
from tcpd.net.options import tune
from tcpd.net.transport import StreamTransport

if TYPE_CHECKING:
    from tcpd.net.proxy_facts import ProxyFacts
    from tcpd.net.proxy_sender import HeaderSender
    from tcpd.net.tls import ClientTLS, ServerTLS


# A port remembers so many of its machine's addresses. A whole network may be routed to a machine,
# and then they are without end; see IP_FREEBIND in ip(7).
MOST_HOSTS = 64


class ServerTransport(StreamTransport):
    """A connection that was accepted, or handed to us open.

    Attributes:
        server: the port that accepted it, or None.
        tls_settings: with them, how TLS is to be spoken on it.
        proxy: what a PROXY header said; None without one.
        hop: the proxy's own address, if its header told another; else None.
        place: what the port's acceptor gave it, to be left when the descriptor is closed, for until
            then it is what the limits are about; None if it gave nothing.
    """

    tls_settings: ServerTLS | None = None
    proxy: ProxyFacts | None = None
    hop: IAddress | None = None

    _addressType: type[IPv4Address] | type[IPv6Address]
    place: Any = None
    _peer_address: IAddress | None = None
    _opened = False
    _adopted_at: Any = ""
    # A server mostly answers, at once or when some Deferred fires. A client mostly asks.
    _late_writes_count = True

    def __init__(
        self,
        sock: socket.socket,
        protocol: Any,
        client: Any,
        server: Any,
        sessionno: int,
        reactor: Any,
    ) -> None:
        StreamTransport.__init__(self, sock, protocol, reactor)
        if len(client) != 2:
            self._addressType = IPv6Address
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.startReading()
        self.connected = 1
        if server is None:  # a port has tuned its own
            tune(sock)

    @classmethod
    def adopt(cls, descriptor: int, family: int, factory: Any, reactor: Any) -> Any:
        """Serve a connection that is open already, on a copy of its descriptor.

        Returns:
            the transport, or None if the factory refused.
        """
        sock = socket.fromfd(descriptor, family, socket.SOCK_STREAM)
        local: IAddress
        if family == socket.AF_UNIX:
            peer, number, local = sock.getpeername(), 0, UNIXAddress(sock.getsockname())
        else:
            peer = tcp._getpeername(sock)
            number = peer[1]
            local = (IPv6Address if family == socket.AF_INET6 else IPv4Address)("TCP", *peer)
        protocol = factory.buildProtocol(local)
        if protocol is None:
            sock.close()
            return None
        transport = cls(sock, protocol, peer, None, number, reactor)
        name = sock.getsockname()
        transport._adopted_at = name if family == socket.AF_UNIX else name[1]
        transport.perform(protocol.makeConnection, transport)
        return transport

    def enter(self, stage: str) -> None:
        """Note what the connection waits for from now on, before it is open."""
        self.stage = stage
        self.stage_since = self._loop.now

    def identify(self, facts: ProxyFacts) -> None:
        """Begin, with what a PROXY header has told, if the port lets its peer in."""
        self.proxy = facts
        if facts.source is not None:
            self.hop = self.getPeer()
            self.hostname = getattr(facts.source, "host", "")
            self.set_addresses(facts.source, facts.destination)
        self.stage = ""
        self.last_read = self.last_write = self._loop.now
        if self.server.readmits(self):
            self.begin()
        elif hasattr(self, "socket"):
            self._opened = True  # whoever refused it knows, and nobody else waits for it
            self._blame("refused")
            self.connectionLost(Failure(CONNECTION_DONE))

    def begin(self) -> None:
        """Start the session: have the port give this transport its protocol."""
        if self.server.open_session(self):
            self._opened = True

    def set_addresses(self, peer: IAddress, host: IAddress | None = None) -> None:
        """Let `getPeer`, and `getHost` if one is given, answer with what a proxy told us."""
        self._peer_address = peer
        if host is not None:
            self._host_address = host

    def getHost(self) -> Any:
        """Our own address on this connection; the proxy's, if it was told."""
        if self._host_address is not None or self.server is None:
            return super().getHost()
        known = self.server.hosts
        if None in known:
            return known[None]
        name = self.socket.getsockname()
        address = known.get(name)
        if address is None:
            address = super().getHost()
            if len(known) < MOST_HOSTS:
                known[name] = address
        return address

    def getPeer(self) -> Any:
        """The peer's address; the true one behind a proxy, if it was told."""
        return self._peer_address or super().getPeer()

    def _closed(self, reason: Failure) -> None:
        if self.stage:
            self.__dict__.pop("doRead", None)  # what stood in for it holds on to us
        unheard = self.observer is None and not self._opened
        super()._closed(reason)
        if unheard and self.server is not None:
            self.server.session_abandoned(self, reason)

    def _descriptor_released(self) -> None:
        place, self.place = self.place, None
        if place is not None:
            place.leave()
        if self.server is not None:
            self.server.descriptor_released()

    def logPrefix(self) -> str:
        """The protocol's name, the session's number and the peer."""
        return f"{super().logPrefix()},{self.sessionno},{self.hostname or self._adopted_at}"

    def __repr__(self) -> str:
        name = type(getattr(self, "protocol", None) or self).__name__
        where = self._adopted_at if self.server is None else self.server.place
        return f"<{name} #{self.sessionno} on {where}>"


class Server(ServerTransport, tcp.Server):
    """A TCP connection that was accepted."""


class ClientTransport(StreamTransport):
    """A connection that we dialled."""

    connector: Any

    def __init__(self, *arguments: Any) -> None:
        # Twisted's own begins, and calls HotPath's as soon as there is a socket.
        super(HotPath, self).__init__(*arguments)

    def _connectDone(self) -> None:
        self.last_read = self.last_write = self._loop.now
        tune(self.socket)
        if self.connector.header is None or self._send_header(self.connector.header):
            self.begin()

    def _send_header(self, sender: HeaderSender) -> bool:
        """Send a PROXY header, before all else; it fits the empty buffer of a new connection."""
        header = sender.header(self)
        try:
            sent = self.socket.send(header)
        except OSError as error:
            self.failIfNotConnected(ConnectError(error.errno, error.strerror))  # type: ignore[attr-defined]
            return False
        if sent < len(header):
            self.failIfNotConnected(ConnectError(string="the PROXY header didn't fit"))  # type: ignore[attr-defined]
            return False
        return True

    def begin(self) -> None:
        """Start the session: have the connector's factory build the protocol."""
        try:
            protocol = self.connector.buildProtocol(self.getPeer())
        except BaseException:
            self.failIfNotConnected(self._handler_failed())  # type: ignore[attr-defined]
            return
        self.connected = 1
        if protocol is None:
            # As Twisted has it: the factory wants no such connection, and somebody has to hear
            # of its end.
            self.protocol = Protocol()
            self.loseConnection()
            return
        self.protocol = protocol
        self.startReading()
        self.perform(protocol.makeConnection, self)

    def connectionLost(self, reason: Failure) -> None:
        """End the session, or the attempt to connect; then tell the connector."""
        if not self.connected:
            error = reason.value
            if not isinstance(error, ConnectError):
                error = ConnectError(string=reason)
            self.failIfNotConnected(error)  # type: ignore[attr-defined]
        else:
            super().connectionLost(reason)
            self._tell(self.connector.connectionLost, reason)

    def logPrefix(self) -> str:
        """The protocol's name, once there is one."""
        name = super().logPrefix()
        return f"{name},client" if name else name


class Client(ClientTransport, tcp.Client):
    """A TCP connection that we dialled."""

    _commonConnection = StreamTransport


class Connector(tcp.Connector):
    """What dials one TCP address, with TLS or without, and a PROXY header first if it is asked."""

    tls: ClientTLS | None = None
    header: HeaderSender | None = None

    def _makeTransport(self) -> tcp.Client:
        if self.tls is not None:
            from tcpd.net.tls_transport import TLSClient

            return TLSClient(self.host, self.port, self.bindAddress, self, self.reactor)
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class UNIXTransport(StreamTransport):
    """What a UNIX socket adds: descriptors may travel beside the bytes.

    Twisted's own `doRead` and `writeSomeData` know how; the bytes still pass through ours.
    """

    _writeSomeDataBase: Any = StreamTransport
    _sendmsgQueue: list[int]
    # Twisted's unix.Server or unix.Client, whose reading and writing takes descriptors along.
    _kind: ClassVar[Any]

    def doRead(self) -> BaseException | None:  # type: ignore[override]
        """Read once, descriptors too."""
        try:
            why: BaseException | None = self._kind.doRead(self)
        except BaseException:  # the handler's fileDescriptorReceived
            return self._handler_failed()
        if why is CONNECTION_LOST:  # recvmsg(2) failed, and Twisted keeps to itself how
            self._blame("peer-reset")
        return why

    def _dataReceived(self, data: bytes) -> BaseException | None:  # type: ignore[override]
        """Hand over what Twisted's doRead has read."""
        if not data:
            return CONNECTION_DONE
        return self.deliver(data)

    def flush(self) -> None:
        """Send what was gathered, unless descriptors have to go with it: `doWrite` sends those."""
        if self._sendmsgQueue:
            self._tempDataLen = sum(map(len, self._tempDataBuffer))
            self.startWriting()
        else:
            super().flush()

    def writeSomeData(self, data: bytes) -> Any:
        """Send what the kernel takes now, descriptors first, each with one byte of the data."""
        before = self.bytes_out
        sent = self._kind.writeSomeData(self, data)
        if isinstance(sent, int):
            self.bytes_out = before + sent
        return sent


class UNIXServer(UNIXTransport, ServerTransport, unix.Server):
    """A connection that was accepted on a UNIX socket."""

    _kind = unix.Server

    def __init__(
        self,
        sock: socket.socket,
        protocol: Any,
        client: Any,
        server: Any,
        sessionno: int,
        reactor: Any,
    ) -> None:
        self._sendmsgQueue = []
        ServerTransport.__init__(self, sock, protocol, (client, None), server, sessionno, reactor)


class UNIXClient(UNIXTransport, ClientTransport, unix.Client):
    """A connection to a UNIX socket."""

    _kind = unix.Client
    _commonConnection = StreamTransport


class UNIXConnector(unix.Connector):
    """What dials one UNIX socket, with TLS or without, and a PROXY header first if it is asked."""

    tls: ClientTLS | None = None
    header: HeaderSender | None = None

    def _makeTransport(self) -> Any:
        if self.tls is not None:
            from tcpd.net.tls_transport import TLSUNIXClient

            return TLSUNIXClient(self.address, self, self.reactor, self.checkPID)
        return UNIXClient(self.address, self, self.reactor, self.checkPID)
