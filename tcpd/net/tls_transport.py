"""Transports that speak TLS on the socket itself.

A TLS transport is its plain kin with a `RecordSocket` for a socket, and before the session a
handshake, under a deadline. The protocol is connected when the handshake is done, so it never
talks to a peer that wasn't verified.

Our end of writing is a close_notify; reading goes on. The peer's is answered with what is queued.
A stream that ends without one may have been cut, and is reported as lost (RFC 8446, 6.1).
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N815
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from importlib import import_module
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import SSLError
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from tcpd.net.hot_path import READ_SIZE
from tcpd.net.sockets import (
    ClientTransport,
    ServerTransport,
    UNIXServer,
)
from tcpd.net.tls import TLSFacts, facts_of
from tcpd.net.tls_socket import FULL_RECORD, RecordSocket
from tcpd.net.transport import StreamTransport

_TCP_CLOSE = 7  # from <netinet/tcp.h>
# What the handshake meets when the peer has reset the connection.
_GONE = frozenset((errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN))


class HandshakeError(SSLError):
    """The TLS handshake failed, so there never was a session."""

    MESSAGE = "the TLS handshake failed"

    def __str__(self) -> str:
        return f"{self.MESSAGE}: {self.args[0]}" if self.args else self.MESSAGE


class PeerCertificate:
    """A peer's certificate, where pyOpenSSL isn't installed.

    Attributes:
        der: the certificate, DER-encoded (X.509, RFC 5280).
    """

    __slots__ = ("der",)

    def __init__(self, der: bytes) -> None:
        self.der = der


class TLSTransport(StreamTransport):
    """What TLS adds to a transport, server and client."""

    tls: TLSFacts | None = None
    socket: Any
    _shaking = False
    _deadline_call: Any = None
    _read_waits = False
    _write_waits = False
    # Whether our close_notify waits for the kernel, and with it the end of the session.
    _leaving = False
    # What reads a record, once the handshake is done: OpenSSL itself, with nothing of ours between.
    _read_record: Callable[[int], bytes]

    # -- the handshake -----------------------------------------------------------------------

    def _settings(self) -> Any:
        raise TypeError("a TLS transport takes its settings from its port or its connector")

    def begin(self) -> None:
        """Start the handshake; the session starts when it is done."""
        self.stage, self.stage_since = "handshake", self._loop.now
        self._shaking = True
        settings = self._settings()
        try:
            self.socket = settings.wrap(self.socket)
        except (OSError, ValueError) as error:
            self._handshake_over(error)
            return
        self.fileno = self.socket.fileno
        limit = settings.handshake_timeout
        if limit is not None:
            self._deadline_call = self.reactor.callLater(limit, self._handshake_late, limit)
        self.startReading()
        self._shake()

    def _shake(self) -> None:
        if not hasattr(self, "socket"):  # the same event's read part has ended it
            return
        try:
            state = self.socket.shake_hands()
        except OSError as error:
            self._handshake_over(error)
            return
        if state == "write":
            self.startWriting()
            return
        self.stopWriting()
        if state == "done":
            self._shaking = self._write_waits = False
            self._read_record = self.socket.read_record
            self.stage = ""
            self._cancel_deadline()
            self.socket.crossed = self._crossed
            self.tls = facts_of(self.socket)
            self._start_session()

    def _start_session(self) -> None:
        raise TypeError("a TLS transport is a server's or a client's")

    def _handshake_late(self, limit: float) -> None:
        self._deadline_call = None
        self._handshake_over(TimeoutError(errno.ETIMEDOUT, f"not finished in {limit:g} s"))

    def _handshake_over(self, error: Exception) -> None:
        self._cancel_deadline()
        self._blame("tls-failed")
        self.connectionLost(Failure(HandshakeError(string=_reason(error))))

    def _cancel_deadline(self) -> None:
        call, self._deadline_call = self._deadline_call, None
        if call is not None:
            call.cancel()

    def getPeerCertificate(self) -> Any:
        """The peer's certificate, or None if it showed none.

        With pyOpenSSL installed it is an `OpenSSL.crypto.X509`, which is what handlers written
        for Twisted expect; without, a `PeerCertificate`. `tls.peer_certificate` is always DER.
        """
        der = None if self.tls is None else self.tls.peer_certificate
        if der is None:
            return None
        try:
            crypto: Any = import_module("OpenSSL.crypto")
        except ImportError:
            return PeerCertificate(der)
        return crypto.load_certificate(crypto.FILETYPE_ASN1, der)

    # -- reading and writing -----------------------------------------------------------------

    def doRead(self) -> BaseException | None:  # type: ignore[override]
        """Read once, or go on with the handshake."""
        if self._shaking:
            self._shake()
            return None
        if self._write_waits:
            self._write_waits = False
            self.startWriting()
            if self._held_by_handler or self._held_by_queue:
                self.stopReading()
            return None
        return self._read()

    def _read(self) -> BaseException | None:
        try:
            data = self._read_record(FULL_RECORD)
            if len(data) == FULL_RECORD:  # more is likely to be waiting in the kernel
                data = self.socket.read_on(data, READ_SIZE)
        except OSError as error:
            try:
                self.socket.read_failed(error)
            except BlockingIOError:
                return None
            except OSError as what:
                return self._receive_failed(what)
            return CONNECTION_DONE
        return self.deliver(data) if data else CONNECTION_DONE

    def doWrite(self) -> BaseException | None:  # type: ignore[override]
        """Send from the queue, or go on with the handshake."""
        if self._shaking:
            self._shake()
            return None
        if not hasattr(self, "socket"):  # as in _shake
            return None
        if self._read_waits:
            self._read_waits = False
            self.startReading()
            why = self._read()
            if why is not None or not hasattr(self, "socket"):
                return why
        if self.socket.unsent_alert and not self.socket.push_alert():
            return None
        why = super().doWrite()
        if self._write_waits:
            self.stopWriting()
        return why

    def _crossed(self, what: str) -> None:
        if what == "read":
            self._read_waits = True
            self.stopReading()
            self.startWriting()
        else:
            self._write_waits = True
            self.startReading()

    def _cause_of(self, error: OSError) -> str:
        if not isinstance(error, ssl.SSLError):
            return super()._cause_of(error)
        if isinstance(error, ssl.SSLZeroReturnError):  # of sending, once its close_notify was read
            return "peer-closed"
        if not isinstance(error, ssl.SSLEOFError):
            return "tls-failed"
        return "peer-reset" if self._was_reset() else "lost"

    def _was_reset(self) -> bool:
        """Whether it was a reset, which some versions of Python take for an end of stream.

        The kernel knows: a connection that was reset is closed, one that was ended waits for our
        end (tcp(7)). But OpenSSL has answered such an end with an alert, and a peer that is gone
        answers that with a reset of its own; then nobody has been told of it yet.
        """
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            untold = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError:  # no TCP socket
            return False
        return bool(info[0] == _TCP_CLOSE) and not untold

    # -- the end -----------------------------------------------------------------------------

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer sends no more, by its own close_notify."""
        if self._shaking:
            self._handshake_over(ConnectionResetError(errno.ECONNRESET, "the peer hung up"))
        else:
            super().readConnectionLost(reason)

    def _postLoseConnection(self) -> BaseException | None:
        if self._writeDisconnected and not self._leaving:
            said = self.socket.push_alert()
        else:
            said = self.socket.farewell()
        if not said:
            if not self._writeDisconnected:
                # What is written while it waits could only come after it, where nothing may come.
                self._leaving = self._writeDisconnected = True
            self.startWriting()
            return None
        return super()._postLoseConnection()

    def unregisterProducer(self) -> None:
        """Let the producer go; a farewell that waits for the kernel goes on without it."""
        super().unregisterProducer()
        if self._leaving and self.connected:
            self.startWriting()

    def _shut_down_write(self) -> None:
        try:
            self.socket.finish_writing()
        except OSError:
            self.socket.farewell()  # out of descriptors: then as well as ssl alone can do it
        if self.socket.unsent_alert:
            self.startWriting()

    def connectionLost(self, reason: Failure) -> None:
        """End the session, or the handshake."""
        self._cancel_deadline()
        if hasattr(self, "socket") and isinstance(self.socket, RecordSocket):
            self.socket.crossed = None
        super().connectionLost(reason)
        # It holds OpenSSL's memory, and who keeps the transport needn't keep that.
        self.__dict__.pop("_read_record", None)


class TLSServerTransport(TLSTransport, ServerTransport):
    """What a server's side adds."""

    def _settings(self) -> Any:
        return self.tls_settings

    def _start_session(self) -> None:
        ServerTransport.begin(self)


class TLSServer(TLSServerTransport, tcp.Server):
    """A TLS connection that was accepted."""


class TLSUNIXServer(TLSServerTransport, unix.Server):
    """A TLS connection that was accepted on a UNIX socket; no descriptors travel on it."""

    __init__ = UNIXServer.__init__


class TLSClientTransport(TLSTransport, ClientTransport):
    """What a client's side adds."""

    def _settings(self) -> Any:
        return self.connector.tls

    def _start_session(self) -> None:
        ClientTransport.begin(self)

    def failIfNotConnected(self, err: Any) -> None:
        """The attempt to connect is over, and the handshake with it."""
        self._cancel_deadline()
        super().failIfNotConnected(err)  # type: ignore[misc]


class TLSClient(TLSClientTransport, tcp.Client):
    """A TLS connection that we dialled."""

    _commonConnection = StreamTransport


class TLSUNIXClient(TLSClientTransport, unix.Client):
    """A TLS connection to a UNIX socket; no descriptors travel on it."""

    _commonConnection = StreamTransport


def _reason(error: Exception) -> str:
    """An error of the handshake, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError) or getattr(error, "errno", None) in _GONE:
        return "the peer hung up"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
