"""Why a session ended, in one word: what `close_cause` says when nobody gave a reason."""

from __future__ import annotations

import errno
import socket

from twisted.internet.error import ConnectionAborted, ConnectionDone

_RESET = frozenset((errno.ECONNRESET, errno.EPIPE))


def cause_of_error(error: OSError) -> str:
    """What an error of recv(2) or send(2) means: "peer-reset" or "lost"."""
    return "peer-reset" if error.errno in _RESET else "lost"


def cause_of_end(reason: BaseException | None, sock: socket.socket, *, peer_finished: bool) -> str:
    """What an end means that nothing else explains.

    Args:
        reason: what the protocol is going to be told.
        sock: the socket, still open; a reset that epoll saw first is noted there.
        peer_finished: whether the peer had ended its stream before.
    """
    if isinstance(reason, ConnectionDone):
        return "peer-closed" if peer_finished else "handler-closed"
    if isinstance(reason, ConnectionAborted):
        return "handler-aborted"
    try:
        pending = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError:
        return "lost"
    return "peer-reset" if pending in _RESET else "lost"
