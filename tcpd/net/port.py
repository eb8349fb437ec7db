"""Listening ports: who is accepted, when, and what every error of accept(2) means.

A port asks its factory before it builds anything, if the factory is an `Acceptor`; any other
Twisted factory is served as Twisted does it. Nothing is logged in the ordinary case.

What accept(2) may answer, and what is done about it:

- EAGAIN: nobody is waiting; go back to the loop.
- ECONNABORTED, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
  ENETUNREACH, ETIMEDOUT: this one connection failed before we had it (Linux hands its pending
  network error to accept, and a firewall may refuse it); take the next.
- EMFILE, ENFILE, ENOBUFS, ENOMEM: no descriptor or no memory for it. The sockets that have lingered
  longest are closed to make room (`tcpd.net.lingering`). If there are none, accepting stops, which
  is said once, and starts again when one of this port's own connections closes, or after
  `STARVED_RETRY` seconds. Who is waiting stays in the backlog meanwhile.
- EINTR: Python tries again by itself (PEP 475).
- Anything else (EBADF, EINVAL, ENOTSOCK, EFAULT): the listening socket is broken. That is logged
  as critical, and the port closes, for a loop would only repeat it.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N815
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from tcpd.net.acceptor import Acceptor
from tcpd.net.lingering import lingering_on
from tcpd.net.listening_socket import ListeningSocket
from tcpd.net.options import tune
from tcpd.net.reception import Reception
from tcpd.net.sockets import Server, ServerTransport
from tcpd.net.tls import ServerTLS

# Linux cuts it to net.core.somaxconn. With Twisted's 50, a burst of 2000 connects waits 1.2 s.
BACKLOG = 4096
TWISTED_BACKLOG = 50
# At most so many connections are accepted before the loop serves the others, unless the factory has
# an attribute `most_at_once`.
BATCH = 256
# Seconds. Short enough that a newcomer is served within a second of a release that another part
# of the process made, long enough to cost nothing.
STARVED_RETRY = 0.5
# Seconds in which starvation is not spoken of twice.
STARVED_SILENCE = 60.0

_CONNECTION_FAILED = frozenset(
    (
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    )
)
_STARVED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Port(Reception, tcp.Port):
    """A listening TCP socket.

    Attributes:
        hosts: the addresses that connections came in at, by what getsockname(2) says of them. They
            are few, and to make one anew takes longer than to ask the kernel. Under None, the only
            one there can be: then the kernel needn't be asked at all.
    """

    hosts: dict[Any, IAddress]
    reactor: Any
    server_class: type[ServerTransport] = Server
    # shutdown(2) of a listening socket ends it for every process that shares it; close(2) doesn't.
    _shouldShutdown = False

    def __init__(
        self,
        port: Any,
        factory: Any,
        backlog: int = BACKLOG,
        interface: str = "",
        reactor: Any = None,
    ) -> None:
        tcp.Port.__init__(self, port, factory, backlog, interface, reactor)
        self._prepare(factory)

    def _prepare(self, factory: Any) -> None:
        self.hosts = {}
        self._most: int = getattr(factory, "most_at_once", BATCH)
        self._acceptor = factory if isinstance(factory, Acceptor) else None
        self._holds: set[str] = set()
        self._starved_call: Any = None
        self._starved_said = float("-inf")
        self._batch = self._most
        self._held_too = False

    def secure(self, tls: ServerTLS | None) -> None:
        """Have every connection that is accepted from now on speak TLS, or no TLS any more."""
        self.tls = tls
        self.server_class = type(self).server_class if tls is None else self._tls_class()

    def expect_header(self, *, expected: bool = True) -> None:
        """Have every connection that is accepted from now on begin with a PROXY header, or none.

        With it, nobody is let in without one. Who may connect at all is for the acceptor to say:
        whoever may can tell any address for its own.
        """
        self.header_expected = expected

    def _tls_class(self) -> type[ServerTransport]:
        from tcpd.net.tls_transport import TLSServer

        return TLSServer

    # -- listening ---------------------------------------------------------------------------

    def startListening(self) -> None:
        """Bind, unless the socket was handed to us, and listen.

        Raises:
            CannotListenError: the address can't be had.
            Exception: what the factory's doStart raises; the socket is closed then.
        """
        adopted = self._preexistingSocket
        self._preexistingSocket = None
        sock = ListeningSocket.over(self._bind() if adopted is None else adopted)
        try:
            sock.setblocking(False)
            tune(sock)
            self._realPortNumber = self._number_of(sock)
            if sock.has_one_name():
                self.hosts[None] = self._addressType("TCP", *tcp._getsockname(sock))
            self.factory.doStart()
        except BaseException:
            self._realPortNumber = None
            sock.close()
            self._unbind()
            raise
        self.connected = True
        self.socket = sock
        self.fileno = sock.fileno  # type: ignore[method-assign]
        self._accept_on()

    def _bind(self) -> socket.socket:
        sock: socket.socket | None = None
        try:
            sock = self.createInternetSocket()
            if self.addressFamily == socket.AF_INET6:
                sock.bind(tcp._resolveIPv6(self.interface, self.port))
            else:
                sock.bind((self.interface, self.port))
            sock.listen(self.backlog)
        except OSError as error:
            if sock is not None:
                sock.close()
            raise CannotListenError(self.interface, self.port, error) from error
        return sock

    def _unbind(self) -> None:
        """Give back what `_bind` took besides the socket."""

    @property
    def place(self) -> object:
        """Where it listens, in a word, for logs."""
        return self._realPortNumber

    def _number_of(self, sock: socket.socket) -> Any:
        return sock.getsockname()[1]

    def _logConnectionLostMsg(self) -> None:
        """Say nothing: who closes a port says so, if it matters."""

    def connectionLost(self, reason: Failure) -> None:
        """The port is closed."""
        self._end(reason)

    def _end(self, reason: Failure) -> None:
        self._forget_starvation()
        tcp.Port.connectionLost(self, reason)

    # -- handing on --------------------------------------------------------------------------

    def successor(self, factory: Any) -> Port:
        """Return a port on the same socket, for another factory; it listens already.

        Who waits to be accepted is accepted by either. Close this one, and nobody who connects has
        noticed; connections that are in their handshake end it here.

        Raises:
            CannotListenError: there is no descriptor left for it.
            Exception: what the factory's doStart raises.
        """
        try:
            port = self._twin(factory)
        except OSError as error:
            raise CannotListenError(self.interface, self.port, error) from error
        port.secure(self.tls)
        port.expect_header(expected=self.header_expected)
        port.startListening()
        return port

    def _twin(self, factory: Any) -> Port:
        family = self.addressFamily
        twin: Port = type(self)._fromListeningDescriptor(
            self.reactor, self.socket.fileno(), family, factory
        )
        return twin

    def bequeath(self, heir: Port) -> None:
        """Leave to a successor what this port would take away with it when it closes."""

    # -- holding back ------------------------------------------------------------------------

    def hold(self, reason: str) -> None:
        """Stop accepting until `release(reason)`; who connects waits in the backlog.

        Several reasons may hold a port at once; each counts once.
        """
        self._holds.add(reason)
        if self.connected:
            self.stopReading()

    def release(self, reason: str) -> None:
        """Give up one reason to hold back; a reason that doesn't hold is none."""
        self._holds.discard(reason)
        self._accept_on()

    def pauseProducing(self) -> None:
        """Hold back, in Twisted's words."""
        self.hold("paused")

    def resumeProducing(self) -> None:
        """Accept again, in Twisted's words."""
        self.release("paused")

    def _accept_on(self) -> None:
        if self.connected and not self.disconnecting and not self._holds:
            self.startReading()

    def descriptor_released(self) -> None:
        """One of this port's connections closed: if descriptors had run out, there is one now."""
        if self._starved_call is not None:
            self._forget_starvation()

    def _starve(self, error: OSError) -> None:
        now = self.reactor.seconds()
        if now - self._starved_said >= STARVED_SILENCE:
            self.log.warn(
                "{port}: {problem}; accepting waits until there is room",
                port=self,
                problem=error.strerror,
            )
        self._starved_said = now
        self._accept_failed("starved")
        self.hold("starved")
        if self._starved_call is None:
            self._starved_call = self.reactor.callLater(STARVED_RETRY, self._forget_starvation)

    def _accept_failed(self, reason: str) -> None:
        if self._acceptor is not None:
            self._acceptor.accept_failed(reason)

    def _forget_starvation(self) -> None:
        call, self._starved_call = self._starved_call, None
        if call is not None and call.active():
            call.cancel()
        self.release("starved")

    def accept_waiting(self) -> None:
        """Accept all who wait in the backlog, whom closing the socket would turn away.

        A port that is held accepts them too: it won't have another occasion. Who is over a limit
        is refused by the acceptor.
        """
        if self.connected and not self.disconnecting:
            # Those who connect meanwhile don't make it endless. Linux queues one more than asked.
            # Of a socket that was handed to us, nobody has told the backlog.
            self._batch = max(BACKLOG, self.backlog or 0) + 1
            self._held_too = True
            try:
                self.doRead()
            finally:
                self._held_too = False

    # -- accepting ---------------------------------------------------------------------------

    def doRead(self) -> BaseException | None:
        """Accept who is waiting, a batch at most; gives an error that breaks the port, or None."""
        accepted = 0
        accept = self.socket.accept
        # Held back: by another port, between the poll that named this one and now.
        while accepted < self._batch and (not self._holds or self._held_too):
            try:
                sock, address = accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _CONNECTION_FAILED:
                    self._accept_failed("failed")
                    continue
                if error.errno in _STARVED:
                    if lingering_on(self.reactor).make_room():
                        continue
                    self._starve(error)
                    break
                self.log.critical(
                    "{port}: accept failed and the port closes: {problem}", port=self, problem=error
                )
                return error
            accepted += 1
            try:
                self._welcome(sock, address)
            except BaseException:
                sock.close()
                self.log.failure(
                    "{port}: a factory failed on a connection from {peer!r}",
                    port=self,
                    peer=address,
                )
            if self.disconnecting:
                break
        # A lone connection doesn't pay for a second accept that only says EAGAIN; where they come
        # in numbers the batch grows with them.
        self._batch = min(self._most, accepted * 2) if accepted == self._batch else max(1, accepted)
        return None

    def _welcome(self, sock: socket.socket, address: Any) -> None:
        """Let the factory decide about an accepted socket, and start its session."""
        address, peer = self._identify(address)
        acceptor = self._acceptor
        protocol = place = None
        if acceptor is not None:
            place = acceptor.admits(peer)
            if place is None:
                sock.close()
                return
        elif self.tls is None and not self.header_expected:
            protocol = self.factory.buildProtocol(peer)
            if protocol is None:
                sock.close()
                return
        try:
            number = self.sessionno
            self.sessionno = number + 1
            transport = self.server_class(sock, protocol, address, self, number, self.reactor)
            transport.place = place
            transport.set_addresses(peer)
            if self.tls is None and not self.header_expected:
                transport.begin()
            else:
                self.receive(transport)
        except BaseException:
            if place is not None:
                place.leave()
            raise

    def _identify(self, address: Any) -> tuple[Any, Any]:
        """What accept(2) said of the peer, as a transport keeps it and as an address."""
        if len(address) == 4 and address[3]:
            # A link-local peer: the scope belongs to its name, and only getnameinfo knows it.
            address = tcp._getrealname(address)
        return address, self._addressType("TCP", *address)

    def __repr__(self) -> str:
        number = self._realPortNumber
        where = "not listening" if number is None else f"{self.interface or '*'}:{number}"
        return f"<tcp port {where}>"
