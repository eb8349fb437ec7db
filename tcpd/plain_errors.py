"""What the kernel says when a socket can't be had, in words for operators."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.internet.error import CannotListenError, ConnectError, TimeoutError
from twisted.python.failure import Failure

from tcpd.endpoint import ServerEndpoint

_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def why_not_open(error: BaseException | None, address: ServerEndpoint) -> str:
    """Return why an address could not be opened."""
    cause: object = error
    if isinstance(error, CannotListenError):
        cause = error.socketError
    if not isinstance(cause, OSError) or not cause.strerror:
        return str(cause) or type(cause).__name__
    words = cause.strerror[0].lower() + cause.strerror[1:]
    if isinstance(cause, PermissionError) and address.kind != "unix":
        first = _first_free_port()
        if 0 < (address.port or 0) < first:
            words += f"; ports below {first} need root or the capability CAP_NET_BIND_SERVICE"
    elif cause.errno == errno.EADDRNOTAVAIL:
        words = "this machine has no such address; 'ip address' lists those it has"
    elif isinstance(cause, FileNotFoundError) and address.kind == "unix":
        words = "there is no such directory"
    return words


def why_not_connected(failure: Failure) -> str:
    """Return why a try to connect failed; of what the kernel says, without its number."""
    error = failure.value
    number = error.osError if isinstance(error, ConnectError) else None
    if isinstance(number, int):
        words = os.strerror(number)
        return words[0].lower() + words[1:]
    if isinstance(error, TimeoutError):
        return "timed out"
    return str(failure.getErrorMessage())


def _first_free_port() -> int:
    """Return the lowest port that needs no privilege; see ip_unprivileged_port_start in ip(7)."""
    try:
        return int(_UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        return 1024
