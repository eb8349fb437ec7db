"""Passwords of servers: in files of their own, never in the configuration, which others may read.

`--print-config` prints the configuration, and people keep it under version control.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tcpd.errors import FieldError
from tcpd.escape import escape_text

_HINT = "write it into a file, and name that in 'password_file'"


def url_problems(key: str, url: str, schemes: tuple[str, ...]) -> Iterator[FieldError]:
    """Give what is wrong with a server's URL.

    Args:
        key: the option that it is the value of.
        url: the URL.
        schemes: those that it may have.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        yield FieldError((key,), f"this isn't a URL: {escape_text(str(error))}")
        return
    if parts.scheme not in schemes:
        known = ", ".join(f"'{each}://'" for each in schemes)
        yield FieldError((key,), f"expected a URL that begins with {known}")
    if parts.password is not None or "password=" in parts.query:
        yield FieldError((key,), "there is a password in it", _HINT)
    elif parts.scheme in ("nats", "tls") and parts.username is not None:
        hint = "name a user in 'user'; write a token into a file, and name that in 'password_file'"
        yield FieldError((key,), "what stands before the @ is a token for NATS", hint)


def conninfo_problems(key: str, conninfo: str) -> Iterator[FieldError]:
    """Give what is wrong with libpq's words for a connection (a URL, or `key=value` pairs)."""
    if re.search(r"password\s*=", conninfo) or re.match(r"\w+://[^/@]*:[^/@]*@", conninfo):
        yield FieldError((key,), "there is a password in it", _HINT)


def file_problems(key: str, path: Path | None) -> Iterator[FieldError]:
    """Give what is wrong with a file that has to be there, if one is named."""
    if path is not None and not path.is_file():
        yield FieldError((key,), f"there is no file {escape_text(str(path))}")


def read_password(path: Path | None) -> str | None:
    """Return the password in a file, without the newline at its end; None if none is named.

    Raises:
        OSError: the file can't be read.
    """
    return None if path is None else path.read_text("utf-8").removesuffix("\n")
