"""What was typed before, kept in the user's state directory.

The file is the user's alone (0600, its directory 0700), for passwords get typed. It never grows
beyond `MAX_SIZE`, and no trouble with it ever disturbs a conversation: without a file there's a
history of this run only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

MAX_SIZE = 1 << 20
"""Bytes of the file above which its older half is dropped."""


def history_path(environment: Mapping[str, str]) -> Path:
    """Return where the history is kept, as the XDG base directory specification has it."""
    state = environment.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "tcpd" / "client_history"


class PrivateHistory(FileHistory):
    """A history in a file that nobody else can read."""

    def store_string(self, string: str) -> None:
        """Append a line; a disk that's full or gone loses it, and no more."""
        try:
            super().store_string(string)
        except OSError:
            pass


def open_history(path: Path) -> tuple[History, str]:
    """Return the history in a file, and what is wrong with that file or an empty text.

    Args:
        path: the file; it and its directories are made where they're missing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _prepare(path)
    except OSError as problem:
        return InMemoryHistory(), f"no history: {path}: {problem.strerror}"
    return PrivateHistory(str(path)), ""


def _prepare(path: Path) -> None:
    # A FIFO or a link into somewhere else is not ours to write to.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    with open(fd, "r+b", buffering=0) as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(fd, 0o600)
        if status.st_size > MAX_SIZE:
            file.seek(-MAX_SIZE // 2, os.SEEK_END)
            kept = file.read()
            kept = kept[kept.find(b"\n#") + 1 :]  # each entry begins with a comment, its date
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
                new.write(kept)
            temporary.replace(path)
