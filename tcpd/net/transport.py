"""The bytes between a socket and a protocol: corked writes, backpressure, half-close, one ending.

`StreamTransport` is what every tcpd transport is made of; `tcpd.net.sockets` and
`tcpd.net.tls_transport` put the sockets under it. Its rules:

- Reading and writing know the socket by `recv` and `send` alone, so TLS changes nothing else.
  What every message passes through is in `tcpd.net.hot_path`.
- What a handler writes while one of its callbacks runs leaves with one `send` when the callback
  returns. At any other time it leaves at the end of the loop's turn. What the kernel doesn't take
  stays in Twisted's own buffer, and `doWrite` sends it; order and producers are Twisted's.
- `write` never raises for the socket's sake and never ends a session: a failed `send` leaves the
  data queued, and `doWrite` meets the same error where ending is allowed.
- A peer that doesn't read is not read from: when what it sent is answered and more than
  `HIGH_WATER` bytes are queued, reading stops until `LOW_WATER` is left, unless a producer is
  registered, for then Twisted's own rules hold. The handler's `pauseProducing` is a second,
  independent reason. Writes that answer nothing don't stop reading: the peer may be waiting for
  us to read before it reads itself, and then neither would ever go on.
- A peer that shuts down its side gets what was written for it before the protocol hears
  `connectionLost`, whether or not it knows of half-close. When both sides have shut down theirs,
  the session is over.
- Whatever a handler's callback raises ends this session alone, with one report.
- A session ends once: `connectionLost`, then `observer.transport_closed`. Its socket may linger
  for a while, so that the peer gets all of what was sent; see `tcpd.net.lingering`.
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.net.causes import cause_of_end, cause_of_error
from tcpd.net.hot_path import CORKED, OPEN, HotPath
from tcpd.net.lingering import lingers
from tcpd.net.tcp_info import TCPInfo, tcp_info

# Two reads' worth: the answer to one may be queued whole, and the next already be there, so that a
# peer that does read is not held by a single read, and one that doesn't costs no more than this.
HIGH_WATER = 256 * 1024
# Reading resumes before the queue is empty, so that a fast peer's pipe doesn't run dry.
LOW_WATER = 64 * 1024
# A producer that is silent for so long after the peer's end of stream counts as finished. It may
# be another connection that will never speak again, and whose owner only waits for our end.
PRODUCER_GRACE = 10.0
# Ends at which we make no farewell; nor do we where `_reset` is set.
_NOT_ORDERLY = frozenset(("peer-reset", "proxy-invalid"))


class TransportObserver(Protocol):
    """Who is told how a transport fares: tcpd's session."""

    def transport_closed(self, reason: Failure, /) -> None:
        """The session is over; called once, after the protocol's `connectionLost`."""

    def handler_failed(self, failure: Failure, /) -> None:
        """A callback of the handler's raised; the session ends at once."""


class StreamTransport(HotPath):
    """The part of a transport that is the same for TCP, UNIX sockets and TLS, server and client.

    Attributes:
        observer: who is told of the end and of handler failures; None for nobody.
        close_cause: empty while the session lives, then why it ended: "peer-closed",
            "handler-closed", "handler-aborted", "peer-reset", "handler-failed", "tls-failed",
            "proxy-invalid", "lost", or what `abort_because` was told.
        tls: facts about TLS on this socket; None without it.
        stage: what an accepted connection waits for before it is open: "header" (PROXY) or
            "handshake" (TLS); empty once it is open.
        stage_since: since when, in seconds on the reactor's clock.
        pauses: how often reading has waited for a peer that didn't read.
    """

    log: ClassVar[Logger] = Logger()

    observer: TransportObserver | None = None
    close_cause: str = ""
    tls: Any = None
    stage: str = ""
    stage_since: float = 0.0
    pauses: int = 0  # the class's own, until there is one

    _host_address: Any = None
    _held_by_handler = False
    _held_by_queue = False
    _peer_finished = False
    _draining = False
    _write_shut_down = False
    # Whether the peer is to see a reset at the end.
    _reset = False
    _grace_call: Any = None
    # Whether what is written outside dataReceived counts as an answer to what was read before.
    _late_writes_count = False

    def getHost(self) -> Any:
        """Our own address on this connection; the proxy's, if it was told."""
        return self._host_address or super().getHost()

    def tcp_info(self) -> TCPInfo | None:
        """Return what the kernel says of the connection; None if it isn't TCP, or is over."""
        return tcp_info(self.socket) if "socket" in self.__dict__ else None

    # -- writing, off the hot path -----------------------------------------------------------

    def _flush_soon(self) -> None:
        if self.dataBuffer:
            self._wrote_late = self._late_writes_count
        elif len(self._tempDataBuffer) == 1:  # the first since the last flush
            self._loop.flush_later(self)

    def _after_flush_with_producer(self) -> None:
        # doWrite is what asks a producer for more, and what ends a session that waits for one.
        if (
            not self.streamingProducer
            or self.producerPaused
            or self.disconnecting
            or self._draining
        ):
            self.startWriting()

    def _pause_producer(self) -> None:
        # Outside the handler's own stack, so nobody but us can take what this raises.
        try:
            self._maybePauseProducer()
        except BaseException:
            self._handler_failed()
            super().abortConnection()

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Send what the kernel takes now; gives the number of bytes, or why the session ends."""
        if not data:
            return 0
        try:
            sent = self.socket.send(memoryview(data)[: self.SEND_LIMIT])
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.args[0] == errno.ENOBUFS:
                return 0
            self._blame(self._cause_of(error))
            return CONNECTION_LOST
        self.last_write = self._loop.now
        self.bytes_out += sent
        if self.tap is not None:
            self._tapped("out", bytes(data[:sent]))
        return sent

    def doWrite(self) -> BaseException | None:  # type: ignore[override]
        """Send from the queue, then do what waited for its end: producer, half-close, close."""
        self._corked = CORKED
        try:
            why: BaseException | None = super().doWrite()
        except BaseException:  # a producer's resumeProducing, or writeConnectionLost
            self._corked = OPEN
            return self._handler_failed()
        self._corked = OPEN
        if why is not None:
            return why
        if self._tempDataBuffer:
            self.flush()
        if self._held_by_queue and self.queued <= LOW_WATER:
            self._held_by_queue = False
            self._read_on()
        if self._draining:
            return self._drained()
        if self._both_finished():
            return self._postLoseConnection()
        return None

    @property
    def queued(self) -> int:
        """How many of the handler's bytes the kernel hasn't taken yet; 0 once it has ended."""
        return len(self.dataBuffer) - self.offset + sum(map(len, self._tempDataBuffer))

    # -- backpressure ------------------------------------------------------------------------

    def _hold_if_full(self) -> None:
        if self.producer is None and self.queued > HIGH_WATER:
            self.pauses += not self._held_by_queue
            self._held_by_queue = True
            self.stopReading()

    @property
    def held(self) -> bool:
        """Whether nothing is read from the peer now: for the queue's sake, or the handler's."""
        return self._held_by_queue or self._held_by_handler

    def _read_on(self) -> None:
        if (
            self.connected
            and not self.disconnecting
            and not self._held_by_handler
            and not self._held_by_queue
            and not self._peer_finished
            and not self._aborting
        ):
            self.startReading()

    def pauseProducing(self) -> None:
        """Stop reading on the handler's behalf."""
        self._held_by_handler = True
        self.stopReading()

    def resumeProducing(self) -> None:
        """The handler wants data again; it comes when the queue doesn't forbid it."""
        self._held_by_handler = False
        self._read_on()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take a producer; from now on Twisted's rules pace it, and the queue holds no reads."""
        super().registerProducer(producer, streaming)
        if self._held_by_queue and self.producer is not None:
            self._held_by_queue = False
            self._read_on()

    def unregisterProducer(self) -> None:
        """Let the producer go; a session that only waited for it ends when its queue is sent."""
        if self._writeDisconnected:  # as in loseWriteConnection: not to be asked about any more
            self.producer = None
            return
        super().unregisterProducer()
        if self._draining and self.connected and self.producer is None:
            self.startWriting()

    # -- half-close --------------------------------------------------------------------------

    @property
    def peer_finished(self) -> bool:
        """Whether the peer has said that it sends no more."""
        return self._peer_finished

    @property
    def write_finished(self) -> bool:
        """Whether we have said that we send no more."""
        return self._write_shut_down

    @property
    def was_reset(self) -> bool:
        """Whether we have broken the connection off, so that the peer sees a reset."""
        return self._reset

    def loseWriteConnection(self) -> None:
        """Send what is queued, then no more; of a session that is over, nothing."""
        # Once: to ask whether such a socket is writable makes epoll say that it is gone, when the
        # peer has finished as well, even if there is something to read.
        if self.connected and not self._writeDisconnecting:
            super().loseWriteConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer sends no more: tell a protocol that asked for it, else finish what is queued."""
        if not self.connected:  # an attempt to connect that came to nothing
            self.connectionLost(reason)
            return
        self._peer_finished = True
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None:
            self.perform(half_closeable.readConnectionLost)
            if self._both_finished() and self._postLoseConnection():
                self.connectionLost(reason)
        elif self._nothing_to_come() and not self.queued and self._postLoseConnection():
            self.connectionLost(reason)
        else:
            self._draining = True
            self.startWriting()

    def _both_finished(self) -> bool:
        """Whether neither side has more to say, so that nothing would ever end the session."""
        return bool(self.connected and self._peer_finished and self._writeDisconnected)

    def _nothing_to_come(self) -> bool:
        return self.producer is None or self._writeDisconnected

    def _drained(self) -> BaseException | None:
        """What ends a session whose peer has finished, once nothing more is to come for it."""
        if not self.connected or self.queued:
            return None
        if self._nothing_to_come():
            return self._postLoseConnection()
        if self._grace_call is None:
            self._grace_call = self.reactor.callLater(PRODUCER_GRACE, self._grace_over)
        return None

    def _grace_over(self) -> None:
        self._grace_call = None
        silence = self.reactor.seconds() - self.last_write
        if self.queued or silence < PRODUCER_GRACE:
            wait = max(PRODUCER_GRACE - silence, 0.1 * PRODUCER_GRACE)
            self._grace_call = self.reactor.callLater(wait, self._grace_over)
        else:
            self.connectionLost(Failure(CONNECTION_DONE))

    def _postLoseConnection(self) -> BaseException | None:
        """Everything is sent: what the session ends with, or None if a farewell has to wait."""
        return CONNECTION_DONE

    def _closeWriteConnection(self) -> None:
        if self._write_shut_down:  # Twisted's doWrite comes here whenever it is called again
            return
        self._write_shut_down = True
        self._shut_down_write()
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None:
            half_closeable.writeConnectionLost()  # doWrite minds what this raises

    def _shut_down_write(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone; reading will say so

    # -- the handler's callbacks -------------------------------------------------------------

    def perform(self, step: Callable[..., object], *arguments: object) -> bool:
        """Run a callback of the handler's: corked, and ending the session if it raises.

        Returns:
            whether it returned. If not, the failure is reported and the session is over.
        """
        self._corked = CORKED
        try:
            step(*arguments)
        except BaseException:
            self._corked = OPEN
            self.connectionLost(Failure(self._handler_failed()))
            return False
        self._corked = OPEN
        if self._tempDataBuffer:
            self.flush()
        return True

    def _handler_failed(self) -> BaseException:
        """Report the exception in flight; gives it, for the session to end with."""
        failure = Failure()
        self._reset = True
        self._blame("handler-failed")
        self._report(failure)
        return cast(BaseException, failure.value)

    def _report(self, failure: Failure) -> None:
        if self.observer is not None:
            try:
                self.observer.handler_failed(failure)
            except Exception:
                self.log.failure("An observer of {transport} failed", transport=self)
        else:
            self.log.failure(
                "A handler failed; its session {transport} is aborted",
                failure=failure,
                transport=self,
            )

    def _tapped(self, direction: str, data: bytes) -> None:
        try:
            if self.tap is not None:
                self.tap(direction, data)
        except Exception:  # a tap loses its own copy and never the session
            self.tap = None
            self.log.failure("The tap of {transport} failed and is off", transport=self)

    # -- the end -----------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """Close when everything is sent; never in this call, which a callback may be making."""
        if self.connected and self._writeDisconnected and not self.disconnecting:
            self.disconnecting = 1
            self.stopReading()
            self.reactor.callLater(0, self._close_half_closed)
        else:
            super().loseConnection()

    def _close_half_closed(self) -> None:
        if self.connected and not self._aborting and self._postLoseConnection():
            self.connectionLost(Failure(CONNECTION_DONE))

    def abort_because(self, cause: str) -> None:
        """Abort, and let `close_cause` say why."""
        self._reset = True
        self._blame(cause)
        super().abortConnection()

    def close_because(self, cause: str) -> None:
        """Close as `loseConnection` does, and let `close_cause` say why."""
        self._blame(cause)
        self.loseConnection()

    def abortConnection(self) -> None:
        """End the session at once, without sending what is queued."""
        self.abort_because("handler-aborted")

    def reset_connection(self) -> None:
        """Abort so that the peer sees a reset (RST) rather than an end of stream."""
        self.abortConnection()  # Twisted's own way of aborting sets SO_LINGER to zero

    def _blame(self, cause: str) -> None:
        """The first cause is the one that counts."""
        if not self.close_cause:
            self.close_cause = cause

    def _receive_failed(self, error: OSError) -> BaseException:
        self._blame(self._cause_of(error))
        return CONNECTION_LOST

    def _cause_of(self, error: OSError) -> str:
        return cause_of_error(error)

    def connectionLost(self, reason: Failure) -> None:
        """End the session: once, whatever calls it and however often."""
        if not hasattr(self, "socket"):
            return
        if not self.close_cause:
            finished = self._peer_finished
            self.close_cause = cause_of_end(reason.value, self.socket, peer_finished=finished)
        if self.observer is not None:
            # Records of the end name it, and of a closed socket it can't be asked.
            try:
                self._host_address = self.getHost()
            except OSError:
                pass  # then they do without
        if self._grace_call is not None:
            self._grace_call.cancel()
            self._grace_call = None
        producer, self.producer = self.producer, None
        self.ask_again()
        self.disconnected = 1
        self.connected = 0
        self._loop.forget(self)
        self._tempDataBuffer = []
        self._tempDataLen = 0
        self.dataBuffer = b""
        self.offset = 0
        # After a failure the peer gets a reset: it must not take what it has for the whole. And
        # what the peer itself has reset can't be shut down.
        orderly = not self._reset and self.close_cause not in _NOT_ORDERLY
        lingering = orderly and not self._peer_finished and self._lingers(reason)
        if self.close_cause == "peer-reset":
            self.socket.close()  # the kernel is done with it
        elif not lingering:
            self._closeSocket(orderly)
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        self.tap = None
        if producer is not None:
            self._tell(producer.stopProducing)
        if protocol is not None:
            self._tell(protocol.connectionLost, reason)
        self._closed(reason)
        if not lingering:
            self._descriptor_released()

    def _lingers(self, reason: Failure) -> bool:
        done = isinstance(reason.value, ConnectionDone)
        return lingers(self.socket, self.reactor, self._descriptor_released, done=done)

    def _descriptor_released(self) -> None:
        """The socket is closed: at the end of the session, or later if it lingered."""

    def _closed(self, reason: Failure) -> None:
        observer, self.observer = self.observer, None
        if observer is not None:
            try:
                observer.transport_closed(reason)
            except Exception:
                self.log.failure("An observer of {transport} failed", transport=self)

    def _tell(self, step: Callable[..., object], *arguments: object) -> None:
        """Call the handler for the last time; what it raises is reported, and changes nothing."""
        try:
            step(*arguments)
        except BaseException:
            self._report(Failure())

    # -- names in logs -----------------------------------------------------------------------

    def logPrefix(self) -> str:
        """The protocol's name and the peer, made only when somebody logs."""
        protocol = self.__dict__.get("protocol")
        return "" if protocol is None else self._getLogPrefix(protocol)

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """The log prefix, by the name that Twisted's own transports keep it under."""
        return self.logPrefix() or "Uninitialized"
