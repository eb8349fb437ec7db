"""The end of a session: what it is blamed on, who hears of it, and what the peer sees.

Rules:
- A session ends once, whatever calls for it and however often: `connectionLost`, then
  `observer.transport_closed`. Its socket may linger for a while, so that the peer gets all of what
  was sent; see `tcpd.net.lingering`.
- It has one cause, the first that it was blamed on; see `tcpd.net.causes` for what counts if there
  was none.
- Whatever a handler's callback raises ends this session alone, with one report.
- After a failure or an abort the peer sees a reset: it must not take what it has for the whole.
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.net.causes import cause_of_end, cause_of_error
from tcpd.net.hot_path import CORKED, OPEN, HotPath
from tcpd.net.lingering import lingers

# Ends at which we make no farewell; nor do we where `_reset` is set.
_NOT_ORDERLY = frozenset(("peer-reset", "proxy-invalid"))
# Whom we refuse by what a PROXY header told was sent nothing that could get lost. Nor may such a
# peer hold a place for another moment: it counts for no address, so that nothing bounds them.
_REFUSED = "refused"


class TransportObserver(Protocol):
    """Who is told how a transport fares: tcpd's session."""

    def transport_closed(self, reason: Failure, /) -> None:
        """The session is over; called once, after the protocol's `connectionLost`."""

    def handler_failed(self, failure: Failure, /) -> None:
        """A callback of the handler's raised; the session ends at once."""


class Ending(HotPath):
    """How a session ends; `StreamTransport` makes a transport of it.

    Attributes:
        observer: who is told of the end and of handler failures; None for nobody.
        close_cause: empty while the session lives, then why it ended: "peer-closed",
            "handler-closed", "handler-aborted", "peer-reset", "handler-failed", "tls-failed",
            "proxy-invalid", "lost", or what `abort_because` was told.
    """

    log: ClassVar[Logger] = Logger()

    observer: TransportObserver | None = None
    close_cause: str = ""

    _host_address: Any = None
    _peer_finished = False
    # Whether the peer is to see a reset at the end.
    _reset = False

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

    # -- the end -----------------------------------------------------------------------------

    @property
    def was_reset(self) -> bool:
        """Whether we have broken the connection off, so that the peer sees a reset."""
        return self._reset

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

    def _send_failed(self, error: OSError) -> None:
        # Any other is met again; and of what the peer sent before, there may be a better reason.
        if self._cause_of(error) == "peer-reset":
            self._blame("peer-reset")

    def _cause_of(self, error: OSError) -> str:
        return cause_of_error(error, self.socket)

    def connectionLost(self, reason: Failure) -> None:
        """End the session: once, whatever calls it and however often."""
        if not hasattr(self, "socket"):
            return
        if not self.close_cause:
            finished = self._peer_finished
            self.close_cause = cause_of_end(reason.value, self.socket, peer_finished=finished)
            if self.close_cause == "peer-closed" and not self.queued:
                reason = Failure(CONNECTION_DONE)  # whatever the reactor took it for
        if self.observer is not None:
            # Records of the end name it, and of a closed socket it can't be asked.
            try:
                self._host_address = self.getHost()
            except OSError:
                pass  # then they do without
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
        may_linger = orderly and not self._peer_finished and self.close_cause != _REFUSED
        lingering = may_linger and self._lingers(reason)
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
