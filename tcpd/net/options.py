"""The socket options that every TCP connection of tcpd's starts with."""

from __future__ import annotations

import socket

# A peer that vanished without a word is noticed after two minutes of silence and four unanswered
# probes: four minutes in all, where Linux alone would wait two hours and eleven minutes.
KEEPALIVE_IDLE = 120
KEEPALIVE_INTERVAL = 30
KEEPALIVE_PROBES = 4


def tune(sock: socket.socket) -> None:
    """Set TCP_NODELAY and keepalive on a TCP socket; other kinds of socket are left as they are.

    Linux hands the options of a listening socket on to what it accepts, so a port is tuned once
    and its connections cost nothing. TCP_NODELAY, since tcpd gathers writes itself and Nagle's
    algorithm, when it meets a delayed ACK, holds the last segment back for 40 ms. See tcp(7).
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
