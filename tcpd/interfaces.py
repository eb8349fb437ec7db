"""What a plugin author may implement, beyond Twisted's own interfaces.

A handler is any Twisted protocol factory (`twisted.internet.interfaces.IProtocolFactory`); it needs
nothing from here. A factory that wants to know more about each connection provides
`ISessionFactory`; one that stands before another handler provides `IHandlerUser`; one that reads
files provides `IReadsFiles`. A protocol that wants to end at a good point when tcpd stops provides
`IDrainable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.interfaces import IProtocol
from zope.interface import Attribute, Interface, classImplements

from tcpd.framing import FrameProtocol
from tcpd.session import Session


class ISessionFactory(Interface):
    """A handler that is given the session, not just an address."""

    def buildSession(session: Session) -> IProtocol | None:  # noqa: N805  (zope: no self)
        """Return the protocol for one session, or None to close the connection at once.

        Called in place of `buildProtocol(addr)`; the session has its identity, addresses, logger,
        clock and `emit` already, and its transport is connected.
        """


class IDrainable(Interface):
    """A protocol that finishes what it is at when tcpd stops, and closes by itself.

    Any other protocol's connection is closed as by `loseConnection`: what it has written is sent.
    """

    def drain() -> None:
        """Finish, and then close: now, or when what is under way is done.

        Called once at most, as any callback; what it writes is sent, and what it raises ends its
        own session. Until it closes the peer may go on talking. At the drain deadline the
        connection is aborted.
        """


# It stands below this module, and can't name the interface itself.
classImplements(FrameProtocol, IDrainable)


class HandlerMaker(Protocol):
    """Makes the handler that another one stands before."""

    def __call__(
        self, name_key: str, name: str, options_key: str, options: Mapping[str, Any]
    ) -> Any:
        """Return the factory of the handler `name`, or None: its mistakes are reported already.

        Args:
            name_key: the asking handler's option that holds the name, for the errors' places.
            name: the handler's name, as `--handler` takes it.
            options_key: the option that holds the other handler's own.
            options: those options, as the configuration gives them.
        """


class IHandlerUser(Interface):
    """A handler that stands before other handlers, which its own options name."""

    def use_handlers(make: HandlerMaker) -> None:  # noqa: N805  (zope: no self)
        """Make the other handlers; called once, when the options were read and are right."""


class IReadsFiles(Interface):
    """A handler that is made of more than its options: of what it has read from files.

    A reload keeps a handler whose name and options say the same as before, with all that it
    remembers. This one is made anew if what it reads has changed.
    """

    what_was_read = Attribute(
        """What was read when the handler was made. It is compared with that of a handler made of
        the same options at a reload; if they are equal, the handler that there is goes on."""
    )


def made_of(factory: Any) -> tuple[object, ...]:
    """Return what a handler is made of, besides its name and options, to compare it with another.

    Its class, its protocol's class, and what it has read: a file of Python that has changed gives
    other classes of the same names.
    """
    protocol = getattr(factory, "protocol", None)
    return type(factory), protocol, getattr(factory, "what_was_read", None)
