"""What is asked before an address is closed for another: will it help, and can it be undone.

After a start as root, a process that has become somebody else holds sockets that it could never
bind again. And an address may be in the way of a new one without being the only one that is.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Collection
from contextlib import ExitStack

from twisted.internet import tcp

from tcpd.endpoint import ServerEndpoint
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


def why_not_in_place_of(wanted: ServerEndpoint, others: Collection[Port]) -> OSError | None:
    """Return what would keep a TCP address from being bound if some open ports were closed first.

    Nobody who connects notices: the ports go on listening, and what is bound here never listens.
    While it is bound, SO_REUSEPORT (socket(7)) has the kernel overlook the ports, and nobody else:
    it wants the option on both sides, and one user behind both.

    Returns:
        what bind(2) says; None if nothing, or if it can't be known: of a UNIX socket, and of a port
        that was opened by another user, as before the process gave up its privileges.
    """
    number = wanted.port
    if number is None or any(not _may_be_overlooked(each) for each in others):
        return None
    host = wanted.interface
    with ExitStack() as after:
        for each in others:
            before = each.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            after.callback(each.socket.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEPORT, before)
        try:
            place = tcp._resolveIPv6(host, number) if ":" in host else (host, number)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            probe = after.enter_context(socket.socket(family, socket.SOCK_STREAM))
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                probe.setsockopt(socket.SOL_SOCKET, option, 1)
            probe.bind(place)
        except OSError as error:
            return error
    return None


def _may_be_overlooked(port: Port) -> bool:
    return not isinstance(port, UNIXPort) and os.fstat(port.fileno()).st_uid == os.geteuid()


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
