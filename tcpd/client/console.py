"""Where the client speaks of itself: status lines, apart from what the peer says.

Outside the prompt they go to standard error, each with the program's name before it; the
interactive prompt puts its own `Console` in their place. Whatever may hold something of the peer's
is escaped by whoever puts it into a line.
"""

from __future__ import annotations

import os
from typing import Protocol

PROGRAM = "tcpd-client"


class Console(Protocol):
    """Where status lines go."""

    def say(self, text: str) -> None:
        """Show a line that everybody is to see."""

    def detail(self, text: str) -> None:
        """Show a line that `-v` asked for."""


class StderrConsole:
    """Status lines on standard error.

    Args:
        fd: the descriptor to write to.
        verbose: whether details are shown.
    """

    def __init__(self, fd: int, *, verbose: bool) -> None:
        self._fd = fd
        self._verbose = verbose

    def say(self, text: str) -> None:
        """Write a line; where standard error is closed or full, nobody can be told."""
        try:
            os.write(self._fd, f"{PROGRAM}: {text}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass

    def detail(self, text: str) -> None:
        """Write a line if `-v` was given."""
        if self._verbose:
            self.say(text)
