"""The reconnecting client service: one outgoing connection that is kept up.

It stands on Twisted's `ClientService`. A Twisted program can use it by itself:

    from tcpd.connector import Connector
    uplink = Connector(reactor, "tcp:127.0.0.1:7000", MyFactory())
    uplink.startService()

Rules:
- Between tries it pauses, longer and longer; see `tcpd.pauses`.
- Each change of state is logged and reported once; tries that change nothing are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeVar

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from tcpd.admission.deadlines import ConnectorDeadlines
from tcpd.config.schema import Reconnect
from tcpd.endpoint import ClientEndpoint
from tcpd.endpoint_making import client_endpoint, client_tls_of
from tcpd.escape import escape_text
from tcpd.events import Bus, ConnectorChanged
from tcpd.net.network import Network
from tcpd.net.proxy_sender import HeaderSender, Version
from tcpd.net.tls import ClientTLS
from tcpd.net.tls_transport import HandshakeError
from tcpd.pauses import Pauses
from tcpd.plain_errors import why_not_connected
from tcpd.serving import Arrival, Serving, Terms
from tcpd.session import Origin, Session
from tcpd.tally import Counts
from tcpd.tries import Tries
from tcpd.units import format_duration

T = TypeVar("T")
State = Literal["idle", "connecting", "connected", "retrying", "gave-up", "stopped"]


class _Quiet(Logger):
    """What ClientService says of each try, for who looks for it."""

    def emit(self, level: Any, format: str | None = None, **fields: Any) -> None:
        super().emit(LogLevel.debug if level is LogLevel.info else level, format, **fields)


class Connector(ClientService):
    """Keeps one outgoing connection up and serves it with a handler.

    Args:
        reactor: the reactor.
        endpoint: one of Twisted's client endpoint strings, or an endpoint.
        factory: the handler: a Twisted factory, or an `ISessionFactory`.
        name: what logs and records call it.
        handler: what they call the handler; by default the factory's class.
        reconnect: the pauses between tries, and how many there may be.
        deadlines: those of the connection, for whoever sweeps.
        tls: TLS for the connection, or None.
        proxy: the version of the PROXY header that the connection begins with, or None for none;
            for an endpoint string only.
        bus: where its events go.
        counts: where it is counted what it does; None for a place of its own.

    Attributes:
        state: `idle` before it starts, then `connecting`, `connected`, `retrying`, `gave-up` after
            the last try that `reconnect.tries` allows, `stopped`.
        failures: how many tries have failed since the last connection.
    """

    log = Logger()
    _log = _Quiet()

    def __init__(
        self,
        reactor: Any,
        endpoint: str | IStreamClientEndpoint,
        factory: Any,
        *,
        name: str = "connector",
        handler: str = "",
        reconnect: Reconnect | None = None,
        deadlines: ConnectorDeadlines | None = None,
        tls: ClientTLS | None = None,
        proxy: Version | None = None,
        bus: Bus | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.state: State = "idle"
        self.failures = 0
        self.setName(name)
        self._reactor = reactor
        self._pauses = Pauses(reconnect or Reconnect())
        self._bus = bus or Bus()
        self._connected_at = 0.0
        self._giving_up: Any = None
        self._cutting: Any = None
        self._retiring: list[Deferred[None]] = []
        self._amid = False
        self._handler_runs = False
        self._network: Network | None = None
        if isinstance(endpoint, str):
            target = ClientEndpoint.parse(endpoint)
            self._target = target.address
            header = None if proxy is None else HeaderSender(version=proxy)
            secure = client_tls_of(target) or tls
            self._network = Network(reactor, client_tls=secure, client_header=header)
            endpoint = client_endpoint(self._network, target)
        elif proxy is not None:
            raise ValueError(
                "a PROXY header needs an endpoint string, whose connections are tcpd's"
            )
        else:
            self._target = escape_text(repr(endpoint), limit=100)
        handler = handler or type(factory).__name__
        origin = Origin(
            name=name,
            handler=handler,
            role="connector",
            bus=self._bus,
            clock=reactor,
            tally=(counts or Counts()).of(handler),
        )
        self._serving = _Handover(origin, factory, deadlines, self.amid)
        super().__init__(
            Tries(endpoint, self), self._serving, retryPolicy=self._pause, clock=reactor
        )

    @property
    def target(self) -> str:
        """Where it connects to, for people."""
        return self._target

    @property
    def serving(self) -> Serving:
        """What makes the session of the connection."""
        return self._serving

    def startService(self) -> None:
        """Begin to connect.

        Raises:
            StartError: the handler fails to start.
        """
        if self.running:
            return
        self.failures = 0
        self._pauses.begin_anew()
        self.start_handler()
        self._change("connecting", f"connects to {self._target}")
        super().startService()

    def start_handler(self) -> None:
        """Start the handler, which runs until the service stops; done before it begins to connect.

        Raises:
            StartError: the handler fails to start.
        """
        if not self._handler_runs:
            # Held until the end, lest a plain factory starts and stops, and says so, at each try.
            self._serving.doStart()
            self._handler_runs = True

    def stop_handler(self) -> None:
        """Stop the handler of a service that doesn't run, once its last session has ended."""
        if self._handler_runs:
            self._handler_runs = False
            self._serving.doStop()

    def change(self, reconnect: Reconnect, terms: Terms | None = None) -> None:
        """Have other pauses between tries, and other terms for connections to come.

        The connection that there is stays as it is.
        """
        self._pauses.reconnect = reconnect
        if terms is not None:
            self._serving.change(terms)

    def renew_tls(self, fresh: Connector) -> None:
        """Take over the TLS of another connector to the same place, which has just read it.

        Its PROXY header comes along.
        """
        if self._network is not None and fresh._network is not None:
            self._network.client_tls = fresh._network.client_tls
            self._network.client_header = fresh._network.client_header

    def stopService(self) -> Deferred[None]:
        """Close the connection, or stop trying.

        Returns:
            A Deferred that fires when the connection is closed.
        """
        if self._amid:
            return deferLater(self._reactor, 0).addCallback(lambda _: self.stopService())
        if not self.running:
            return self._outside(super().stopService())
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        if self.state != "gave-up":
            self._change("stopped", "stops")
        self._serving.expect_shutdown()
        return self._outside(super().stopService()).addBoth(self._stopped)

    def cut_after(self, seconds: float) -> None:
        """Abort the connection, unless it has closed until then: a handler may send for ever.

        Args:
            seconds: from now on; the service is being stopped.
        """
        if self.running or any(sessions for _, sessions in self._serving.lots()):
            self._cutting = self._reactor.callLater(seconds, self._cut)

    def _cut(self) -> None:
        self._cutting = None
        for _, sessions in tuple(self._serving.lots()):
            for session in tuple(sessions):
                transport: Any = session.transport
                transport.abort_because("shutdown")

    def _stopped(self, result: Any) -> Any:
        cutting, self._cutting = self._cutting, None
        if cutting is not None:
            cutting.cancel()
        self.stop_handler()
        retiring, self._retiring = self._retiring, []
        for each in retiring:
            each.callback(None)
        return result

    def retire(self) -> Deferred[None]:
        """Connect no more, and stop once the connection that is open has ended by itself.

        Returns:
            A Deferred that fires when it has stopped.
        """
        if not self.running or not any(sessions for _, sessions in self._serving.lots()):
            return self.stopService()
        retired: Deferred[None] = Deferred()
        self._retiring.append(retired)
        return retired

    def _outside(self, result: Deferred[T]) -> Deferred[T]:
        """Return a Deferred with the same result, which fires in a turn of its own.

        ClientService fires its own from inside its state machine, which then refuses whatever a
        callback asks of the service, be it no more than `await service.stopService()`.
        """
        outside: Deferred[T] = Deferred()
        result.addBoth(lambda value: self._reactor.callLater(0, outside.callback, value))
        return outside

    def whenConnected(self, failAfterFailures: int | None = None) -> Deferred[IProtocol]:  # noqa: N803
        """Return the handler's protocol of this connection, or of the next one.

        Args:
            failAfterFailures: after how many failed tries to give up waiting; None for never.

        Returns:
            A Deferred that fires with the protocol, and fails with the reason of the last failed
            try, with `NoProtocol` if the handler refused the connection, or with `CancelledError`
            when the service stops.
        """
        connected = super().whenConnected(failAfterFailures)
        return self._outside(connected.addCallback(_handler_protocol))

    @contextmanager
    def amid(self) -> Iterator[None]:
        """Mark what ClientService can't be stopped in; a stop then waits for the next turn.

        The handler's `connectionMade` is such a place, and whoever hears of a change of state.
        """
        before, self._amid = self._amid, True
        try:
            yield
        finally:
            self._amid = before

    def connected(self) -> None:
        """Note that a try has succeeded."""
        self._serving.counts.tries += 1
        tries, self.failures = self.failures + 1, 0
        self._connected_at = self._reactor.seconds()
        after = f" at try {tries}" if tries > 1 else ""
        self._change("connected", f"is connected to {self._target}{after}")

    def failed(self, failure: Failure) -> None:
        """Note that a try has failed, and give up if it was the last."""
        if not self.running:
            return
        self.failures += 1
        counts = self._serving.counts
        counts.tries += 1
        counts.failed_tries += 1
        if isinstance(failure.value, HandshakeError):
            counts.handshake_failures += 1
        why = escape_text(why_not_connected(failure).rstrip("."), limit=200)
        pauses = self._pauses.reconnect
        if pauses.tries is not None and self.failures >= pauses.tries:
            tries = "1 try" if self.failures == 1 else f"{self.failures} tries"
            self._change("gave-up", f"gives up {self._target} after {tries}: {why}")
            # Not at once: ClientService is amid its own handling of this very failure.
            self._giving_up = self._reactor.callLater(0, self._give_up)
            return
        self._change(
            "retrying",
            f"can't connect to {self._target}: {why}; tries again, with pauses from"
            f" {format_duration(pauses.initial)} to {format_duration(pauses.max)}",
        )
        self.log.debug(
            "connector {connector}: try {tries} failed: {why}",
            connector=self.name,
            tries=self.failures,
            why=why,
        )

    def _give_up(self) -> None:
        self._giving_up = None
        self.stopService()

    def _pause(self, attempt: int) -> float:
        """Return the seconds until the next try; ClientService asks when a connection is gone.

        `attempt` begins anew with each connection, which isn't what we count.
        """
        lost = self.state == "connected"
        lasted = self._reactor.seconds() - self._connected_at if lost else None
        wait = self._pauses.next(lasted)
        if self._retiring:
            self._reactor.callLater(0, self.stopService)
        elif lost and self.running:
            again = f"connects again in {format_duration(wait)}"
            self._change("retrying", f"has lost {self._target}; {again}")
        return wait

    def _change(self, state: State, text: str) -> None:
        if state == self.state:
            return
        self.state = state
        report = self.log.error if state == "gave-up" else self.log.info
        event = ConnectorChanged(connector=str(self.name), state=state, detail=text)
        report(
            "connector {connector} {detail}",
            connector=self.name,
            detail=text,
            record=event.fields(),
        )
        with self.amid():
            self._bus.emit(event)


class _Handover(Serving):
    """Serves connections as any listener does, and marks the time in which the handler is built."""

    def __init__(
        self,
        origin: Origin,
        factory: Any,
        deadlines: ConnectorDeadlines | None,
        amid: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(origin, factory, deadlines)
        self._amid = amid

    def start(self, session: Session, transport: Any) -> Any:
        with self._amid():
            return super().start(session, transport)


def _handler_protocol(protocol: Any) -> Any:
    if not isinstance(protocol, Arrival):
        return protocol
    if protocol.handler_protocol is None:
        raise NoProtocol("the handler refused the connection")
    return protocol.handler_protocol
