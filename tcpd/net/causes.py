"""Why a session ended, in one word: what `close_cause` says when nobody gave a reason."""

from __future__ import annotations

import errno
import socket

from twisted.internet.error import ConnectionAborted, ConnectionDone

_RESET = frozenset((errno.ECONNRESET, errno.EPIPE))


def cause_of_error(error: OSError, sock: socket.socket) -> str:
    """What an error of recv(2) or send(2) means: "peer-reset", "peer-closed" or "lost".

    On a UNIX socket EPIPE is what comes of a peer's ordinary close, and ECONNRESET of one that left
    something of ours unread; but send(2) gives EPIPE then too, and leaves the other where it is. On
    TCP both are a reset; see unix(7) and tcp(7).
    """
    if error.errno == errno.EPIPE and sock.family == socket.AF_UNIX:
        return "peer-reset" if _pending(sock) in _RESET else "peer-closed"
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
    pending = _pending(sock)
    if pending is None:
        return "lost"
    if pending in _RESET:
        return "peer-reset"
    # Of a UNIX socket whose peer has closed, epoll says that it hung up, not that it can be written
    # to, and the reactor takes that for a loss if all was read and something is still to be done.
    return "peer-closed" if peer_finished and not pending else "lost"


def _pending(sock: socket.socket) -> int | None:
    """Return the error that waits on a socket, 0 for none; None if it can't be asked."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError:
        return None
