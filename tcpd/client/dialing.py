"""From a target to a connection: resolve, connect, shake hands, and take the time of each.

A name is resolved in a thread of its own, which nobody waits for at the end: a resolver that hangs
must not outlast `--timeout`. Its addresses are tried as RFC 8305 has it: one after another with a
quarter second between them, families in turn, and the first to answer wins.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tcpd.client.backoff import Backoff
from tcpd.client.connection import Owner, Wire, format_address
from tcpd.client.console import Console
from tcpd.client.dial_errors import DialError, handshake_reason, plain, tls_error
from tcpd.client.options import Options
from tcpd.client.race import Race
from tcpd.client.target import Target
from tcpd.client.timed_tls import NO_LIMIT, TimedTLS
from tcpd.escape import escape_text
from tcpd.net.network import Network
from tcpd.net.proxy_sender import HeaderSender
from tcpd.units import format_duration

T = TypeVar("T")

Resolver = Callable[[str, int], "list[str]"]


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, the preferred one first; blocks.

    Raises:
        socket.gaierror: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_address(info[4]) for info in found))


def _address(sockaddr: tuple[Any, ...]) -> str:
    host = str(sockaddr[0])
    scope = sockaddr[3] if len(sockaddr) == 4 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host


def in_thread(reactor: Any, call: Callable[[], T]) -> Deferred[T]:
    """Run a blocking call in a daemon thread; where it's cancelled, its result is dropped."""
    answer: Deferred[T] = Deferred()

    def settle(result: T | Failure) -> None:
        if not answer.called:
            answer.callback(result)

    def run() -> None:
        result: T | Failure
        try:
            result = call()
        except Exception:
            result = Failure()
        reactor.callFromThread(settle, result)

    threading.Thread(target=run, daemon=True, name="resolver").start()
    return answer


def in_turn(addresses: Sequence[str]) -> list[str]:
    """Return addresses with the families alternating, the first one's family first."""
    first = ":" in addresses[0] if addresses else False
    same = [a for a in addresses if (":" in a) == first]
    other = [a for a in addresses if (":" in a) != first]
    return [a for a in chain.from_iterable(zip_longest(same, other)) if a is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialler:
    """Connects to one target, as often as it's asked to.

    Attributes:
        reactor: what times out, and what the resolver's thread reports to.
        network: what makes the connections; a reactor as endpoints want it.
        tls: how the network speaks TLS, None for no TLS.
        target: where to connect to.
        timeout: seconds for all the steps together, None for no limit.
        patient: whether to try again and again (`--reconnect`).
        console: where the details go.
        resolver: gives the addresses of a host name; may block.
    """

    reactor: Any
    network: Any
    tls: TimedTLS | None
    target: Target
    timeout: float | None
    patient: bool
    console: Console
    resolver: Resolver = resolve

    async def dial_patiently(self, owner: Owner, backoff: Backoff) -> Wire:
        """Return a connection as `dial` does; if we are patient, after as many tries as it takes.

        Raises:
            DialError: none came about, and trying again was not wanted or is of no use.
        """
        while True:
            try:
                return await self.dial(owner)
            except DialError as problem:
                if problem.final or not self.patient:
                    raise
                said = str(problem)
            await self.pause(said, backoff)

    async def pause(self, said: str, backoff: Backoff) -> None:
        """Say what happened and when the next try is, and wait for that."""
        delay = backoff.next_delay()
        self.console.say(f"{said}; trying again in {format_duration(delay)}")
        await deferLater(self.reactor, delay)

    async def dial(self, owner: Owner) -> Wire:
        """Return a connection that is ready to be used, TLS and all.

        Raises:
            DialError: none came about.
        """
        attempt = Deferred.fromCoroutine(self._steps(owner))
        if self.timeout is not None:
            attempt.addTimeout(self.timeout, self.reactor)
        try:
            return await attempt
        except TimeoutError:
            limit = format_duration(self.timeout or 0)
            raise DialError(
                f"no connection to {self.target} within {limit}; --timeout allows more"
            ) from None

    async def _steps(self, owner: Owner) -> Wire:
        factory = Factory.forProtocol(lambda: Wire(owner))
        factory.noisy = False
        addresses = await self._addresses()
        started = time.monotonic()
        attempts = [
            lambda e=endpoint: e.connect(factory) for endpoint in self._endpoints(addresses)
        ]
        try:
            wire: Wire = await Race(self.reactor, attempts).start()
        except BaseExceptionGroup as group:
            raise self._explain(group.exceptions, addresses) from None
        self._tell(wire, started)
        return wire

    async def _addresses(self) -> list[str]:
        host = self.target.host
        if not host or _is_literal(host):
            return [host]
        started = time.monotonic()
        try:
            found = await in_thread(self.reactor, lambda: self.resolver(host, self.target.port))
        except (OSError, UnicodeError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else "not a valid name"
            raise DialError(f"cannot find host {host!r}: {why}") from None
        took = format_duration(time.monotonic() - started)
        self.console.detail(f"{host} is {', '.join(found)} (found in {took})")
        return in_turn(found)

    def _endpoints(self, addresses: Sequence[str]) -> list[Any]:
        if self.target.path:
            unix = UNIXClientEndpoint(self.network, self.target.path, NO_LIMIT)
            return [unix]
        bind = (self.target.bind_address, 0) if self.target.bind_address else None
        return [
            (TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint)(
                self.network, address, self.target.port, NO_LIMIT, bind
            )
            for address in addresses
        ]

    def _explain(self, errors: Sequence[BaseException], addresses: Sequence[str]) -> DialError:
        where = str(self.target)
        if len(addresses) > 1 or addresses[0] != self.target.host:
            where += f" ({', '.join(addresses)})"
        for problem in errors:
            if reason := handshake_reason(problem):
                return tls_error(where, self.tls.server_name if self.tls else "", reason)
        reasons = dict.fromkeys(plain(problem) for problem in errors)
        return DialError(f"cannot connect to {where}: {' / '.join(reasons)}")

    def _tell(self, wire: Wire, started: float) -> None:
        finished = time.monotonic()
        connected = self.tls.began if self.tls else finished
        peer, local = wire.transport.getPeer(), wire.transport.getHost()
        self.console.detail(
            f"connected to {format_address(peer)} from {format_address(local)} "
            f"in {format_duration(connected - started)}"
        )
        if self.tls:
            facts = wire.transport.tls
            names = escape_text(", ".join(facts.peer_names)) or "nobody: it was not checked"
            self.console.detail(
                f"{facts.version}, {facts.cipher}, certificate for {names} "
                f"(handshake in {format_duration(finished - self.tls.began)})"
            )


def make_dialler(reactor: Any, options: Options, console: Console) -> Dialler:
    """Return what makes the connections that the command line asked for.

    Raises:
        TcpdError: a file that TLS was to use can't be used.
    """
    tls = TimedTLS(options.tls) if options.tls else None
    return Dialler(
        reactor=reactor,
        network=Network(reactor, client_tls=tls, client_header=_header(options)),
        tls=tls,
        target=options.target,
        timeout=options.timeout,
        patient=options.reconnect,
        console=console,
    )


def _header(options: Options) -> HeaderSender | None:
    if options.proxy is None:
        return None
    source = None
    if options.proxy_source is not None:
        host, port = options.proxy_source
        source = (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
    return HeaderSender(version=options.proxy, source=source)


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return False
