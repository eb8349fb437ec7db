"""Who listens on a UNIX socket: asked by connecting to it, which its file doesn't tell."""

from __future__ import annotations

import os
import socket
import struct

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: process, user, group; see unix(7)


def user_of(address: bytes) -> str | None:
    """Return who uses the UNIX socket at an address, for people; None if nobody does.

    A listening socket names the process that called listen(2), and no number if that is in another
    PID namespace, as in a container.

    Args:
        address: a path, or an abstract name with its leading zero byte.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return None
        except FileNotFoundError:
            raise
        except PermissionError:
            return f"another user, or left by one: user {os.geteuid()} may not connect to it"
        except OSError:  # EAGAIN: its backlog is full; EPROTOTYPE: it is a datagram socket
            return "another process"
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        process, _, _ = _CREDENTIALS.unpack(credentials)
    return f"process {process}" if process else "another process"


def is_listened_to(address: bytes) -> bool:
    """Return whether a UNIX socket isn't dead: anything but a refusal says so.

    One that this user may not connect to counts as dead; there is none for root.

    Args:
        address: a path, or an abstract name with its leading zero byte.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except (ConnectionRefusedError, PermissionError):
            return False
        except OSError:
            pass
    return True
