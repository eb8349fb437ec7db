"""HTTP at the admin side: from the bytes of a request to whoever answers it, and back.

Rules:
- Nothing that goes wrong shows a client more than that: no traceback, no path, no version.
- A body is bounded before it is read. What comes in too large isn't kept.
- Whatever is done for a request is done when it is the admin side's turn, however many there are.
- A line is logged for each request of somebody who may change something, or see the bytes of a
  session: who has asked for what, and what has become of it. Nothing is logged of any other.
"""

# Most of the methods of Twisted that are called here have no annotations; its names
# and signatures are kept.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

from tcpd.admin.answers import HEADERS, Answer, Problem
from tcpd.admin.auth import Right, Rules, WrongToken, check_site, require, rights_of
from tcpd.admin.calls import MOST_BODY, Call, Given, Route, read_body, read_query
from tcpd.admin.controls import NotNowError, UnknownError
from tcpd.admin.stream import Stream
from tcpd.admin.turns import soon
from tcpd.admin.views import SortError
from tcpd.capture.captures import CaptureError, CaptureWishError
from tcpd.escape import escape_bytes, escape_text, one_line

if TYPE_CHECKING:
    from tcpd.admin.site import Site

# Chunks that a body may come in: to take 64 KiB apart byte by byte would hold the loop.
MOST_PIECES = 1000
# Characters of a text in a body that the log shows: the names of files have no more than these.
MOST_SHOWN = 100
# Those that say what went wrong when somebody asks for something; the status of each, by the
# first that fits.
_STATUS: dict[type[Exception], int] = {
    UnknownError: 404,
    NotNowError: 409,
    SortError: 400,
    CaptureWishError: 400,
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
    _pieces = 0
    _answered = False
    _route: Route | None = None
    # Whether the log says what has become of it, and what was asked for with its body.
    _is_noted = False
    _asked = ""

    def __init__(self, channel: Any, queued: object = False) -> None:
        # A body is JSON and never a form, whatever its header says.
        super().__init__(channel, queued, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:
        """Make room for the body, or refuse it if it says that it is too large."""
        self.content = BytesIO()
        if length is not None and length > MOST_BODY:
            self._refuse_body(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._size += len(data)
        self._pieces += 1
        if self._size <= MOST_BODY and self._pieces <= MOST_PIECES:
            self.content.write(data)
            return
        if not self._answered:
            self._refuse_body(None)
        # What is left of the chunks that have come with this one isn't looked at.
        raise http._MalformedChunkedDataError

    def _refuse_body(self, length: int | None) -> None:
        """Answer before the body has come, and end the connection when it has, or won't."""
        channel = self.channel
        self.method, self.clientproto = channel._command, channel._version
        self.requestHeaders.removeHeader(b"Expect")
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.content = BytesIO()
        channel.refuse_rest(length)
        most = f"the body is larger than {MOST_BODY} bytes"
        if length is None and self._size <= MOST_BODY:
            most = f"the body comes in more than {MOST_PIECES} pieces"
        self._answer(Problem(413, most).answer)

    def process(self) -> None:
        """Answer, when it is our turn."""
        # Whatever others ask for, probes have their answer, and root isn't kept from acting.
        first = self.channel.peer.is_ours or self.path in (b"/healthz", b"/readyz")
        soon(self.channel.factory.reactor, self._begin, first=first)

    def _begin(self) -> None:
        if self._disconnected:
            return
        site: Site = self.channel.factory
        try:
            route, call = self._understood(site)
        except WrongToken as problem:
            self._answer(site.guesses.wrong(self.channel.peer, problem).answer)
            return
        except Exception:
            self._failed(Failure())
            return
        answering = Deferred.fromCoroutine(_done(route, call))
        self.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addCallback(lambda given: self._give(site, given))
        answering.addErrback(self._failed)

    def _understood(self, site: Site) -> tuple[Route, Call]:
        """Return what is asked for, if it may be.

        Raises:
            Problem: it can't be understood, or may not be done.
        """
        method = self.method.decode("ascii", "replace")
        route, words = site.routes.find(method, self.path.decode("utf-8", "replace"))
        self._route = route
        self._check(site.rules)
        self._is_noted = route.right is Right.CHANGE
        body = {}
        query = {}
        if route.method == "POST":
            if self.args:
                raise Problem(400, "a change has no query", "send it in the body, as JSON")
            body = read_body(self.content.read(), self._header("Content-Type"), route.keys)
            self._asked = _shown(body)
        elif route.right is not None:
            query = read_query(self.args or {}, route.keys)
        return route, Call(peer=self.channel.peer, words=words, query=query, body=body)

    def _check(self, rules: Rules) -> None:
        """Let it be done, or not.

        Raises:
            Problem: it may not be.
        """
        route, peer = self._route, self.channel.peer
        if route is None or route.right is None:
            return
        check_site(
            peer,
            rules,
            host=self._header("Host"),
            origin=self._header("Origin"),
            fetched_from=self._header("Sec-Fetch-Site"),
            fetch_mode=self._header("Sec-Fetch-Mode"),
        )
        if route.right:
            require(route.right, peer, rules, self._header("Authorization"))

    def right(self, rules: Rules) -> Right:
        """Return what who asks may do.

        Raises:
            Problem: nothing, with the token that it shows.
        """
        return rights_of(self.channel.peer, rules, self._header("Authorization"))

    def why_not(self, rules: Rules) -> str:
        """Return why it may not be asked for by these rules; empty if it may."""
        try:
            self._check(rules)
        except Problem as problem:
            return problem.problem
        return ""

    def _header(self, name: str) -> str | None:
        values = self.requestHeaders.getRawHeaders(name)
        if not values:
            return None
        if len(values) > 1:  # whoever reads the other one would be told something else
            raise Problem(400, f"the header {name} is there twice")
        return values[0]

    def _give(self, site: Site, given: Given) -> None:
        if isinstance(given, Answer):
            self._note(given.status, f"done, {given.told}" if given.told else "done")
            self._answer(given)
        elif self.method == b"HEAD" or self._disconnected or self.channel.finished:
            given.stop()
            self._answer(Answer(body=b"", kind="text/event-stream"))
        else:
            site.stream(self, given)
            self._note(http.OK, "done")

    def _note(self, status: int, outcome: str) -> None:
        """Log what has become of it, if that is to be known."""
        if self._is_noted:
            self.log.info(
                "admin: {path} is asked for by {peer}{asked}: {outcome}",
                path=escape_bytes(self.path, 100),
                peer=self.channel.peer.name,
                asked=self._asked,
                status=status,
                outcome=one_line(outcome),
            )

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
        if headers.get(b"Connection") == b"close":
            self.channel.persistent = False
        self.write(answer.body)
        self.finish()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # nobody waits for it any more
        error = failure.value
        if not isinstance(error, Problem):
            status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
            if status == 500:
                path = escape_bytes(self.path or b"", 100)
                self.log.failure("admin: {path} failed", failure=failure, path=path)
                error = Problem(500, "this failed, by a mistake of tcpd's", "see its log")
            else:
                error = Problem(status, str(error))
        self._note(error.status, f"{error.status}, {error.problem}")
        self._answer(error.answer)


def _shown(body: dict[str, Any]) -> str:
    """Return a body as the log shows it, on one line, not too long; its keys are known ones."""
    words = []
    for key, value in body.items():
        if isinstance(value, str):
            text = escape_text(value, MOST_SHOWN).replace('"', '\\"')
            words.append(f'{key}="{text}"')
        else:
            words.append(f"{key}={str(value).lower() if isinstance(value, bool) else '(no text)'}")
    return f" with {', '.join(words)}" if words else ""


async def _done(route: Route, call: Call) -> Given:
    return await route.do(call)
