"""The first thing that happens to a connection whose port expects a PROXY header: it is read.

Rules:
- Nothing else exists yet: no TLS, no session, no handler. The transport is there, so that a sweep
  can end it and its end is told like any other.
- The header is looked at in the kernel's buffer first and then taken out of it to the byte, so that
  TLS finds its ClientHello and a handler its first byte where they belong. A part of a header is
  taken out as well: left there, it would wake the loop over and over.
- The stage stands in for the transport's `doRead` and is gone afterwards, so that a connection pays
  for it once, and one without a header not at all.
- A header that isn't valid ends the connection with a reset, as "proxy-invalid".
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from tcpd.net.proxy_facts import ProxyFacts, ProxyHeaderError
from tcpd.net.proxy_header import MAX_HEADER, HeaderParser

if TYPE_CHECKING:
    from tcpd.net.sockets import ServerTransport


class HeaderStage:
    """Reads the header of one connection, then lets the connection begin.

    Args:
        transport: a connection that a port has just accepted, and which has not begun.
    """

    __slots__ = ("_parser", "_transport")

    def __init__(self, transport: ServerTransport) -> None:
        self._transport = transport
        self._parser = HeaderParser()
        transport.enter("header")
        transport.doRead = self.read  # type: ignore[method-assign]

    def read(self) -> BaseException | None:
        """Take what has come of the header; gives why the connection ends, or None."""
        sock = self._transport.socket
        try:
            data = sock.recv(MAX_HEADER, socket.MSG_PEEK)
            left = self._parser.feed(data)
            while left:  # a UNIX socket may give it in the pieces in which it was sent
                left -= len(sock.recv(left))
        except BlockingIOError:
            return None
        except OSError as error:
            return self._transport._receive_failed(error)
        except ProxyHeaderError as error:
            self._refuse(error)
            return None
        if self._parser.facts is not None:
            self._done(self._parser.facts)
        elif not data:
            self._ended()
        return None

    def _done(self, facts: ProxyFacts) -> None:
        transport = self._transport
        del transport.doRead
        transport.identify(facts)

    def _ended(self) -> None:
        if self._parser.begun:
            self._refuse(ProxyHeaderError("the connection ended amid its PROXY header"))
        else:  # as those do who only look whether somebody listens
            self._transport._blame("peer-closed")
            self._transport.connectionLost(Failure(CONNECTION_DONE))

    def _refuse(self, error: ProxyHeaderError) -> None:
        self._transport._blame("proxy-invalid")
        self._transport.connectionLost(Failure(error))
