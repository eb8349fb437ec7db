"""What the `logging` handler writes: records of bytes, each as lines for people or programs.

A record is a piece of what one side said: when, which session, which direction, from which offset
in that direction's stream, and the bytes themselves. The shapes `text`, `hex`, `base64` and `jsonl`
show the same records; each gives the bytes back exactly. No line holds a control character.

Files are opened for each write and closed again: no descriptor is held for a session, a rotated or
removed file is found anew, and a file is never written through a symbolic link.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tcpd.errors import did_you_mean
from tcpd.escape import escape_bytes
from tcpd.events import Identity

PLACEHOLDERS = ("listener", "peer", "session", "time")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^A-Za-z0-9.:_-]")
_PRINTABLE = bytes(code if 0x20 <= code < 0x7F else 0x2E for code in range(256))
_HEX_ROW = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A piece of what one side of a session said."""

    at: float
    """When, in seconds since 1970."""
    who: Identity
    direction: str
    """`in` from the peer, `out` to it."""
    offset: int
    """How many bytes went before it in this direction."""
    data: bytes

    @property
    def place(self) -> str:
        """Direction, offset and length: `in 0+6`."""
        return f"{self.direction} {self.offset}+{len(self.data)}"

    @property
    def head(self) -> str:
        """Time, session, peer and place: what a line in a file begins with."""
        return f"{_begin(self.at, self.who)} {self.place}"


def format_time(at: float) -> str:
    """Return a time as RFC 3339 writes it, in UTC: `2026-01-31T12:00:00.000Z`."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def hex_rows(data: bytes, offset: int = 0) -> Iterator[str]:
    """Give a hex dump, 16 bytes a row: offset, bytes, and the bytes that are printable ASCII."""
    for start in range(0, len(data), _HEX_ROW):
        row = data[start : start + _HEX_ROW]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        shown = row.translate(_PRINTABLE).decode("ascii")
        yield f"{offset + start:08x}  {left:<23}  {right:<23}  |{shown}|"


def data_lines(shape: str, record: Record) -> list[str]:
    """Return a record's bytes alone, in lines, as `text`, `hex` or `base64`."""
    if shape == "hex":
        return list(hex_rows(record.data, record.offset))
    if shape == "base64":
        return [base64.b64encode(record.data).decode("ascii")]
    return [escape_bytes(record.data)]


def file_lines(shape: str, record: Record) -> str:
    """Return a record as it stands in a file, its last newline included."""
    if shape == "jsonl":
        fields = {
            "time": format_time(record.at),
            **record.who.fields(),
            "direction": record.direction,
            "offset": record.offset,
            "data": base64.b64encode(record.data).decode("ascii"),
        }
        return json.dumps(fields, separators=(",", ":")) + "\n"
    if shape == "hex":
        return "\n  ".join([record.head, *data_lines(shape, record)]) + "\n"
    return f"{record.head}: {data_lines(shape, record)[0]}\n"


def stop_line(shape: str, at: float, who: Identity, limit: str) -> str:
    """Return the line that ends a recording since a limit, such as `max_bytes`, is reached."""
    if shape == "jsonl":
        fields = {"time": format_time(at), **who.fields(), "stopped": limit}
        return json.dumps(fields, separators=(",", ":")) + "\n"
    return f"{_begin(at, who)} is recorded no further: {limit} is reached\n"


def peer_of(who: Identity) -> str:
    """Return a session's peer for people: `127.0.0.1:9999`, `[::1]:9999`, `unix`."""
    address = who.client_address
    if not who.client_port:
        return address
    return f"[{address}]:{who.client_port}" if ":" in address else f"{address}:{who.client_port}"


def _begin(at: float, who: Identity) -> str:
    return f"{format_time(at)} {who.session_id} {peer_of(who)}"


def check_path(path: Path) -> None:
    """Say what is wrong with a path that records shall be written to.

    Raises:
        ValueError: a placeholder is unknown, its directory doesn't exist, or it is a symbolic link.
    """
    for name in _PLACEHOLDER.findall(str(path)):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            hint = did_you_mean(name, PLACEHOLDERS) or f"known are {known}"
            raise ValueError(f"unknown placeholder '{{{name}}}'; {hint}")
    if path.is_symlink():
        raise ValueError(f"'{path}' is a symbolic link, which is never followed")
    if path.is_dir():
        raise ValueError(f"'{path}' is a directory; for a file a session: '{path}/{{session}}.txt'")
    if _PLACEHOLDER.search(str(path.parent)):
        raise ValueError(f"'{path}' has a placeholder in a directory's name; only the file's may")
    if not path.parent.is_dir():
        raise ValueError(f"there is no directory '{path.parent}'")


def path_for(path: Path, who: Identity, at: float) -> str:
    """Return the file for a session's records; what fills a placeholder can't leave its place."""
    values = {
        "listener": who.listener,
        "peer": who.client_address,
        "session": who.session_id,
        "time": format_time(at).replace("-", "").replace(":", ""),
    }

    def fill(match: re.Match[str]) -> str:
        # A value of dots alone would be a directory.
        return _UNSAFE.sub("_", values[match[1]]).strip(".") or "_"

    return _PLACEHOLDER.sub(fill, str(path))


def append(path: str, text: str) -> None:
    """Append to a regular file, which is made readable for its owner alone.

    Raises:
        OSError: it can't be had, is a symbolic link or no regular file, or the disk is full.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    # O_NONBLOCK: opening a pipe must not wait for a reader.
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "a symbolic link is never followed", path) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it isn't a regular file", path)
        data = text.encode("utf-8")
        written = os.write(descriptor, data)
        if written < len(data):
            # Half a line would spoil the next one. Unless somebody else has written since, take
            # it back.
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            if os.fstat(descriptor).st_size == end:
                os.ftruncate(descriptor, end - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(descriptor)
