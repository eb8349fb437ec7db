"""A connection to the admin side: how long it may wait for what, and how it ends.

Rules:
- A request has `PATIENCE` seconds to come, from its first byte to its last, and so has the first
  one of a connection. Between requests the listener's own deadline for idle connections holds.
- Who is told that a request isn't taken can read that: what it sends meanwhile is read and thrown
  away, a bounded amount in a bounded time. If we closed at once, it would see a reset.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N815
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Hashable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from zope.interface import implementer

from tcpd.admin.answers import HEADERS, Problem
from tcpd.admin.auth import Peer, peer_of
from tcpd.admin.crowd import MOST
from tcpd.admin.requests import Request

if TYPE_CHECKING:
    from tcpd.admin.site import Site

# Seconds for a request to come; also for the rest of one that isn't taken.
PATIENCE = 10.0
# Bytes that are read of what nobody wants. What has been sent after them the transport reads, while
# the socket lingers.
MOST_UNWANTED = 2**20


@implementer(IHalfCloseableProtocol)
class Channel(http.HTTPChannel):
    """A connection to the admin side.

    Attributes:
        peer: who is at its other end.
        lot: who shares its places.
        finished: whether the client sends no more.
    """

    requestFactory: Any = Request
    maxHeaders = 100
    timeOut = None  # ours are below
    transport: Any
    factory: Site
    peer: Peer
    lot: Hashable = None
    requests: list[Request]
    finished = False
    _served = 0
    _state: tuple[str, int] = ("", -1)
    _deadline: Any = None
    # Bytes that are yet to be thrown away; None while they aren't.
    _unwanted: int | None = None
    _over = False

    @property
    def port(self) -> Any:
        """The port that has accepted it; None if that is another package's."""
        return getattr(self.transport, "server", None)

    @property
    def is_cut_off(self) -> bool:
        """Whether nobody can come the same way any more: the port is closed."""
        port = self.port
        return port is not None and (port.disconnecting or not port.connected)

    def connectionMade(self) -> None:
        """See who it is, and whether there is room."""
        self.peer = peer_of(self.transport)
        self.lot = (self.port, self.peer.is_ours)
        super().connectionMade()
        site = self.factory
        if site.crowd.join(self, site.reactor.seconds()):
            site.channels.add(self)
            self._settle()
        else:
            self._over = True
            self._say(503, f"too many connections are open here: {MOST} of {MOST}; close one")
            super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of all that it asked for."""
        self._over = True
        self._forget_deadline()
        self.factory.channels.discard(self)
        self.factory.crowd.leave(self)
        super().connectionLost(reason)

    # -- what it waits for -------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Read on."""
        super().dataReceived(data)
        self._settle()

    def requestDone(self, request: Request) -> None:
        """Go on with the next request, if there is one."""
        self._served += 1
        super().requestDone(request)
        if self.finished and not self._handlingRequest:
            self.loseConnection()
        self._settle()

    @property
    def _begun(self) -> bool:
        """Whether a part of a request is there."""
        return bool(self.requests or self._buffer)

    def _settle(self) -> None:
        """Note what is waited for, if it is something else than before."""
        if self._over:
            return
        if self._unwanted is not None:
            state = "late"
        elif self._handlingRequest:
            state = "work"
        else:
            state = "idle" if self._served and not self._begun else "hurry"
        if (state, self._served) == self._state:
            return
        self._state = (state, self._served)
        self._forget_deadline()
        if state == "work":
            self.factory.crowd.works(self)
            return
        self.factory.crowd.waits(self)
        if state != "idle":
            self._deadline = self.factory.reactor.callLater(PATIENCE, self._too_late)

    def _forget_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _too_late(self) -> None:
        self._deadline = None
        if self._begun and self._unwanted is None:
            self._say(408, f"the request wasn't there within {PATIENCE:g} seconds")
        self._unwanted = None
        self.loseConnection()

    # -- what isn't taken --------------------------------------------------------------------

    def refuse_rest(self, length: int | None) -> None:
        """Throw away what comes from now on, and close when all of it has come.

        Args:
            length: how many bytes are to come; None if nobody knows.
        """
        self.persistent = False
        self._unwanted = MOST_UNWANTED if length is None else min(length, MOST_UNWANTED)
        self.setRawMode()

    def rawDataReceived(self, data: bytes) -> None:
        """Take a part of a body, or throw it away."""
        if self._unwanted is None:
            super().rawDataReceived(data)
            return
        self._unwanted -= len(data)
        if self._unwanted <= 0:
            self._unwanted = None
            self.loseConnection()

    def allContentReceived(self) -> None:
        """Go on with a request that is whole."""
        if self._unwanted is None:
            super().allContentReceived()
        else:
            self._unwanted = None
            self.loseConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a head that has no end."""
        self._receivedHeaderSize = self.totalHeadersSize + 1
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # There is no request that could be answered: the bytes were no HTTP at all.
        if self._unwanted is not None:
            return
        if self._receivedHeaderSize > self.totalHeadersSize:
            self._say(431, f"the request's head is larger than {self.totalHeadersSize} bytes")
        else:
            self._say(400, "this isn't a request that can be understood")
        self.refuse_rest(None)
        self.loseConnection()

    def _say(self, status: int, problem: str) -> None:
        """Answer where there is no request."""
        answer = Problem(status, problem).answer
        phrase = HTTPStatus(status).phrase.encode("ascii")
        head = [b"HTTP/1.1 %d %s" % (status, phrase), b"Connection: close"]
        head += [b"%s: %s" % pair for pair in HEADERS.items()]
        head.append(b"Content-Type: %s" % answer.kind.encode("ascii"))
        head.append(b"Content-Length: %d" % len(answer.body))
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + answer.body)

    # -- the end -----------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """End it when all is said; while there is something to throw away, only our own side."""
        if self._unwanted is None:
            super().loseConnection()
        else:
            self.transport.unregisterProducer()
            self.transport.resumeProducing()
            self.transport.loseWriteConnection()

    def end(self) -> None:
        """End it once what is being answered has been."""
        if self._handlingRequest:
            self.persistent = False
        else:
            self._unwanted = None
            self.loseConnection()

    def give_way(self) -> None:
        """End it, as another needs its place."""
        self._over = True
        self._forget_deadline()
        if self._state[0] == "idle" and not self.transport.queued:
            self.loseConnection()
        else:  # nor does it linger
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """The client sends no more: it gets what it asked for, but of a stream it has enough."""
        self.finished = True
        if not self._handlingRequest:
            self._unwanted = None
            self.loseConnection()
        elif (stream := self.requests[0].stream) is not None:
            stream.close()

    def writeConnectionLost(self) -> None:
        """We send no more."""
