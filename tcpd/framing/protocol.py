"""A base for protocols that speak in frames.

    class Upper(FrameProtocol):
        framing = Line()

        def frame_received(self, frame):
            self.send_frame(frame.upper())

Rules:
- After any frame a protocol may `pause`, close, or `change_framing`; what follows isn't lost.
- A session gets `frames_a_turn` frames processed, then it is the others' turn. Until it has caught
  up its transport is paused, so that what waits is bounded.
- A frame that can't be comes to `frame_error`, once, after the frames ahead of it.
- A peer that shuts down its side is answered: `input_ended` comes after its last frame. It comes
  just so when tcpd stops, after the last frame that has arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpd.framing.decoders import FRAMES_A_TURN, MAX_SIZE, Decoder
from tcpd.framing.errors import FramingError
from tcpd.framing.kinds import Framing, Line

# Why no frames are delivered at the moment; several reasons may hold.
_PAUSED = 1  # the handler said so
_TURN = 2  # it is the other sessions' turn
_CHANGING = 4  # another framing, as soon as the frame at hand is done with
_OVER = 8  # closed, lost, or an error: nothing will be delivered any more


@implementer(IHalfCloseableProtocol)
class FrameProtocol(Protocol):
    """Delivers what a peer sends as frames.

    Attributes:
        framing: how frames are told apart.
        max_size: bytes that a frame may have.
        frames_a_turn: frames processed before the other sessions get their turn.
        clock: for `frames_a_turn`; the transport's reactor if it is None. With neither, as in a
            test on a `StringTransport`, there are no turns.
    """

    log: ClassVar[Logger] = Logger()

    framing: Framing = Line()
    max_size: int = MAX_SIZE
    frames_a_turn: int = FRAMES_A_TURN
    clock: IReactorTime | None = None

    transport: Any  # ITransport, IPushProducer, and `disconnecting`, as Twisted's all have it
    _decoder: Decoder
    _encode: Callable[[bytes], bytes]
    _line_end: bytes | None
    _held = 0
    _delivering = False
    _transport_paused = False
    _ended = False
    _drains = False
    _turn: IDelayedCall | None = None

    def frame_received(self, frame: bytes) -> None:
        """Process a frame; to be overridden."""

    def frames_received(self, frames: list[bytes]) -> list[bytes] | None:
        """Process all the frames that came in one read; calls `frame_received` for each.

        May be overridden by who answers many frames at once.

        Returns:
            None if all were processed; if the protocol paused, closed or changed its framing, those
            that weren't: they come again after `resume`, in the new framing.
        """
        received = self.frame_received
        transport = self.transport
        left = iter(frames)
        for frame in left:
            received(frame)
            if self._held or transport.disconnecting:
                return list(left)
        return None

    def frame_error(self, error: FramingError) -> None:
        """Deal with a frame that can't be: log it and close. Nothing more is delivered."""
        self.log.info(
            "{peer} is disconnected: {error}", peer=self.transport.getPeer(), error=str(error)
        )
        self.transport.loseConnection()

    def input_ended(self) -> None:
        """The peer has shut down its side, or tcpd stops, and all frames are processed: close."""
        self.transport.loseConnection()

    def send_frame(self, payload: bytes) -> None:
        """Write a payload as a frame.

        Raises:
            FramingError: the framing can't express it.
        """
        # Lines do without the call of `encode`, a part of their cost that can be measured.
        end = self._line_end
        self.transport.write(payload + end if end is not None else self._encode(payload))

    def pause(self) -> None:
        """Deliver no more frames until `resume`, and read nothing from the peer."""
        self._hold(_PAUSED)

    def resume(self) -> None:
        """Deliver frames again: those that wait right away."""
        self._release(_PAUSED)

    def stop(self) -> None:
        """Deliver nothing more, ever; as a close does by itself, and an abort doesn't."""
        self._held |= _OVER

    def change_framing(self, framing: Framing, max_size: int | None = None) -> None:
        """Read what follows the frame at hand with another framing, and write with it."""
        self._write_with(framing)
        if max_size is not None:
            self.max_size = max_size
        self._held |= _CHANGING
        if not self._delivering:
            self._deliver(b"")

    def _write_with(self, framing: Framing) -> None:
        self.framing = framing
        self._encode = framing.encode
        self._line_end = framing.eol if isinstance(framing, Line) else None

    def makeConnection(self, transport: Any) -> None:
        """Get ready to decode; then `connectionMade` is called."""
        self._decoder = self.framing.decoder(self.max_size)
        self._write_with(self.framing)
        # Asked for with every frame: what an instance has itself is found several times faster.
        self._held = self._held
        self._delivering = self._delivering
        if self.clock is None:
            self.clock = getattr(transport, "reactor", None)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Deliver the frames that are complete now."""
        if not self._held and not self._delivering:
            self._deliver(data)
        elif not self._held & _OVER:
            self._decoder.feed(data)

    def readConnectionLost(self) -> None:
        """The peer has shut down its side; `input_ended` is called when all is processed."""
        self._ended = True
        if not self._held and not self._delivering:
            self._input_ended()

    def drain(self) -> None:
        """Finish, since tcpd stops: as though the peer had shut down its side now."""
        if not self._ended:
            self._drains = True
            self.readConnectionLost()

    def _input_ended(self) -> None:
        if self._drains:
            self.stop()  # unlike one that has shut down its side, the peer may say more
        self.input_ended()

    def writeConnectionLost(self) -> None:
        """Our side is shut down, as we wanted."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what waits. Who overrides this calls it."""
        self._held |= _OVER
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _deliver(self, data: bytes) -> None:
        self._delivering = True
        try:
            self._deliver_what_is_complete(data)
        finally:
            self._delivering = False
        if self.transport.disconnecting:
            self._held |= _OVER
            return
        self._pause_or_resume_transport()
        if self._held:
            return
        if self._decoder.error is not None:
            self._held |= _OVER
            self.frame_error(self._decoder.error)
        elif self._ended:
            self._input_ended()

    def _deliver_what_is_complete(self, data: bytes) -> None:
        turn = self.frames_a_turn
        while not self.transport.disconnecting:
            if self._held & _CHANGING:
                self._change_decoder()
            if self._held:
                return
            frames = self._decoder.receive(data, turn)
            if frames:
                unused = self.frames_received(frames)
                if unused is None:
                    self._decoder.done()
                else:
                    self._decoder.put_back(unused)
            if not (self._decoder.more or self._held):
                return
            turn -= len(frames)
            if turn <= 0:
                turn = self.frames_a_turn
                self._give_turn_away()
            data = b""

    def _change_decoder(self) -> None:
        rest = self._decoder.pending
        self._decoder = self.framing.decoder(self.max_size)
        self._decoder.feed(rest)
        self._held &= ~_CHANGING

    def _give_turn_away(self) -> None:
        if self.clock is not None and not self._held & _OVER:
            self._held |= _TURN
            self._turn = self.clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self._release(_TURN)

    def _hold(self, why: int) -> None:
        self._held |= why
        if not self._delivering:
            self._pause_or_resume_transport()

    def _release(self, why: int) -> None:
        self._held &= ~why
        if not self._held and not self._delivering:
            self._deliver(b"")

    def _pause_or_resume_transport(self) -> None:
        """Let the transport do as we do, once a delivery is over; not for each pause in it."""
        pause = bool(self._held & (_PAUSED | _TURN))
        if pause is not self._transport_paused and not self._held & _OVER:
            self._transport_paused = pause
            if self.transport.disconnecting:
                return
            if pause:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()
