"""What a plugin author may implement, beyond Twisted's own interfaces.

A handler is any Twisted protocol factory (`twisted.internet.interfaces.IProtocolFactory`); it needs
nothing from here. A factory that wants to know more about each connection provides
`ISessionFactory`.
"""

from __future__ import annotations

from twisted.internet.interfaces import IProtocol
from zope.interface import Interface

from tcpd.session import Session


class ISessionFactory(Interface):
    """A handler that is given the session, not just an address."""

    def buildSession(session: Session) -> IProtocol | None:  # noqa: N805  (zope: no self)
        """Return the protocol for one session, or None to close the connection at once.

        Called in place of `buildProtocol(addr)`; the session has its identity, addresses, logger,
        clock and `emit` already, and its transport is connected.
        """
