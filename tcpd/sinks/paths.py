"""Files of sinks: what can be seen to be wrong with a path beforehand, and how one is opened."""

from __future__ import annotations

import os
from pathlib import Path

from tcpd.errors import FieldError
from tcpd.escape import escape_text


def path_problems(path: Path) -> list[FieldError]:
    """Return what is wrong with a path that records are to be written to, as far as one can see."""
    shown = escape_text(str(path))
    at = ("path",)
    if path.is_symlink():
        return [FieldError(at, f"{shown} is a symbolic link", "name its target")]
    if path.is_dir():
        return [FieldError(at, f"{shown} is a directory, not a file")]
    if not path.parent.is_dir():
        parent = escape_text(str(path.parent))
        return [FieldError(at, f"there is no directory {parent}", "make it first")]
    return []


def open_file(path: Path, mode: int, flags: int = os.O_RDWR) -> int:
    """Open a file, never through a symbolic link; make it if it isn't there.

    Args:
        path: the file.
        mode: who may use a file that is made: this and nothing else, as a umask isn't ours to
            know. twistd's is 077 in the background, the unit's 027.
        flags: how to open it.

    Returns:
        The descriptor.

    Raises:
        OSError: it can't be opened.
    """
    # O_NONBLOCK: nothing is waited for, even if it is a pipe or a device.
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CREAT
    try:
        fd = os.open(path, flags | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags, mode)
    os.fchmod(fd, mode)
    return fd
