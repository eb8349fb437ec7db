"""HTTP at the admin side: from the bytes of a request to whoever answers it, and back.

Rules:
- Nothing that goes wrong shows a client more than that: no traceback, no path, no version.
- A body is bounded before it is read. What comes in too large isn't kept.
- No line is logged for a request. What somebody changes is logged by who does it, with who asked.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# ruff: noqa: N815
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from zope.interface import implementer

from tcpd.admin.answers import HEADERS, Answer, Problem
from tcpd.admin.auth import Peer, check_site, peer_of, require
from tcpd.admin.calls import MOST_BODY, Call, Given, Route, read_body, read_query
from tcpd.admin.controls import NotNowError, UnknownError
from tcpd.admin.stream import Stream
from tcpd.admin.views import SortError
from tcpd.capture.captures import CaptureError
from tcpd.escape import escape_bytes

if TYPE_CHECKING:
    from tcpd.admin.site import Site

# Bytes of a body that nobody wants until the connection is cut.
MOST_UNWANTED = 16 * MOST_BODY
# Those that say what went wrong when somebody asks for something; the status of each.
_STATUS: dict[type[Exception], int] = {
    UnknownError: 404,
    NotNowError: 409,
    SortError: 400,
    CaptureError: 409,
}


class Request(http.Request):
    """One request.

    Attributes:
        stream: what it is answered with, if that has no end of its own.
    """

    log = Logger()
    channel: Any
    content: Any
    stream: Stream | None = None
    _size = 0
    _answered = False

    def __init__(self, channel: Any, queued: object = False) -> None:
        # A body is JSON and never a form, whatever its header says.
        super().__init__(channel, queued, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:
        """Make room for the body, or refuse it if it says that it is too large."""
        self.content = BytesIO()
        if length is not None and length > MOST_BODY:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._size += len(data)
        if self._size <= MOST_BODY:
            self.content.write(data)
        elif self._size > MOST_UNWANTED:
            self.channel.transport.abortConnection()

    def _refuse_body(self) -> None:
        """Answer before the body has come, and end the connection, as nobody reads it."""
        channel = self.channel
        self.method, self.clientproto = channel._command, channel._version
        self.requestHeaders.removeHeader(b"Expect")
        channel.persistent = False
        self._answer(_too_large().answer)

    def process(self) -> None:
        """Answer."""
        site: Site = self.channel.factory
        try:
            route, call = self._understood(site)
        except Problem as problem:
            self._answer(problem.answer)
            return
        except Exception:
            self._failed(Failure())
            return
        if route.method == "POST":
            self.log.info(
                "admin: {path} is asked for by {peer}",
                path=escape_bytes(self.path, 100),
                peer=call.peer.name,
            )
        answering = Deferred.fromCoroutine(_done(route, call))
        self.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addCallback(lambda given: self._give(site, given))
        answering.addErrback(self._failed)

    def _understood(self, site: Site) -> tuple[Route, Call]:
        """Return what is asked for, if it may be.

        Raises:
            Problem: it can't be understood, or may not be done.
        """
        if self._size > MOST_BODY:
            raise _too_large()
        method = self.method.decode("ascii", "replace")
        route, words = site.routes.find(method, self.path.decode("utf-8", "replace"))
        peer: Peer = self.channel.peer
        if route.right is not None:
            check_site(
                peer,
                site.rules,
                host=self._header("Host"),
                origin=self._header("Origin"),
                fetched_from=self._header("Sec-Fetch-Site"),
                fetch_mode=self._header("Sec-Fetch-Mode"),
            )
            if route.right:
                require(route.right, peer, site.rules, self._header("Authorization"))
        body = {}
        query = {}
        if route.method == "POST":
            body = read_body(self.content.read(), self._header("Content-Type"), route.keys)
        elif route.right is not None:
            query = read_query(self.args or {}, route.keys)
        return route, Call(peer=peer, words=words, query=query, body=body)

    def _header(self, name: str) -> str | None:
        values = self.requestHeaders.getRawHeaders(name)
        if not values:
            return None
        if len(values) > 1:  # whoever reads the other one would be told something else
            raise Problem(400, f"the header {name} is there twice")
        return values[0]

    def _give(self, site: Site, given: Given) -> None:
        if isinstance(given, Answer):
            self._answer(given)
        elif self.method == b"HEAD":
            given.stop()
            self._answer(Answer(body=b"", kind="text/event-stream"))
        elif not site.stream(self, given):
            given.stop()
            self._answer(Problem(503, "too many read streams of events already").answer)

    def _answer(self, answer: Answer) -> None:
        if self._disconnected or self._answered:
            return
        self._answered = True
        self.setResponseCode(answer.status)
        length = str(len(answer.body)).encode("ascii")
        headers = {
            **HEADERS,
            b"Content-Type": answer.kind.encode("ascii"),
            b"Content-Length": length,
            **answer.headers,
        }
        for name, value in headers.items():
            self.responseHeaders.setRawHeaders(name, [value])
        self.write(answer.body)
        self.finish()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # nobody waits for it any more
        error = failure.value
        if isinstance(error, Problem):
            self._answer(error.answer)
            return
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        if status != 500:
            self._answer(Problem(status, str(error)).answer)
            return
        self.log.failure(
            "admin: {path} failed", failure=failure, path=escape_bytes(self.path or b"", 100)
        )
        self._answer(Problem(500, "this failed, by a mistake of tcpd's", "see its log").answer)


async def _done(route: Route, call: Call) -> Given:
    return await route.do(call)


def _too_large() -> Problem:
    return Problem(413, f"the body is larger than {MOST_BODY} bytes")


@implementer(IHalfCloseableProtocol)
class Channel(http.HTTPChannel):
    """A connection to the admin side.

    Attributes:
        peer: who is at its other end.
    """

    requestFactory: Any = Request
    maxHeaders = 100
    # The deadlines of the listener see to connections that do nothing.
    timeOut = None
    transport: Any
    factory: Site
    peer: Peer
    requests: list[Request]
    _finished = False

    def connectionMade(self) -> None:
        """See who it is."""
        self.peer = peer_of(self.transport)
        self.factory.channels.add(self)
        super().connectionMade()

    def readConnectionLost(self) -> None:
        """The client sends no more: it gets what it asked for, but of a stream it has enough."""
        self._finished = True
        if not self.requests:
            self.loseConnection()
        elif (stream := self.requests[0].stream) is not None:
            stream.close()

    def writeConnectionLost(self) -> None:
        """We send no more."""

    def requestDone(self, request: Request) -> None:
        """Go on with the next request, if there is one."""
        super().requestDone(request)
        if self._finished and not self.requests:
            self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of all that it asked for."""
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def _respondToBadRequestAndDisconnect(self) -> None:
        # The bytes were no HTTP at all: there is no request that could be answered.
        answer = Problem(400, "this isn't a request that can be understood").answer
        head = [b"HTTP/1.1 400 Bad Request", b"Connection: close"]
        head += [b"%s: %s" % pair for pair in HEADERS.items()]
        head.append(b"Content-Type: %s" % answer.kind.encode("ascii"))
        head.append(b"Content-Length: %d" % len(answer.body))
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + answer.body)
        self.loseConnection()
