"""A conversation on a transport: frames in, actions performed, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpd.escape import escape_bytes
from tcpd.framing import FrameProtocol, Framing, FramingError
from tcpd.handlers.reply_rules.conversation import Action, Conversation, Ending
from tcpd.handlers.reply_rules.template import Facts
from tcpd.session import Session, address_and_port

_SHOWN = 200
"""How many bytes of an input that nothing answers are shown in the log."""


class ReplyProtocol(FrameProtocol):
    """Performs what a conversation says.

    Args:
        conversation: the session's.
        framing: how frames are told apart.
        max_size: bytes that a frame may have.
        clock: for delays; the transport's reactor if it is None.
        session: the session, inside tcpd.
        name: what the session is called outside of it.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        framing: Framing,
        max_size: int,
        clock: IReactorTime | None,
        session: Session | None = None,
        name: str = "",
    ) -> None:
        self.framing = framing
        self.max_size = max_size
        self.clock = clock
        self._conversation = conversation
        self._session = session
        self._name = name
        self._later: IDelayedCall | None = None
        self._half_closed = False
        self._told = False

    def connectionMade(self) -> None:
        """Greet."""
        if self._conversation.script.uses_facts:
            self._conversation.facts = self._facts()
        self._say(self._conversation.start)

    def frame_received(self, frame: bytes) -> None:
        """Answer an input."""
        try:
            actions = self._conversation.answer(frame)
        except FramingError as error:
            self._cannot_say(error)
            return
        if actions:
            self._perform(iter(actions))
        elif actions is None:
            self._nothing_matched(frame)

    def frame_error(self, error: FramingError) -> None:
        """Say once in the log that a frame is too long, or can't be, and end as the rules say."""
        self._logger.info("{peer} is disconnected: {error}", peer=self._who, error=str(error))
        if self._session is not None:
            self._session.emit("reply.bad_frame", error=str(error))
        self._say(self._conversation.too_long)

    def readConnectionLost(self) -> None:
        """The peer has finished: so have we, once everything is answered."""
        if self._half_closed:
            self.transport.loseConnection()
        else:
            super().readConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what was to be done later."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        super().connectionLost(reason)

    def _say(self, decide: Callable[[], Sequence[Action]]) -> None:
        try:
            actions = decide()
        except FramingError as error:
            self._cannot_say(error)
            return
        self._perform(iter(actions))

    def _cannot_say(self, error: FramingError) -> None:
        """End the session for a template that came out as something the framing can't express."""
        self._logger.error(
            "{peer} is disconnected, since its reply can't be sent: {error}",
            peer=self._who,
            error=str(error),
        )
        self._end(Ending.CLOSE)

    def _perform(self, actions: Iterator[Action]) -> None:
        for action in actions:
            if isinstance(action, bytes):
                self.transport.write(action)
            elif isinstance(action, float):
                if self.clock is None:
                    raise RuntimeError("a delay needs a clock, and the transport has no reactor")
                self.pause()
                self._later = self.clock.callLater(action, self._go_on, actions)
                return
            else:
                self._end(action)

    def _go_on(self, actions: Iterator[Action]) -> None:
        self._later = None
        self._perform(actions)
        if self._later is None:
            self.resume()

    def _end(self, ending: Ending) -> None:
        self.stop()
        if ending is Ending.CLOSE:
            self.transport.loseConnection()
        elif ending is Ending.HALF_CLOSE:
            self._half_close()
        else:
            # Twisted's own abort resets, too; tcpd's says so in the record of the session.
            reset = getattr(self.transport, "reset_connection", self.transport.abortConnection)
            reset()

    def _half_close(self) -> None:
        if self._ended:  # the peer has finished, too
            self.transport.loseConnection()
            return
        self._half_closed = True
        self.transport.loseWriteConnection()
        if self._transport_paused:  # so that the peer's own end is seen
            self._transport_paused = False
            self.transport.resumeProducing()

    def _nothing_matched(self, frame: bytes) -> None:
        shown = escape_bytes(frame, _SHOWN)
        if self._session is not None:
            self._session.emit("reply.unmatched", input=shown)
        if not self._told:  # once a session, so that no peer can fill the log
            self._told = True
            self._logger.info(
                "no rule matches what {peer} said: {input}", peer=self._who, input=shown
            )

    @property
    def _logger(self) -> Logger:
        return self.log if self._session is None else self._session.log

    @property
    def _who(self) -> str:
        return str(self._session or self.transport.getPeer())

    def _facts(self) -> Facts:
        peer_host, peer_port = address_and_port(self.transport.getPeer())
        local_host, local_port = address_and_port(self.transport.getHost())
        session = self._session
        return Facts(
            session_id=session.id if session is not None else self._name,
            listener=session.listener if session is not None else "",
            peer_host=peer_host,
            peer_port=peer_port,
            local_host=local_host,
            local_port=local_port,
        )
