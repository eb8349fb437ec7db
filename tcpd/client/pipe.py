"""The client between two pipes: standard input to the peer, and what it says to standard output.

The rules, which docs/client.md tells the user:

- Bytes pass as they are; only `--hex`, `--escape` and `--eol` change them, and only a standard
  output that is a terminal is spared what isn't printable.
- Whoever doesn't take what we have is waited for, by not reading what is meant for him.
- The end of the input half-closes the connection, and the conversation has ended in order when the
  peer has closed its side too. A peer that ends first is still sent the rest of the input, unless
  that comes from a terminal, or `--reconnect` has somewhere else to send it.
- With `--reconnect` a connection that ends while there's still input is replaced by a new one, and
  the input goes on; what was on its way is lost and said to be.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tcpd.client.backoff import Backoff
from tcpd.client.codec import HexDump, InputError, LineEncoder, TerminalFilter
from tcpd.client.connection import Wire
from tcpd.client.console import Console
from tcpd.client.dial_errors import DialError
from tcpd.client.dialing import Dialler
from tcpd.client.ending import NOT_CONNECTED, Ending, judge, waited
from tcpd.client.options import Options
from tcpd.client.stdio import Sink, Source

_GRACE = 2.0
"""Seconds that what is queued gets to leave, once `--wait` is over."""


class Pipe:
    """One run between standard input and standard output.

    Args:
        reactor: a reactor that polls regular files too.
        options: what the command line asked for.
        dialler: makes the connections.
        console: where status lines go.
        stdin: the descriptor to read.
        stdout: the descriptor to write.
    """

    def __init__(
        self,
        reactor: Any,
        options: Options,
        dialler: Dialler,
        console: Console,
        *,
        stdin: int = 0,
        stdout: int = 1,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._dialler = dialler
        self._console = console
        self._source = Source(
            reactor, stdin, on_data=self._typed, on_end=self._input_ended, on_error=self._unreadable
        )
        self._sink = Sink(reactor, stdout, on_room=self._room, on_broken=self._unwritable)
        typed = options.pipe_encoding
        self._encoder = LineEncoder(typed) if typed else None
        self._encode: Callable[[bytes], bytes] = self._encoder.feed if self._encoder else bytes
        self._decode, self._decode_rest = _decoding(options, os.isatty(stdout))
        self._by_hand = os.isatty(stdin)
        self._wire: Wire | None = None
        self._trying: Deferred[Wire] | None = None
        self._over: Deferred[str] | None = None
        self._verdict: Ending | None = None

    async def run(self) -> int:
        """Return the exit status when the conversation is over."""
        backoff = Backoff(maximum=self._options.reconnect_max)
        said = ""
        while True:
            self._trying = Deferred.fromCoroutine(self._connect(said, backoff))
            try:
                wire = await self._trying
            except DialError as problem:
                return await self._leave(Ending(status=1, said=str(problem)))
            except CancelledError:
                return await self._leave(self._verdict or Ending(status=1))
            finally:
                self._trying = None
            started = time.monotonic()
            ending = await self._converse(wire)
            lasted = time.monotonic() - started
            self._console.detail(wire.totals(lasted))
            if ending.status is not None:
                return await self._leave(ending)
            backoff.stood(lasted)
            said = ending.said

    async def _connect(self, said: str, backoff: Backoff) -> Wire:
        if said:  # of the connection before this one
            await self._dialler.pause(said, backoff)
        return await self._dialler.dial_patiently(self, backoff)

    async def _leave(self, ending: Ending) -> int:
        self._sink.write(self._decode_rest())
        await self._sink.flush()
        if ending.said:
            self._console.say(ending.said)
        return ending.status or 0

    async def _converse(self, wire: Wire) -> Ending:
        self._wire = wire
        self._over = Deferred()
        if not self._source.ended:
            wire.transport.registerProducer(self._source, True)
            self._source.resumeProducing()
        cut = await self._over
        self._wire = None
        self._source.pauseProducing()
        return self._verdict or judge(
            self._options,
            cut=cut,
            input_ended=self._source.ended,
            peer_ended=wire.peer_ended,
            unsent=wire.unsent,
        )

    # -- from the peer -----------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Pass on what the peer said."""
        self._sink.write(self._decode(data))
        if self._sink.full and self._wire:
            self._wire.transport.pauseProducing()

    def peer_ended(self) -> None:
        """The peer has said everything; go on sending only where that's of use."""
        if self._wire and (self._source.ended or self._options.reconnect or self._by_hand):
            self._source.pauseProducing()
            self._wire.transport.unregisterProducer()  # or closing would ask it for more
            self._wire.close()
        else:
            self._console.detail("the peer has ended its side; the input is still sent")

    def lost(self, cut: str) -> None:
        """The connection is over."""
        if self._over and not self._over.called:
            self._over.callback(cut)

    # -- from standard input -----------------------------------------------------------------

    def _typed(self, data: bytes) -> None:
        if self._wire is None:
            return
        try:
            self._wire.send(self._encode(data))
        except InputError as problem:
            self._give_up(Ending(status=2, said=str(problem)))

    def _input_ended(self) -> None:
        wire = self._wire
        if wire is None:
            return
        try:
            wire.send(self._encoder.finish() if self._encoder else b"")
        except InputError as problem:
            self._give_up(Ending(status=2, said=str(problem)))
            return
        self._console.detail("the input has ended")
        wire.transport.unregisterProducer()
        if self._options.half_close:
            wire.half_close()
        if wire.peer_ended:
            wire.close()
        if self._options.wait is not None:
            self._reactor.callLater(self._options.wait, self._waited)

    def _unreadable(self, problem: OSError) -> None:
        self._give_up(Ending(status=1, said=f"cannot read standard input: {problem.strerror}"))

    def _waited(self) -> None:
        """`--wait` is over: leave, in order if that was the only end there could be."""
        if self._verdict:
            return
        if self._wire is None:
            self._give_up(NOT_CONNECTED)
            return
        self._verdict = waited(self._options)
        self._wire.close()
        self._reactor.callLater(_GRACE, self._too_late, self._wire)

    def _too_late(self, wire: Wire) -> None:
        if self._wire is wire:
            said = f"{wire.unsent} bytes of the input were not taken by the peer in time (--wait)"
            self._give_up(Ending(status=1, said=said))

    # -- from standard output ----------------------------------------------------------------

    def _room(self) -> None:
        if self._wire:
            self._wire.transport.resumeProducing()

    def _unwritable(self, problem: OSError) -> None:
        if problem.errno == errno.EPIPE:  # who reads has enough
            self._give_up(Ending(status=0))
        else:
            why = problem.strerror
            self._give_up(Ending(status=1, said=f"cannot write to standard output: {why}"))

    # ----------------------------------------------------------------------------------------

    def _give_up(self, verdict: Ending) -> None:
        self._verdict = verdict
        if self._wire:
            self._wire.abort()
        elif self._trying:
            self._trying.cancel()


def _decoding(
    options: Options, terminal: bool
) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """Return what turns the peer's bytes into output, and what gives the rest at the end."""
    if options.hex:
        dump = HexDump()

        def rows(lines: list[str]) -> bytes:
            return "".join(f"{line}\n" for line in lines).encode()

        return lambda data: rows(dump.feed(data)), lambda: rows(dump.flush())
    if terminal:
        shown = TerminalFilter()
        return shown.feed, shown.finish
    return bytes, bytes
