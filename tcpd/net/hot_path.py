"""What every message passes through: a read, the handler, and at most one send.

It is kept apart from the rest of the transport, in one small place with a narrow seam, so that it
can be read at one go, measured, and replaced by a compiled twin under the same tests. It knows the
socket by `recv` and `send`, the loop by `now` and `flush_later`, and the rest of the transport by
the hooks that `HotPath` names. Here, and only here, speed comes before brevity.
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.main import CONNECTION_DONE

from tcpd.net.loop import Loop, loop_of

# One read takes up to this much. It is as large as it can be without glibc's malloc asking the
# kernel for fresh pages for every single read, which it does from 128 KiB on: measured, 256 KiB
# made all but the largest messages three times slower, and 64 KiB costs messages of 100 KiB a
# fifth of their speed.
READ_SIZE = 124 * 1024
# The classes whose doRead lets nothing through that a handler raises, so a reactor may call it
# without much ado. A set, since asking a set is cheaper than isinstance.
LEAN_KINDS: set[type] = set()

# How far writes are held back: not; until the callback that runs is over; or so, and nothing has to
# be asked of them: there is no producer to pause, no TLS of Twisted's, and our end is open. That is
# settled before a callback, and what changes it meanwhile takes it back (`ask_again`).
OPEN, CORKED, QUICK = 0, 1, 2

Tap = Callable[[str, bytes], object]


class HotPath(tcp.Connection):
    """Reading, writing and counting; `StreamTransport` makes a transport of it.

    Attributes:
        bytes_in: how many bytes the peer has sent us, as the handler sees them.
        bytes_out: how many of the handler's bytes the kernel has taken.
        last_read: when bytes last came in, in seconds on the reactor's clock; at first, when the
            connection was opened.
        last_write: when the kernel last took bytes, likewise.
        tap: called with "in" or "out" and a copy of the bytes as they pass; None for no tap.
    """

    # CPython shares the names of up to 30 attributes among the instances of a class. One that has
    # more, or whose __dict__ somebody asks for, gets a dict, in which all are found more slowly.
    # From 3.13 on it does so only in classes without slots, which then cost more than they bring.
    __slots__ = (
        ("_corked", "_loop", "bytes_in", "bytes_out", "last_read", "last_write", "tap")
        if sys.version_info < (3, 13)
        else ()
    )

    protocol: Any
    reactor: Any
    _wrote_late = False

    # The seam: what the transport does when something else than a message comes along.
    _receive_failed: Callable[[OSError], BaseException]
    _send_failed: Callable[[OSError], None]
    _handler_failed: Callable[[], BaseException]
    _hold_if_full: Callable[[], None]
    _flush_soon: Callable[[], None]
    _after_flush_with_producer: Callable[[], None]
    _pause_producer: Callable[[], None]
    _tapped: Callable[[str, bytes], None]

    def __init__(self, skt: socket.socket, protocol: Any, reactor: Any = None) -> None:
        tcp.Connection.__init__(self, skt, protocol, reactor)
        self._loop: Loop = loop_of(reactor)
        self.last_read: float = self._loop.now
        self.last_write: float = self.last_read
        self.bytes_in = 0
        self.bytes_out = 0
        self.tap: Tap | None = None
        self._corked = OPEN
        # Twisted has these on the class. The hot path asks for them with every message, and what
        # an instance has itself is found several times faster.
        self.TLS = False
        self.connected = 0
        self.disconnecting = 0
        self.producer = None
        self.dataBuffer = b""
        self._aborting = False
        self._writeDisconnected = False

    def doRead(self) -> BaseException | None:  # type: ignore[override]
        """Read once and hand it over; gives what the session is to end with, or None."""
        try:
            data = self.socket.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            return self._receive_failed(error)
        if not data:
            return CONNECTION_DONE
        self.last_read = self._loop.now
        self.bytes_in += len(data)
        if self.tap is not None:
            self._tapped("in", data)
        plain = self.producer is None and not self.TLS and not self._writeDisconnected
        self._corked = QUICK if plain else CORKED
        try:
            self.protocol.dataReceived(data)
        except BaseException:
            self._corked = OPEN
            return self._handler_failed()
        self._corked = OPEN
        if self._tempDataBuffer:
            self.flush()
            if self.dataBuffer:
                self._hold_if_full()
        elif self._wrote_late:
            self._wrote_late = False
            self._hold_if_full()
        return None

    def write(self, data: bytes) -> None:
        """Send, in order, soon; see the module's rules.

        Raises:
            TypeError: the data is not bytes.
        """
        if self._corked == QUICK and data.__class__ is bytes:
            if data:
                self._tempDataBuffer.append(data)  # and `flush` sees how many bytes there are
            return
        if self.TLS:
            super().write(data)
            return
        if data.__class__ is not bytes and not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if not data or not self.connected or self._writeDisconnected:
            return
        self._tempDataBuffer.append(data)
        self._tempDataLen += len(data)
        if not self._corked:
            self._flush_soon()
        if self.producer is not None:  # last, since it may write when it is paused
            self._maybePauseProducer()

    def ask_again(self) -> None:
        """Have further writes ask what they have to: something has changed amid a callback."""
        if self._corked == QUICK:
            self._corked = CORKED
            self._tempDataLen = sum(map(len, self._tempDataBuffer))

    def startTLS(self, *arguments: Any) -> None:
        """Begin TLS as Twisted has it; what is written from now on is encrypted."""
        self.ask_again()
        super().startTLS(*arguments)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take a producer, which every write from now on may pause."""
        self.ask_again()
        super().registerProducer(producer, streaming)

    def writeSequence(self, iovec: Any) -> None:
        """Send several pieces as `write` does one."""
        if self.TLS:
            super().writeSequence(iovec)
            return
        pieces = list(iovec)
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError("Data must be bytes")
        self.write(b"".join(pieces))

    def flush(self) -> None:
        """Send what was gathered, with one `send`; the rest waits for `doWrite`."""
        if not self.connected or self._aborting:
            return
        gathered = self._tempDataBuffer
        if self.dataBuffer:  # doWrite is at work and takes ours up after it
            self._tempDataLen = sum(map(len, gathered))
            return
        if not gathered:
            return
        data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            # doWrite meets an error again, and ends the session. It needn't be the same one: the
            # kernel speaks of a reset but once.
            self._send_failed(error)
            self.startWriting()
            return
        if sent:
            self.last_write = self._loop.now
            self.bytes_out += sent
            if self.tap is not None:
                self._tapped("out", data[:sent])
        self._tempDataBuffer = []
        self._tempDataLen = 0
        if sent == len(data):
            if self.producer is not None:
                self._after_flush_with_producer()
            return
        self.dataBuffer = data
        self.offset = sent
        self.startWriting()
        if self.producer is not None:
            self._pause_producer()

    def deliver(self, data: bytes) -> BaseException | None:
        """Hand over what was read in another way; as `doRead`, which does it without this call."""
        self.last_read = self._loop.now
        self.bytes_in += len(data)
        if self.tap is not None:
            self._tapped("in", data)
        plain = self.producer is None and not self.TLS and not self._writeDisconnected
        self._corked = QUICK if plain else CORKED
        try:
            self.protocol.dataReceived(data)
        except BaseException:
            self._corked = OPEN
            return self._handler_failed()
        self._corked = OPEN
        if self._tempDataBuffer:
            self.flush()
            if self.dataBuffer:
                self._hold_if_full()
        elif self._wrote_late:
            self._wrote_late = False
            self._hold_if_full()
        return None

    @property
    def queued(self) -> int:
        """How many of the handler's bytes the kernel hasn't taken yet; 0 once it has ended."""
        return len(self.dataBuffer) - self.offset + sum(map(len, self._tempDataBuffer))
