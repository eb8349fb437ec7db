"""The table of all metrics: their names, kinds and labels, and where they are read.

`docs/metrics.md` is the reference; a test holds it against `METRICS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tcpd.admin.census import Buckets
from tcpd.admin.metric_samples import (
    Labels,
    Read,
    accept_failures,
    arriving,
    build,
    closed,
    connectors_up,
    deadlines,
    failing,
    limits,
    listeners_up,
    of_arrivals,
    of_captures,
    of_connectors,
    of_process,
    of_sessions,
    of_sinks,
    one,
    queued,
    refused,
)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Spec:
    """A metric: its name, its kind, what its labels are called, and what it says."""

    name: str
    kind: Kind
    labels: Labels
    help: str
    read: Read


_SESSIONS = ("listener", "handler")
_LISTENER = ("listener",)

METRICS: tuple[Spec, ...] = (
    Spec("tcpd_build_info", "gauge", ("version",), "The version of tcpd; always 1.", build),
    # Sessions.
    Spec(
        "tcpd_sessions_open",
        "gauge",
        _SESSIONS,
        "Sessions that are open.",
        of_sessions(lambda each: each.open),
    ),
    Spec(
        "tcpd_sessions_total",
        "counter",
        _SESSIONS,
        "Sessions that there were, the open ones included.",
        of_sessions(lambda each: each.total),
    ),
    Spec(
        "tcpd_sessions_closed_total",
        "counter",
        (*_SESSIONS, "reason"),
        "Sessions that have ended, by the reason.",
        closed,
    ),
    Spec(
        "tcpd_received_bytes_total",
        "counter",
        _SESSIONS,
        "Bytes that peers have sent, those of open sessions included.",
        of_sessions(lambda each: each.bytes_in),
    ),
    Spec(
        "tcpd_sent_bytes_total",
        "counter",
        _SESSIONS,
        "Bytes that were sent to peers, those of open sessions included.",
        of_sessions(lambda each: each.bytes_out),
    ),
    Spec(
        "tcpd_session_duration_seconds",
        "histogram",
        _SESSIONS,
        "How long sessions lasted that have ended.",
        of_sessions(lambda each: each.durations),
    ),
    Spec(
        "tcpd_session_received_bytes",
        "histogram",
        _SESSIONS,
        "What the peers of sessions that have ended had sent.",
        of_sessions(lambda each: each.received),
    ),
    Spec(
        "tcpd_session_sent_bytes",
        "histogram",
        _SESSIONS,
        "What was sent to the peers of sessions that have ended.",
        of_sessions(lambda each: each.sent),
    ),
    Spec(
        "tcpd_handler_failures_total",
        "counter",
        _SESSIONS,
        "Exceptions that the handler raised.",
        of_sessions(lambda each: each.failures),
    ),
    Spec(
        "tcpd_backpressure_pauses_total",
        "counter",
        _SESSIONS,
        "How often reading from a peer waited until it had read what was sent to it.",
        of_sessions(lambda each: each.pauses),
    ),
    # What isn't a session, or not yet.
    Spec(
        "tcpd_listener_up",
        "gauge",
        _LISTENER,
        "Whether it accepts connections at all its addresses; 0 also if it is suspended.",
        listeners_up,
    ),
    Spec(
        "tcpd_sessions_limit",
        "gauge",
        _LISTENER,
        "How many sessions the listener may have; missing if it has no limit.",
        limits,
    ),
    Spec(
        "tcpd_connections_arriving",
        "gauge",
        _LISTENER,
        "Connections amid a PROXY header or a TLS handshake.",
        arriving,
    ),
    Spec(
        "tcpd_sessions_refused_total",
        "counter",
        (*_LISTENER, "reason"),
        "Connections that didn't become sessions, by the reason.",
        refused,
    ),
    Spec(
        "tcpd_accept_failures_total",
        "counter",
        (*_LISTENER, "reason"),
        "Errors of accept(2): starved (of descriptors or memory) or failed (that connection).",
        accept_failures,
    ),
    Spec(
        "tcpd_tls_handshakes_total",
        "counter",
        _LISTENER,
        "TLS handshakes that were done.",
        of_arrivals(lambda each: each.handshakes),
    ),
    Spec(
        "tcpd_tls_handshake_failures_total",
        "counter",
        _LISTENER,
        "TLS handshakes that failed, took too long, or were given up by the peer.",
        of_arrivals(lambda each: each.handshake_failures),
    ),
    Spec(
        "tcpd_deadlines_fired_total",
        "counter",
        (*_LISTENER, "reason"),
        "Connections that were ended because they were past a deadline, by which.",
        deadlines,
    ),
    # Connectors.
    Spec(
        "tcpd_connector_up",
        "gauge",
        _LISTENER,
        "Whether the connector is connected.",
        connectors_up,
    ),
    Spec(
        "tcpd_connector_tries_total",
        "counter",
        _LISTENER,
        "How often the connector has tried to connect.",
        of_connectors(lambda each: each.tries),
    ),
    Spec(
        "tcpd_connector_failed_tries_total",
        "counter",
        _LISTENER,
        "How often it failed.",
        of_connectors(lambda each: each.failed_tries),
    ),
    # Sinks.
    Spec(
        "tcpd_sink_records_written_total",
        "counter",
        ("sink",),
        "Records that the sink has written.",
        of_sinks(lambda each: each.written),
    ),
    Spec(
        "tcpd_sink_records_lost_total",
        "counter",
        ("sink",),
        "Records that the sink has not written and never will.",
        of_sinks(lambda each: each.lost),
    ),
    Spec(
        "tcpd_sink_failures_total",
        "counter",
        ("sink",),
        "Calls of the sink that failed.",
        of_sinks(lambda each: each.failures),
    ),
    Spec(
        "tcpd_sink_records_queued",
        "gauge",
        ("sink",),
        "Records that wait for the sink.",
        queued,
    ),
    Spec(
        "tcpd_sink_failing",
        "gauge",
        ("sink",),
        "Whether the sink fails now, or is stuck.",
        failing,
    ),
    # Captures.
    Spec(
        "tcpd_capture_written_bytes_total",
        "counter",
        _LISTENER,
        "Bytes that captures have written to files.",
        of_captures(lambda each: each.written),
    ),
    Spec(
        "tcpd_capture_lost_bytes_total",
        "counter",
        _LISTENER,
        "Bytes of captured sessions that are in no file and never will be.",
        of_captures(lambda each: each.lost),
    ),
    Spec(
        "tcpd_capture_failing",
        "gauge",
        _LISTENER,
        "Whether a capture can't write now.",
        of_captures(lambda each: each.failing),
    ),
    # The whole.
    Spec(
        "tcpd_draining",
        "gauge",
        (),
        "Whether tcpd lets its sessions finish in order to stop.",
        one(lambda house: house.state == "draining"),
    ),
    Spec(
        "tcpd_loop_lag_seconds",
        "histogram",
        (),
        "How much later than due the loop ran a timer, looked at twice a second.",
        one(lambda house: Buckets.of(house.vitals.lags)),
    ),
    Spec(
        "tcpd_loop_lag_last_seconds",
        "gauge",
        (),
        "The last of these.",
        one(lambda house: house.vitals.lag),
    ),
    Spec(
        "tcpd_loop_lag_max_seconds",
        "gauge",
        (),
        "The worst of the last minute.",
        one(lambda house: house.vitals.lag_max),
    ),
    Spec(
        "tcpd_reloads_total",
        "counter",
        (),
        "Configurations that were read again and applied.",
        one(lambda house: house.vitals.reloads),
    ),
    Spec(
        "tcpd_reloads_refused_total",
        "counter",
        (),
        "Configurations that were read again and refused.",
        one(lambda house: house.vitals.refused_reloads),
    ),
    Spec(
        "tcpd_last_reload_ok",
        "gauge",
        (),
        "Whether the last reload was applied; 1 if there was none.",
        one(lambda house: (last := house.vitals.last_reload) is None or last.ok),
    ),
    Spec(
        "tcpd_admin_wrong_tokens_total",
        "counter",
        (),
        "Requests to the admin side with a token that isn't right.",
        one(lambda house: house.vitals.wrong_tokens),
    ),
    # The process, under the names that all of Prometheus's clients use.
    Spec(
        "process_cpu_seconds_total",
        "counter",
        (),
        "Processor time, in seconds, the kernel's on its behalf included.",
        of_process(lambda each: each.cpu),
    ),
    Spec(
        "process_open_fds",
        "gauge",
        (),
        "Open file descriptors.",
        of_process(lambda each: each.fds),
    ),
    Spec(
        "process_max_fds",
        "gauge",
        (),
        "How many file descriptors it may have.",
        of_process(lambda each: each.max_fds),
    ),
    Spec(
        "process_resident_memory_bytes",
        "gauge",
        (),
        "Memory that it has.",
        of_process(lambda each: each.rss),
    ),
    Spec(
        "process_virtual_memory_bytes",
        "gauge",
        (),
        "Its address space.",
        of_process(lambda each: each.virtual),
    ),
    Spec(
        "process_start_time_seconds",
        "gauge",
        (),
        "When it began, in seconds since the epoch.",
        of_process(lambda each: each.started),
    ),
)
"""All metrics, in the order in which they are given."""
