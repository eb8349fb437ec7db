"""What a plugin author may implement, beyond Twisted's own interfaces.

A handler is any Twisted protocol factory (`twisted.internet.interfaces.IProtocolFactory`); it needs
nothing from here. A factory that wants to know more about each connection provides
`ISessionFactory`.
"""

from __future__ import annotations

from twisted.internet.interfaces import IProtocol
from zope.interface import Attribute, Interface

from tcpd.session import Session


class ISessionFactory(Interface):
    """A handler that is given the session, not just an address."""

    def buildSession(session: Session) -> IProtocol | None:
        """Return the protocol for one session, or None to close the connection at once.

        Called in place of `buildProtocol(addr)`; the session has its identity, addresses, logger,
        clock and `emit` already, and its transport is connected.
        """


class ISession(Interface):
    """What a handler may rely on in a `tcpd.session.Session`."""

    id = Attribute("The session's name in every record, a text unique across restarts.")
    peer = Attribute("The peer's address (`IAddress`).")
    local = Attribute("Our own address (`IAddress`).")
    listener = Attribute("The name of the listener or connector.")
    handler = Attribute("The name of the handler.")
    bytes_in = Attribute("How many bytes the peer has sent.")
    bytes_out = Attribute("How many bytes were sent to the peer.")
    log = Attribute("A `twisted.logger.Logger` whose records carry the session's identity.")
    clock = Attribute("An `IReactorTime` for whatever the handler does later.")

    def emit(name: str, **data: object) -> None:
        """Report an event of the handler's own."""
