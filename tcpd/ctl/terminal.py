"""The terminal while `tcpdctl top` has it: a screen of its own, keys as they are pressed.

Rules:
- Whatever ends the block (a key, Ctrl-C, TERM, an exception), the terminal is as it was before.
- Signals only write a byte to a pipe, or raise; nothing is drawn in a handler.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
from collections.abc import Sequence
from types import FrameType
from typing import Self

# Another screen, no cursor, no wrapping at the right edge; and back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_DRAWN = "\x1b[?25l"  # ends a frame; some terminals show the cursor again after a resize
_SEQUENCES = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down",
    "\x1b[5~": "page-up", "\x1b[6~": "page-down",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home",
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace",
    "\x15": "erase-line", "\x17": "erase-word",
}  # fmt: skip
ESCAPE_WAIT = 0.05
"""Seconds after which an ESC that nothing follows is the Esc key."""


def keys_of(text: str) -> list[str]:
    """Return the keys in what a terminal sent: a name such as `up` or `enter`, or a character."""
    keys = []
    while text:
        name = next((each for each in _SEQUENCES if text.startswith(each)), "")
        if name:
            keys.append(_SEQUENCES[name])
            text = text[len(name) :]
        elif text.startswith(("\x1b[", "\x1bO")):  # a key that means nothing here
            end = next((n for n, c in enumerate(text[2:], 3) if c.isalpha() or c == "~"), len(text))
            text = text[end:]
        elif text[0] == "\x1b":
            keys.append("escape")
            text = text[1:]
        else:
            if text[0].isprintable():
                keys.append(text[0])
            text = text[1:]
    return keys


class Terminal:
    """Standard input and output as a screen and a keyboard; use it in a `with` block.

    Attributes:
        wake: a descriptor; a byte written to it ends a wait.
    """

    def __init__(self) -> None:
        self._before: list[int | list[bytes | int]] = []
        self._handlers: dict[int, object] = {}
        self._heard, self.wake = os.pipe()
        for end in (self._heard, self.wake):
            os.set_blocking(end, False)
        self._stopped = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        columns, rows = os.get_terminal_size(1)
        return columns or 80, rows or 24

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(0)
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._end)
        self._handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._nudge)
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._take()
        return self

    def __exit__(self, *rest: object) -> None:
        try:
            self._give_back()
        except OSError:  # it has been closed
            pass
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            os.close(self._heard)
            os.close(self.wake)

    def _take(self) -> None:
        now = termios.tcgetattr(0)
        now[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(0, termios.TCSADRAIN, now)
        self._write(_ENTER)

    def _give_back(self) -> None:
        termios.tcsetattr(0, termios.TCSADRAIN, self._before)
        self._write(_LEAVE)

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def draw(self, lines: Sequence[str]) -> None:
        """Show a frame over the last one."""
        # Erased before it is written: behind a full line the cursor stands on its last character.
        self._write("\x1b[H" + "\r\n".join(f"\x1b[K{line}" for line in lines) + _DRAWN)

    def keys(self, seconds: float) -> list[str] | None:
        """Return the keys that are pressed next; none after so many seconds, or when woken.

        Returns:
            None if the terminal is gone.
        """
        ready = select.select([0, self._heard], [], [], max(0.0, seconds))[0]
        if self._heard in ready:
            os.read(self._heard, 4096)
        if self._stopped:
            self._sleep()
        if 0 not in ready:
            return []
        try:
            data = os.read(0, 4096)
            # The rest of a sequence may come a moment later, over a slow line.
            while data and data[-1:] == b"\x1b" and select.select([0], [], [], ESCAPE_WAIT)[0]:
                data += os.read(0, 4096)
        except OSError:
            return None
        return keys_of(data.decode("utf-8", "replace")) if data else None

    def _sleep(self) -> None:
        """Go to the background, as Ctrl-Z wants it; come back with `fg`."""
        self._stopped = False
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop)
        self._take()

    def _nudge(self, number: int, frame: FrameType | None) -> None:
        try:
            os.write(self.wake, b"w")
        except BlockingIOError:  # it is full, so it wakes anyway
            pass

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True
        self._nudge(number, frame)

    @staticmethod
    def _end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)
