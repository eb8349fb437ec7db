"""journald's native protocol: a record's fields as one datagram (JOURNAL_NATIVE_PROTOCOL).

A field is `NAME=value` and a newline; one whose value has a newline is its name, a newline, the
value's length in 64 bits, little-endian, the value, and a newline. A datagram that is too large for
the socket goes as a sealed memfd, whose descriptor is all that is sent.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
from collections.abc import Iterable

SOCKET = "/run/systemd/journal/socket"

_NAME = re.compile(rb"[A-Z][A-Z0-9_]{0,63}")
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def field_name(name: str, prefix: str = "TCPD_") -> str:
    """Return the journal's name for a field: `client.address` is `TCPD_CLIENT_ADDRESS`.

    A name has capital letters, digits and `_`, 64 at most, and doesn't begin with `_`.
    """
    return (prefix + _NOT_IN_NAMES.sub("_", name.upper()))[:64]


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return fields as a datagram.

    Raises:
        ValueError: journald would drop a field of such a name.
    """
    parts = []
    for name, value in fields:
        key, data = name.encode("ascii"), value.encode("utf-8", "backslashreplace")
        if not _NAME.fullmatch(key):
            raise ValueError(f"the journal takes no field {name!r}")
        if b"\n" in data:
            parts += [key, b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [key, b"=", data, b"\n"]
    return b"".join(parts)


def send(connection: socket.socket, datagram: bytes) -> None:
    """Send a datagram to journald, through a memfd if it is too large.

    Raises:
        OSError: it can't be sent.
    """
    try:
        connection.send(datagram)
    except OSError as error:
        if error.errno not in _TOO_LARGE:
            raise
    else:
        return
    descriptor = os.memfd_create("tcpd-record", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    try:
        left = memoryview(datagram)
        while left:
            left = left[os.write(descriptor, left) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
        connection.sendmsg([], [rights])
    finally:
        os.close(descriptor)
