"""What the kernel knows of a TCP connection: TCP_INFO of tcp(7), `struct tcp_info` of linux/tcp.h.

The structure has grown over the years and only at its end, so an older kernel simply tells less.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

STATES = (
    *("", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait"),
    *("close", "close-wait", "last-ack", "listen", "closing", "new-syn-recv"),
)

# Eight bytes, of which the first three concern us; 24 numbers of 32 bits; and what came later.
_BASE = struct.Struct("=8B24I")  # Linux 2.6
_BYTES = struct.Struct(
    "=4Q"
)  # 3.15 to 4.1: pacing_rate, max_pacing_rate, bytes_acked, bytes_received
_SEGMENTS = struct.Struct(
    "=6I"
)  # 4.2 to 4.6: segments out, in, notsent_bytes, min_rtt, data segments
_RATE = struct.Struct("=Q")  # 4.9: delivery_rate
_WHOLE = 256
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPInfo:
    """The kernel's view of one connection; None is what this kernel doesn't tell."""

    state: str
    """As ss(8) names it: `established`, `close-wait`."""
    rtt: float
    """Smoothed round trip time, in seconds."""
    rttvar: float
    """Its mean deviation, in seconds."""
    rto: float
    """The retransmission timeout, in seconds."""
    cwnd: int
    """The congestion window, in segments."""
    ssthresh: int | None
    """Where slow start ends, in segments; None for no limit yet."""
    mss: int
    """The largest segment that is sent, in bytes."""
    unacked: int
    """Segments sent and not acknowledged."""
    lost: int
    """Segments that count as lost."""
    retransmits: int
    """How often the oldest segment has been sent again without an answer."""
    total_retransmits: int
    """Segments sent again since the connection began."""
    not_sent: int | None = None
    """Bytes that we wrote and that the kernel has not sent yet."""
    min_rtt: float | None = None
    """The shortest round trip time, in seconds."""
    bytes_acked: int | None = None
    bytes_received: int | None = None
    delivery_rate: int | None = None
    """Bytes a second that have lately arrived at the peer."""


def tcp_info(sock: socket.socket) -> TCPInfo | None:
    """Return what the kernel says of a connection; None if it is no TCP connection, or is over."""
    try:
        data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WHOLE)
    except OSError:
        return None
    return parse(data)


def parse(data: bytes) -> TCPInfo | None:
    """Return what a `struct tcp_info` says, as far as it goes; None if that is less than Linux 2.6.

    Args:
        data: the structure as getsockopt(2) gave it.
    """
    if len(data) < _BASE.size:
        return None
    state, _ca, retransmits, _probes, _backoff, _options, _scales, _flags, *numbers = (
        _BASE.unpack_from(data)
    )
    rto, _ato, mss, _rcv_mss, unacked, _sacked, lost = numbers[:7]
    rtt, rttvar, ssthresh, cwnd = numbers[15:19]
    at = _BASE.size
    acked = received = not_sent = min_rtt = rate = None
    if len(data) >= at + _BYTES.size:
        _pacing, _max_pacing, acked, received = _BYTES.unpack_from(data, at)
        at += _BYTES.size
        if len(data) >= at + _SEGMENTS.size:
            _out, _in, not_sent, shortest, _data_in, _data_out = _SEGMENTS.unpack_from(data, at)
            min_rtt = None if shortest == 0xFFFFFFFF else shortest / _MILLION
            at += _SEGMENTS.size
            if len(data) >= at + _RATE.size:
                (rate,) = _RATE.unpack_from(data, at)
    return TCPInfo(
        state=STATES[state] if state < len(STATES) else str(state),
        rtt=rtt / _MILLION,
        rttvar=rttvar / _MILLION,
        rto=rto / _MILLION,
        cwnd=cwnd,
        ssthresh=None if ssthresh >= 0x7FFFFFFF else ssthresh,
        mss=mss,
        unacked=unacked,
        lost=lost,
        retransmits=retransmits,
        total_retransmits=numbers[23],
        not_sent=not_sent,
        min_rtt=min_rtt,
        bytes_acked=acked,
        bytes_received=received,
        delivery_rate=rate,
    )
