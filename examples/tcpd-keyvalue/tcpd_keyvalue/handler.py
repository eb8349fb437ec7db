"""The handler `keyvalue`: the store's commands, one a line, over a connection."""

from dataclasses import dataclass
from typing import Annotated

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, ITransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpd.fields import Range
from tcpd.interfaces import ISessionFactory
from tcpd.session import Session
from tcpd.units import ByteSize, Seconds
from tcpd_keyvalue.commands import Store

LONGEST_LINE = ByteSize(4096)
PATIENCE = Seconds(60.0)


@implementer(IHalfCloseableProtocol)
class KeyValueProtocol(LineOnlyReceiver):
    """One client of the store."""

    transport: ITransport
    delimiter = b"\n"

    def __init__(self, options: "KeyValue", session: Session) -> None:
        self.MAX_LENGTH = options.longest_line
        self._options = options
        self._session = session
        self._silence: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Begin to wait for a command."""
        self._listen()

    def lineReceived(self, line: bytes) -> None:
        """Answer a command; tell the others (metrics, the log of events) of changes."""
        self._listen()
        answer = self._options.store.answer(line)
        if answer.startswith(b"ERROR"):
            self._session.log.info("{session}: {answer}", session=self._session, answer=answer)
        elif answer == b"OK":
            self._session.emit("keyvalue.changed", keys=len(self._options.store.values))
        self.sendLine(answer)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Say why before closing."""
        self.sendLine(b"ERROR line too long")
        self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        """The client has asked everything; its answers still go out."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing to do: this side is never shut down alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Wait no longer."""
        if self._silence is not None and self._silence.active():
            self._silence.cancel()

    def _listen(self) -> None:
        if self._silence is None:
            clock = self._session.clock
            self._silence = clock.callLater(self._options.patience, self._bored)
        elif self._silence.active():
            self._silence.reset(self._options.patience)

    def _bored(self) -> None:
        self.sendLine(b"ERROR you said nothing for too long")
        self.transport.loseConnection()


@implementer(ISessionFactory)
@dataclass
class KeyValue(Factory):
    """Keep values by key, for every client of a listener to see."""

    most_keys: Annotated[int, Range(1)] = 1000
    """How many keys there may be."""
    longest_line: ByteSize = LONGEST_LINE
    """How long a command may be."""
    patience: Seconds = PATIENCE
    """How long a client may say nothing."""

    noisy = False

    def __post_init__(self) -> None:
        self.store = Store(self.most_keys)

    def buildSession(self, session: Session) -> KeyValueProtocol:
        """Serve one client."""
        return KeyValueProtocol(self, session)
