"""The bytes between a socket and a protocol: corked writes and backpressure.

`StreamTransport` is what every tcpd transport is made of; `tcpd.net.sockets` and
`tcpd.net.tls_transport` put the sockets under it. Its rules:

- Reading and writing know the socket by `recv` and `send` alone, so TLS changes nothing else.
  What every message passes through is in `tcpd.net.hot_path`, the two ends of stream are in
  `tcpd.net.half_close`, and the end of all is in `tcpd.net.ending`.
- What a handler writes while one of its callbacks runs leaves with one `send` when the callback
  returns. At any other time it leaves at the end of the loop's turn. What the kernel doesn't take
  stays in Twisted's own buffer, and `doWrite` sends it; order and producers are Twisted's.
- `write` never raises for the socket's sake and never ends a session: a failed `send` leaves the
  data queued, and `doWrite` meets an error again where ending is allowed.
- A peer that doesn't read is not read from: when what it sent is answered and more than
  `HIGH_WATER` bytes are queued, reading stops until `LOW_WATER` is left, unless a producer is
  registered, for then Twisted's own rules hold. The handler's `pauseProducing` is a second,
  independent reason. Writes that answer nothing don't stop reading: the peer may be waiting for
  us to read before it reads itself, and then neither would ever go on.
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.main import CONNECTION_LOST

from tcpd.net.half_close import HalfClose
from tcpd.net.hot_path import CORKED, LEAN_KINDS, OPEN
from tcpd.net.tcp_info import TCPInfo, tcp_info

# Two reads' worth: the answer to one may be queued whole, and the next already be there, so that a
# peer that does read is not held by a single read, and one that doesn't costs no more than this.
HIGH_WATER = 256 * 1024
# Reading resumes before the queue is empty, so that a fast peer's pipe doesn't run dry.
LOW_WATER = 64 * 1024


class StreamTransport(HalfClose):
    """The part of a transport that is the same for TCP, UNIX sockets and TLS, server and client.

    Attributes:
        tls: facts about TLS on this socket; None without it.
        stage: what an accepted connection waits for before it is open: "header" (PROXY) or
            "handshake" (TLS); empty once it is open.
        stage_since: since when, in seconds on the reactor's clock.
        pauses: how often reading has waited for a peer that didn't read.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        LEAN_KINDS.add(cls)

    tls: Any = None
    stage: str = ""
    stage_since: float = 0.0
    pauses: int = 0  # the class's own, until there is one

    _held_by_handler = False
    _held_by_queue = False
    # Whether what is written outside dataReceived counts as an answer to what was read before.
    _late_writes_count = False

    def getHost(self) -> Any:
        """Our own address on this connection; the proxy's, if it was told."""
        return self._host_address or super().getHost()

    def tcp_info(self) -> TCPInfo | None:
        """Return what the kernel says of the connection; None if it isn't TCP, or is over."""
        return tcp_info(self.socket) if hasattr(self, "socket") else None

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
            self.abort_because("handler-failed")

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

    def _tapped(self, direction: str, data: bytes) -> None:
        try:
            if self.tap is not None:
                self.tap(direction, data)
        except Exception:  # a tap loses its own copy and never the session
            self.tap = None
            self.log.failure("The tap of {transport} failed and is off", transport=self)

    # -- names in logs -----------------------------------------------------------------------

    def logPrefix(self) -> str:
        """The protocol's name and the peer, made only when somebody logs."""
        protocol = getattr(self, "protocol", None)
        return "" if protocol is None else self._getLogPrefix(protocol)

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """The log prefix, by the name that Twisted's own transports keep it under."""
        return self.logPrefix() or "Uninitialized"
