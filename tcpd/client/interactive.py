"""The client on a terminal: the conversation between a person, the prompt and the peer.

The rules, which docs/client.md tells the user:

- The first connection is made before there is a prompt, so a failure is a plain line on standard
  error.
- Ctrl-D ends our side and waits for the peer; Ctrl-C leaves, which is an end in order while there
  is a connection.
- A peer that closes ends the conversation, unless `--reconnect` brings another; a line typed in
  between stays at the prompt.
- The prompt runs on asyncio, in the loop that the asyncio reactor runs on too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from prompt_toolkit.history import History, InMemoryHistory
from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from tcpd.client.backoff import Backoff
from tcpd.client.connection import Wire
from tcpd.client.console import StderrConsole
from tcpd.client.dial_errors import DialError
from tcpd.client.dialing import Dialler
from tcpd.client.ending import NOT_CONNECTED, Ending, judge, waited
from tcpd.client.history import history_path, open_history
from tcpd.client.options import Options
from tcpd.client.prompt import Prompt

_POLITE = 0.5
"""Seconds that a connection gets to close in order when the user leaves."""


class Interactive:
    """One run at a terminal.

    Args:
        reactor: the asyncio reactor.
        options: what the command line asked for.
        make_dialler: gives what makes the connections, told where status lines go: here.
    """

    def __init__(
        self, reactor: Any, options: Options, make_dialler: Callable[[Interactive], Dialler]
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._stderr = StderrConsole(2, verbose=options.verbose)
        self._details_apart = not os.isatty(2)
        self._dialler = make_dialler(self)
        self._backoff = Backoff(maximum=options.reconnect_max)
        self._prompt: Prompt | None = None
        self._wire: Wire | None = None
        self._over: Deferred[str] | None = None
        self._verdict: Ending | None = None
        self._input_ended = False
        self._status_of_leaving = 0

    async def run(self) -> int:
        """Return the exit status when the conversation is over."""
        try:
            wire = await self._dialler.dial_patiently(self, self._backoff)
        except DialError as problem:
            self.say(str(problem))
            return 1
        prompt = self._prompt = self._make_prompt()
        talk = Deferred.fromCoroutine(self._talk(wire))
        screen = asyncio.ensure_future(prompt.run())
        screen.add_done_callback(lambda _: talk.cancel())
        self._mind_signals()
        try:
            status = await talk
            await Deferred.fromFuture(asyncio.ensure_future(prompt.settled()))
        except CancelledError:
            status = await self._left()
        prompt.stop()
        await Deferred.fromFuture(screen)
        return status

    def _make_prompt(self) -> Prompt:
        history: History = InMemoryHistory()
        problem = ""
        if self._options.history:
            history, problem = open_history(history_path(os.environ))
        typed, hex_view = self._options.prompt_encoding, self._options.hex
        prompt = Prompt(self, typed, history, hex_view=hex_view)
        if problem:
            prompt.show_status(problem)
        return prompt

    def _mind_signals(self) -> None:
        # The terminal must be put back in order whatever ends us.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        self._status_of_leaving = 128 + number
        if self._prompt:
            self._prompt.stop()

    # -- the conversation --------------------------------------------------------------------

    async def _talk(self, wire: Wire) -> int:
        """Return the exit status; cancelled when the user leaves."""
        while True:
            started = time.monotonic()
            ending = await self._converse(wire)
            lasted = time.monotonic() - started
            self.detail(wire.totals(lasted))
            if ending.status is not None:
                self.say(ending.said or "closed by the peer")
                return ending.status
            self._backoff.stood(lasted)
            await self._dialler.pause(ending.said, self._backoff)
            try:
                wire = await self._dialler.dial_patiently(self, self._backoff)
            except DialError as problem:
                self.say(str(problem))
                return 1

    async def _converse(self, wire: Wire) -> Ending:
        self._wire = wire
        self._over = Deferred()
        self.say(f"connected to {self._options.target}; Ctrl-D ends your side, Ctrl-C leaves")
        if self._prompt:
            self._prompt.recheck()
        if self._input_ended:
            self._end_our_side(wire)
        cut = await self._over
        self._wire = None
        return self._verdict or judge(
            self._options, cut=cut, input_ended=self._input_ended, unsent=wire.unsent
        )

    async def _left(self) -> int:
        """Close in order if the peer lets us; the status of a user who left."""
        if self._prompt and self._prompt.gone:  # as SIGHUP says too, sooner or later
            self._status_of_leaving = 128 + signal.SIGHUP
        wire = self._wire
        if wire is None:
            return self._status_of_leaving or 1
        self._over = Deferred()
        wire.close()
        try:
            await self._over.addTimeout(_POLITE, self._reactor)
        except TimeoutError:
            wire.abort()
        return self._status_of_leaving

    # -- from the peer -----------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Show what the peer said."""
        if self._prompt and self._wire:
            self._prompt.show_data(data)
            if self._prompt.full:
                self._wire.transport.pauseProducing()

    def peer_ended(self) -> None:
        """The peer has said everything, and there's nothing more to be had from it."""
        if self._wire:
            self._wire.close()

    def lost(self, cut: str) -> None:
        """The connection is over."""
        if self._over and not self._over.called:
            self._over.callback(cut)

    # -- from the keyboard -------------------------------------------------------------------

    def objection(self) -> str:
        """Return why nothing can be sent now."""
        return "" if self._wire else "not connected; the line stays here until it can be sent"

    def typed(self, data: bytes) -> None:
        """Send what was typed."""
        if self._wire:
            self._wire.send(data)

    def end_of_input(self) -> None:
        """Take Ctrl-D: the end of our side, told to the peer unless that's not wanted."""
        if self._input_ended or self._prompt is None:
            return
        self._input_ended = True
        self._prompt.lock("your side has ended; waiting for the peer (Ctrl-C leaves)")
        if self._wire:
            self._end_our_side(self._wire)
        if self._options.wait is not None:
            self._reactor.callLater(self._options.wait, self._waited)

    def room(self) -> None:
        """Read on: all has been shown."""
        if self._wire:
            self._wire.transport.resumeProducing()

    def _end_our_side(self, wire: Wire) -> None:
        if self._options.half_close:
            wire.half_close()

    def _waited(self) -> None:
        if self._wire is None:
            self.say(NOT_CONNECTED.said)
            if self._prompt:
                self._prompt.stop()
            return
        self._verdict = waited(self._options)
        if self._wire.unsent:
            self._wire.abort()
        else:
            self._wire.close()

    # -- status lines ------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Show a status line: above the prompt, or before there is one on standard error."""
        if self._prompt:
            self._prompt.show_status(text)
        else:
            self._stderr.say(text)

    def detail(self, text: str) -> None:
        """Show a detail if `-v` was given; a standard error that is no terminal gets it."""
        if self._details_apart or not self._prompt:
            self._stderr.detail(text)
        elif self._options.verbose:
            self._prompt.show_status(text)
