"""Connections become sessions, each with its handler's protocol.

Rules:
- `transport.protocol` is the handler's own protocol; nothing of ours stands between. (Only an
  endpoint of another package, whose transport isn't ours, makes a relay necessary.)
- A handler that raises, wherever it raises, ends its own session only.
- The handler hears nothing before its session exists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpd.admission.deadlines import AnyDeadlines
from tcpd.admission.gate import UNCOUNTED, Gate, Place, is_among
from tcpd.admission.networks import Networks
from tcpd.admission.refusals import Refusals
from tcpd.handler_life import HandlerLife
from tcpd.net.sockets import ServerTransport
from tcpd.net.transport import StreamTransport
from tcpd.relay import Relay
from tcpd.session import Origin, Session
from tcpd.tally import note

_ENDS = (ConnectionAborted, ConnectionDone, ConnectionLost)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """On what terms sessions are served, from their first byte to their last.

    Attributes:
        origin: what they have in common, and which are open.
        factory: the handler.
        deadlines: their deadlines; None for none.
        life: from the handler's start to its stop.
    """

    origin: Origin
    factory: Any
    deadlines: AnyDeadlines | None
    life: HandlerLife


@implementer(IProtocolFactory)
class Serving:
    """The factory that a listener or connector gives to its ports and endpoints.

    Args:
        origin: what the sessions have in common.
        factory: the handler: a Twisted factory, or an `ISessionFactory`.
        deadlines: how long connections may take for what; None for as long as they like.
        gate: who gets in; None for everybody.

    Attributes:
        terms: those of sessions to come.
        arrivals: connections that wait for their session: in a TLS handshake, or a PROXY header.
        gate: who gets in; None for everybody.
        counts: what came and went before there was a session.
        refusals: the connections that came and didn't become sessions.
        proxies: the networks of those who connect and tell of their clients in a PROXY header;
            None where the clients connect themselves.
    """

    log: ClassVar[Logger] = Logger()
    noisy: ClassVar[bool] = False

    def __init__(
        self,
        origin: Origin,
        factory: Any,
        deadlines: AnyDeadlines | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.terms = Terms(origin, factory, deadlines, HandlerLife(factory, origin.handler))
        self.arrivals: set[Any] = set()
        self._ports = 0
        # Terms that hold for sessions which began on them, and for none to come.
        self._retired: list[Terms] = []
        # Those whose ports have closed, while connections are arriving that may yet use them.
        self._leaving: list[Terms] = []
        self._waiting: list[Callable[[], object]] = []
        self.gate = gate
        self.counts = origin.tally.counts
        self.refusals = Refusals(origin.name, origin.bus, origin.clock, self.counts.refused)
        self.proxies: Networks | None = None

    @property
    def origin(self) -> Origin:
        """What sessions to come have in common."""
        return self.terms.origin

    @property
    def factory(self) -> Any:
        """The handler of sessions to come."""
        return self.terms.factory

    @property
    def deadlines(self) -> AnyDeadlines | None:
        """The deadlines of connections to come."""
        return self.terms.deadlines

    def lots(self) -> Iterator[tuple[AnyDeadlines | None, Collection[Session]]]:
        """Give the open sessions, with the deadlines that they began with."""
        for terms in (self.terms, *self._retired):
            yield terms.deadlines, terms.origin.sessions.values()

    def origins(self) -> Iterator[Origin]:
        """Give what the open sessions have in common, and first of all those to come."""
        for terms in (self.terms, *self._retired):
            yield terms.origin

    def doStart(self) -> None:
        """Note that a port opens, or that a connection is tried; the first starts the handler.

        Raises:
            StartError: the handler failed at it; the text says how and where.
        """
        self.terms.life.begin_use()
        self._ports += 1

    def doStop(self) -> None:
        """Note that a port has closed, or that a connection is over.

        After the last, and once no session is left either, the handler is stopped.
        """
        self._ports -= 1
        self._leaving.append(self.terms)
        self._settle()

    def change(self, terms: Terms) -> None:
        """Serve sessions to come on other terms; those that are open keep theirs until they end.

        Args:
            terms: the new ones. Their handler has been started, if it is another (`life`), so that
                nothing here can fail.
        """
        old = self.terms
        if terms.factory is old.factory:
            terms = replace(terms, life=old.life)
        for _ in range(self._ports):
            terms.life.begin_use()
        self.terms = terms
        if old.origin.sessions:
            self._retired.append(old)
            old.origin.once_empty(lambda: self._retired.remove(old))
        for _ in range(self._ports):
            old.origin.once_empty(old.life.end_use)

    def let_in_as(self, other: Serving) -> None:
        """Let in from now on whom another would; who is in stays in, and counts."""
        if self.gate is not None and other.gate is not None:
            self.gate.become(other.gate)
        self.proxies = other.proxies

    def once_gone(self, call: Callable[[], object]) -> None:
        """Call something once no port is open and no connection is left."""
        self._waiting.append(call)
        self._settle()

    def _settle(self) -> None:
        """Do what waits for connections to have gone, if they have."""
        if self.arrivals:
            return
        leaving, self._leaving = self._leaving, []
        for terms in leaving:
            terms.origin.once_empty(terms.life.end_use)
        if self._ports or not self._waiting:
            return
        for terms in (self.terms, *self._retired):
            if terms.origin.sessions:
                terms.origin.once_empty(self._settle)
                return
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    def expect_shutdown(self) -> None:
        """From now on the end of a session that is open is our own stop, if nobody else's."""
        for _, sessions in self.lots():
            for session in sessions:
                session.stopping = True

    def admits(self, address: object) -> Place | None:
        """Return a place for a peer, or None if it can't come in.

        A port asks before it builds anything, and has the place left once the connection is over.
        """
        if self.gate is None:
            return UNCOUNTED
        if self.proxies is None:
            place = self.gate.admit(address)
        elif is_among(address, self.proxies):
            place = self.gate.admit_hop()
        else:
            self.refusals.note("proxy-untrusted", address)
            return None
        if place.refused:
            self.refusals.note(place.refused, address)
            return None
        return place

    def arriving(self, transport: Any) -> None:
        """Note a connection that isn't open at once: it has a handshake or a header to do."""
        self.arrivals.add(transport)

    def identified(self, transport: Any) -> bool:
        """Return whether a peer may come in, now that a PROXY header has said who it is.

        A proxy that speaks for itself has said enough already. Of a client that it doesn't name
        (`UNKNOWN`), nobody can say whether an access list has it, or count what it has.
        """
        facts = transport.proxy
        if facts.local:
            return True
        refused = (transport.place or UNCOUNTED).identify(facts.source)
        if refused:
            self.refusals.note(refused, transport.getPeer(), hop=transport.hop)
            self._arrived(transport)
        return not refused

    def accept(self, transport: Any) -> None:
        """Make the session of a connection that one of our ports has accepted."""
        session = Session(self.origin, transport)
        transport.observer = session
        self.start(session, transport)
        if self.arrivals:
            self._arrived(transport)

    def _arrived(self, transport: Any) -> None:
        self.arrivals.discard(transport)
        if not self.arrivals:
            self._settle()

    def abandoned(self, transport: Any, reason: Failure) -> None:
        """Note that an accepted connection ended before its session began."""
        self._arrived(transport)
        if transport.stage == "handshake":
            self.counts.handshake_failures += 1
        # The ordinary ends say no more than their cause does.
        detail = "" if reason.check(*_ENDS) else reason.getErrorMessage()
        hop = getattr(transport, "hop", None)
        self.refusals.note(transport.close_cause or "lost", transport.getPeer(), detail, hop)

    def accept_failed(self, reason: str) -> None:
        """Count an error of accept(2): `starved` of descriptors or memory, or `failed`."""
        note(self.counts.accept_failures, reason)

    def buildProtocol(self, addr: IAddress) -> IProtocol:
        """Return a first protocol, which makes the session once it is connected.

        Twisted's own endpoints and services come this way.
        """
        return Arrival(self)

    def start(self, session: Session, transport: Any) -> Any:
        """Build the handler's protocol, give it to the transport, and connect it.

        Returns:
            The protocol; None if the handler wants no such session, or failed at building it, and
            the connection is about to end.
        """
        if transport.tls is not None:
            self.counts.handshakes += 1
        session.begin()
        protocol = None
        try:
            build = getattr(self.factory, "buildSession", None)
            protocol = build(session) if build else self.factory.buildProtocol(session.peer)
            connect = getattr(protocol, "makeConnection", None)
            if connect is not None:
                transport.protocol = protocol
                connect(transport)
            elif protocol is None:
                transport.abort_because("handler-refused")
            else:  # the transport is not given what it couldn't tell of the end
                kind, protocol = type(protocol).__name__, None
                raise TypeError(f"the handler's factory built no protocol, but a {kind}")
        except BaseException:  # sys.exit() in a handler ends its session, not the daemon
            session.handler_failed(Failure())
            transport.abort_because("handler-failed")
        return protocol


@implementer(IHalfCloseableProtocol)
class Arrival(Protocol):
    """The first protocol of a connection that an endpoint made: makes the session and steps aside.

    `ClientService` and the like put a protocol of their own around what `buildProtocol` returned,
    in order to hear of the end; `outer` is that one, and the session's end is passed on to it.

    Attributes:
        handler_protocol: the handler's own protocol, once connected; None if it refused.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._session: Session | None = None
        self._outer: Any = None
        self._relay: Relay | None = None
        self._place: Place | None = None
        self.handler_protocol: Any = None

    def makeConnection(self, transport: Any) -> None:
        """Make the session and hand the connection over to the handler, if it may come in."""
        self._place = self._serving.admits(transport.getPeer())
        if self._place is None:
            getattr(transport, "abortConnection", transport.loseConnection)()
            return
        # No test by attributes here: what wraps one of our transports passes those through.
        if isinstance(transport, ServerTransport) and transport.place is None:
            # It outlives us if it lingers.
            transport.place, self._place = self._place, None
        if isinstance(transport, StreamTransport):
            self._outer = transport.protocol
            self._session = Session(self._serving.origin, transport)
            transport.observer = self
            self.handler_protocol = self._serving.start(self._session, transport)
        else:
            self._stay_between(transport)

    def _stay_between(self, transport: Any) -> None:
        """Stay in between, since the transport is another package's and can't be handed over."""
        origin = self._serving.origin
        self._relay = relay = Relay(transport, origin.clock)
        self._session = relay.observer = Session(origin, relay)
        self.handler_protocol = self._serving.start(self._session, relay)

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes through the relay; nobody else's come here."""
        if self._relay is not None:
            self._relay.data_received(data)

    def readConnectionLost(self) -> None:
        """Pass the end of what the peer sends through the relay."""
        if self._relay is not None:
            self._relay.read_connection_lost()

    def writeConnectionLost(self) -> None:
        """Pass the end of what we send through the relay."""
        if self._relay is not None:
            self._relay.write_connection_lost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end came to us, not to a handler: through the relay, or since there is no handler."""
        self._leave()
        self._outer = None  # whoever stands around us has just been told
        if self._relay is not None:
            self._relay.connection_lost(reason)

    def handler_failed(self, failure: Failure) -> None:
        """Pass on to the session that its handler raised."""
        if self._session is not None:
            self._session.handler_failed(failure)

    def transport_closed(self, failure: Failure) -> None:
        """End the session, and tell whoever waits for the connection's end."""
        self._leave()
        if self._session is not None:
            self._session.transport_closed(failure)
        if self._outer is not None:
            self._outer.connectionLost(failure)

    def _leave(self) -> None:
        if self._place is not None:
            self._place.leave()
