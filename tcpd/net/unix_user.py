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
