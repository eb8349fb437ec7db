"""The prompt on the terminal, and the lines above it: everything that knows prompt_toolkit.

The rules:

- Every line has a gutter that a peer can't forge: `<` what it said, `>` what was sent, `*` what the
  client itself has to say.
- Nothing of the peer's reaches the terminal but printable characters. A line that has not ended
  stands just above the prompt until it does, or until the user answers it.
- What comes in waits in one queue and is shown a slice at a time, so that keys are heard in a flood
  of it; `full` asks for a pause.
- Lines are printed with the terminal in raw mode and the prompt erased, never through
  `run_in_terminal`, which would echo what is being typed into the middle of the output.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections import deque
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import ValidationState
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth
from prompt_toolkit.validation import ValidationError, Validator

from tcpd.client.codec import Fragment, HexDump, InputError, LineView, Typed
from tcpd.escape import escape_text

SLICE = 16384
"""Bytes that are shown before the keyboard is looked at again."""
HIGH_WATER = 65536
"""Bytes waiting to be shown above which the peer is not read from."""

_STYLE = Style.from_dict(
    {
        "status": "ansiyellow",
        "received": "ansicyan",
        "sent": "ansigreen",
        "escaped": "reverse",
        "prompt": "bold",
    }
)


class User(Protocol):
    """Who is told what the person at the keyboard does."""

    def objection(self) -> str:
        """Return why nothing can be sent now, or an empty text."""

    def typed(self, data: bytes) -> None:
        """Send what was typed."""

    def end_of_input(self) -> None:
        """Take Ctrl-D."""

    def room(self) -> None:
        """Learn that all has been shown, and more may come."""


class _Check(Validator):
    """Refuses a line that can't be sent, and leaves it standing to be mended."""

    def __init__(self, user: User, typed: Typed) -> None:
        self._user = user
        self._typed = typed

    def validate(self, document: Document) -> None:
        if problem := self._user.objection():
            raise ValidationError(len(document.text), problem)
        start = 0
        for line in document.text.split("\n"):
            try:
                self._typed.encode(line)
            except InputError as error:
                raise ValidationError(start + error.position, str(error)) from None
            start += len(line) + 1


class Prompt:
    """A prompt that stays until it's stopped.

    Args:
        user: who is told what is typed.
        typed: how a typed line becomes bytes.
        history: where typed lines are kept.
        hex_view: whether data is shown as a hex dump.

    Attributes:
        gone: whether the terminal went away under the prompt.
    """

    def __init__(self, user: User, typed: Typed, history: History, *, hex_view: bool) -> None:
        self._user = user
        self._typed = typed
        self._view = LineView(crlf=typed.eol == b"\r\n")
        self._dump = HexDump() if hex_view else None
        self._queue: deque[bytearray | StyleAndTextTuples] = deque()
        self._waiting = 0
        self._scheduled = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        self.gone = False
        self._state = ""
        # Without asking the terminal where the cursor is (CPR): the prompt needs no menu's height,
        # and a terminal that doesn't answer would be waited for and warned of.
        self._output = Vt100_Output(
            sys.stdout, _terminal_size, term=os.environ.get("TERM"), enable_cpr=False
        )
        self._session: PromptSession[str] = PromptSession(
            self._message,
            history=history,
            output=self._output,
            style=_STYLE,
            include_default_pygments_style=False,
            key_bindings=self._bindings(),
            validator=_Check(user, typed),
            validate_while_typing=False,
            enable_suspend=True,
            erase_when_done=True,
        )
        buffer = self._session.default_buffer
        buffer.accept_handler = lambda _: self._accept(buffer.text)
        buffer.read_only = Condition(lambda: bool(self._state))

    async def run(self) -> None:
        """Show the prompt until `stop`, or until the user leaves with Ctrl-C."""

        def start() -> None:
            if self._stopped:
                asyncio.get_running_loop().call_soon(self.stop)

        try:
            await self._session.prompt_async(pre_run=start)
        except (EOFError, OSError, termios.error):
            self.gone = True

    def stop(self) -> None:
        """Take the prompt away."""
        self._stopped = True
        app = self._session.app
        if app.is_running and app.future is not None and not app.future.done():
            app.exit()

    def lock(self, state: str) -> None:
        """Take no more input, and say why in the prompt's place; an empty text unlocks."""
        self._state = state
        self._session.app.invalidate()

    def recheck(self) -> None:
        """Forget that the line at the prompt was refused: the reason has gone."""
        buffer = self._session.default_buffer
        buffer.validation_state = ValidationState.UNKNOWN
        buffer.validation_error = None

    @property
    def full(self) -> bool:
        """Whether so much waits to be shown that no more should come."""
        return self._waiting > HIGH_WATER

    async def settled(self) -> None:
        """Wait until everything has been shown."""
        await self._idle.wait()

    def show_data(self, data: bytes) -> None:
        """Show what the peer said."""
        if not self._queue or not isinstance(self._queue[-1], bytearray):
            self._queue.append(bytearray())
        last = self._queue[-1]
        if isinstance(last, bytearray):
            last += data
        self._waiting += len(data)
        self._schedule()

    def show_status(self, text: str) -> None:
        """Show a line of the client's own, which ends what the peer had begun to say."""
        self._queue.append([("class:status", f"* {text}\n")])
        self._schedule()

    # -- showing -----------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._show_slice)

    def _show_slice(self) -> None:
        self._scheduled = False
        lines: StyleAndTextTuples = []
        budget = SLICE
        while self._queue and budget > 0:
            item = self._queue[0]
            if isinstance(item, bytearray):
                piece = bytes(item[:budget])
                del item[:budget]
                self._waiting -= len(piece)
                budget -= len(piece)
                lines += self._received(piece, last=not item)
                if item:
                    continue
            else:
                lines += self._unfinished()
                lines += item
                budget -= 80  # about a line
            self._queue.popleft()
        self._print(lines)
        if self._queue:
            self._schedule()
        else:
            self._idle.set()
            self._user.room()

    def _received(self, data: bytes, *, last: bool) -> StyleAndTextTuples:
        shown: StyleAndTextTuples = []
        if self._dump is not None:
            for row in self._dump.feed(data) + (self._dump.flush() if last else []):
                shown += [("class:received", "< "), ("", f"{row}\n")]
            return shown
        for line in self._view.feed(data):
            shown += _line(line.fragments, ended=line.ended)
        return shown

    def _unfinished(self) -> StyleAndTextTuples:
        shown: StyleAndTextTuples = []
        for line in self._view.flush():
            shown += _line(line.fragments, ended=False)
        return shown

    def _print(self, lines: StyleAndTextTuples) -> None:
        app = self._session.app
        if lines:
            if app.is_running:
                app.renderer.erase()
            print_formatted_text(self._output, lines, _STYLE)
        if app.is_running:
            app.invalidate()

    def _message(self) -> StyleAndTextTuples:
        message: StyleAndTextTuples = []
        partial = self._view.partial
        if partial:
            width = self._output.get_size().columns - 3
            message += [("class:received", "< "), *_styled(_tail(partial, width)), ("", "\n")]
        if self._state:
            message.append(("class:status", f"* {self._state} "))
        else:
            message.append(("class:prompt", "> "))
        return message

    # -- the keyboard ------------------------------------------------------------------------

    def _accept(self, text: str) -> bool:
        lines = text.split("\n")
        self._queue.extend([("class:sent", "> "), ("", f"{escape(line)}\n")] for line in lines)
        self._schedule()
        self._user.typed(b"".join(map(self._typed.encode, lines)))
        return False

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @Condition
        def empty() -> bool:
            return not self._session.default_buffer.text

        @bindings.add("c-c")
        @bindings.add("<sigint>")
        def _leave(event: KeyPressEvent) -> None:
            self.stop()

        @bindings.add("c-d", filter=empty)
        def _end(event: KeyPressEvent) -> None:
            self._user.end_of_input()

        return bindings


def _terminal_size() -> Size:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return Size(rows=rows or 24, columns=columns or 80)  # a serial line may say 0


def escape(text: str) -> str:
    """Return a typed line fit to be shown; a pasted control character made visible."""
    return text if text.isprintable() else escape_text(text)


def _line(fragments: tuple[Fragment, ...], *, ended: bool) -> StyleAndTextTuples:
    end: StyleAndTextTuples = [] if ended else [("class:status", " ...")]
    return [("class:received", "< "), *_styled(fragments), *end, ("", "\n")]


def _styled(fragments: tuple[Fragment, ...]) -> StyleAndTextTuples:
    return [("class:escaped" if f.escaped else "", f.text) for f in fragments]


def _tail(fragments: tuple[Fragment, ...], width: int) -> tuple[Fragment, ...]:
    """Return the end of a line that fits into so many columns."""
    kept: list[Fragment] = []
    for fragment in reversed(fragments):
        text = fragment.text
        start = len(text)
        while start and width >= get_cwidth(text[start - 1]):
            width -= get_cwidth(text[start - 1])
            start -= 1
        kept.append(Fragment(fragment.escaped, text[start:]))
        if start:
            break
    return tuple(reversed(kept))
