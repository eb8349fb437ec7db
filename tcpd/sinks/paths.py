"""What can be seen to be wrong with a file's path before the file is opened."""

from __future__ import annotations

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
