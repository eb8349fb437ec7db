"""Whether an address that is open could be opened once more by the process as it is now.

It is asked before such an address is closed. After a start as root, a process that has become
somebody else holds sockets that it could never bind again.
"""

from __future__ import annotations

import os
import socket
import stat

from tcpd.net.port import Port
from tcpd.net.unix_port import UNIXPort


def why_not_again(port: Port) -> str:
    """Return why a port's address couldn't be bound again, in words; empty if it could.

    Only permissions are asked for, and nothing is changed.
    """
    try:
        place = port.socket.getsockname()
        if isinstance(port, UNIXPort):
            return _why_no_file(os.fsencode(place))
        # bind(2) looks at permissions first, and then finds the address in use, by us.
        with socket.socket(port.socket.family, socket.SOCK_STREAM) as probe:
            probe.bind(place)
    except PermissionError:
        return "this user has no permission to bind it"
    except OSError:
        pass
    return ""


def _why_no_file(path: bytes) -> str:
    if not path or path[:1] == b"\0":
        return ""
    directory = os.path.dirname(path) or b"."
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return "this user can't write to its directory"
    around, file = os.stat(directory), os.lstat(path)
    if around.st_mode & stat.S_ISVTX and os.geteuid() not in (0, around.st_uid, file.st_uid):
        return "its file is another user's"
    return ""
