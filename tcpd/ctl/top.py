"""`tcpdctl top`: the sessions, live.

A thread asks the daemon, so that keys are heard while it thinks; it sends what it learnt through a
queue and wakes the terminal. Everything else happens in the main thread.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tcpd.ctl.api import Api
from tcpd.ctl.commands import ask_sessions, check_listener, say_json
from tcpd.ctl.ending import OK, USAGE, CtlError
from tcpd.ctl.screen import Choices, Look, chosen_of, frame, room_of
from tcpd.ctl.terminal import Terminal
from tcpd.ctl.text import Paint

MOST_KEYS = 200
"""Characters of a filter."""


def top(api: Api, given: Namespace) -> int:
    """Watch the sessions until the user leaves; with --json, print one look.

    Raises:
        CtlError: there is no daemon to begin with, or no terminal.
    """
    choices = Choices(
        sort=given.sort or "-rate", text=given.filter or "", listener=given.listener or ""
    )
    if given.json:
        look = look_at(api, choices, None)
        say_json({"status": look.status, "total": look.total, "sessions": look.sessions})
        return OK
    if not (os.isatty(0) and os.isatty(1)) or os.environ.get("TERM", "dumb") == "dumb":
        raise CtlError(
            USAGE, "top needs a terminal", "without one there are sessions and top --json"
        )
    if choices.listener:
        check_listener(api, choices.listener)
    look = look_at(api, choices, room_of(os.get_terminal_size(1).lines))
    try:
        with Terminal() as terminal:
            Top(api, choices, look, given.every, terminal).run()
    except KeyboardInterrupt:
        pass
    return OK


def look_at(api: Api, choices: Choices, limit: int | None) -> Look:
    """Ask the daemon for what is shown."""
    asked = Namespace(listener=choices.listener, filter=choices.text, sort=choices.sort)
    found = ask_sessions(api, asked, limit, choices.offset)
    status = api.get("api", "status")
    return Look(
        status=status if isinstance(status, dict) else {},
        sessions=found["sessions"],
        total=found["total"],
    )


class Top:
    """The table and who looks at it.

    Args:
        api: the daemon.
        choices: what is chosen to begin with.
        look: what the daemon said first.
        every: seconds between two looks.
        terminal: the screen and the keyboard.
    """

    def __init__(
        self, api: Api, choices: Choices, look: Look, every: float, terminal: Terminal
    ) -> None:
        self._api = api
        self._choices = choices
        self._look = look
        self._every = every
        self._terminal = terminal
        self._paint = Paint.of(sys.stdout)
        self._orders: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Look | str] = queue.SimpleQueue()
        self._asking = False
        self._asked_at = time.monotonic()

    def run(self) -> None:
        """Show and listen until the user leaves."""
        threading.Thread(target=self._work, daemon=True).start()
        while True:
            columns, rows = self._terminal.size
            self._terminal.draw(frame(self._look, self._choices, columns, rows, self._paint))
            due = self._asked_at + self._every - time.monotonic()
            if due <= 0 and not self._asking and not self._choices.still:
                self._ask()
            keys = self._terminal.keys(self._every if self._choices.still else max(due, 0.05))
            if keys is None:
                return
            self._take_results()
            for key in keys:
                if not self._pressed(key):
                    return

    # -- the daemon --------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            order = self._orders.get()
            try:
                result = order()
            except CtlError as error:
                result = error
            except Exception as error:
                result = CtlError(1, f"{type(error).__name__}: {error}")
            self._results.put(result)
            try:
                os.write(self._terminal.wake, b"r")
            except OSError:  # it is full, or the terminal has been given back
                pass

    def _ask(self) -> None:
        """Have the thread look again, at what is chosen now."""
        self._asking = True
        self._asked_at = time.monotonic()
        choices, room = replace(self._choices), room_of(self._terminal.size[1])
        self._orders.put(lambda: look_at(self._api, choices, room))

    def _take_results(self) -> None:
        while not self._results.empty():
            result: Any = self._results.get()
            if isinstance(result, str):
                self._choices.message = result
                continue
            self._asking = False
            if isinstance(result, CtlError):
                self._choices.trouble = str(result)
            else:
                self._choices.trouble = ""
                self._look = result
                if self._choices.offset and not result.sessions:  # those there have all ended
                    self._choices.offset = max(0, result.total - room_of(self._terminal.size[1]))
                    self._ask()

    def _close(self, session_id: str, *, reset: bool) -> None:
        def order() -> str:
            try:
                self._api.post("api", "sessions", session_id, "close", reset=reset)
            except CtlError as error:
                return str(error)
            return f"session {session_id}: {'reset' if reset else 'closing'}"

        self._orders.put(order)

    # -- the keyboard ------------------------------------------------------------------------

    def _pressed(self, key: str) -> bool:
        """Do what a key means; gives whether to go on."""
        choices = self._choices
        choices.message = ""
        if choices.typing is not None:
            self._typed(key)
            return True
        if choices.asked is not None:
            session, choices.asked = choices.asked, None
            if key in "yr":
                self._close(str(session.get("id")), reset=key == "r")
            return True
        if choices.help:
            choices.help = False
            return True
        if key == "q":
            return False
        self._command(key)
        return True

    def _command(self, key: str) -> None:
        choices = self._choices
        room = room_of(self._terminal.size[1])
        moves = {"up": -1, "down": 1, "page-up": -room, "page-down": room}
        before = (choices.sort, choices.offset)
        if key in moves:
            choices.move(moves[key], self._look, room)
        elif key == "home":
            choices.offset, choices.chosen = 0, ""
        elif key in "sS":
            choices.sort_by_next(1 if key == "s" else -1)
        elif key == "r":
            choices.turn_round()
        elif key == "/":
            choices.typing = choices.text
        elif key == " ":
            choices.still = not choices.still
        elif key in "?h":
            choices.help = True
        elif key == "k":
            choices.asked = chosen_of(self._look, choices)
            if choices.asked is None:
                choices.message = "there is no session to close"
        if (choices.sort, choices.offset) != before:
            self._ask()

    def _typed(self, key: str) -> None:
        choices = self._choices
        text = choices.typing or ""
        if key == "enter":
            choices.text, choices.typing, choices.offset = text, None, 0
            self._ask()
        elif key == "escape":
            choices.typing = None
        elif key == "backspace":
            choices.typing = text[:-1]
        elif key == "erase-line":
            choices.typing = ""
        elif key == "erase-word":
            before, space, _ = text.rstrip().rpartition(" ")
            choices.typing = before + space
        elif len(key) == 1 and len(text) < MOST_KEYS:
            choices.typing = text + key
