"""What the daemon answers, as lines for people.

Everything is looked up leniently: a daemon of another version may tell more, or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tcpd.ctl.certificate import certificate_facts
from tcpd.ctl.text import (
    NOTHING,
    Paint,
    clean,
    clean_words,
    count,
    get,
    moment,
    number,
    pad,
    rate,
    size,
    span,
    table,
    width_of,
)
from tcpd.escape import in_line

View = Mapping[str, Any]

_DURATIONS = {"age", "idle", "rtt", "rttvar", "rto", "min_rtt"}
_SIZES = {"queued", "not_sent", "bytes_acked", "bytes_received"}


def views_of(answer: Any, *keys: str) -> list[View]:
    """Return the list of views that stands in an answer; without what is none."""
    found = get(answer, *keys) if keys else answer
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def client_of(session: View) -> str:
    """Return who is at the other end: `192.0.2.1:5000`, `[2001:db8::1]:5000`, `unix`."""
    address, port = get(session, "client", "address"), get(session, "client", "port")
    if not address or not port:
        return clean(address, 60)
    text = clean(address, 60)
    return f"[{text}]:{count(port)}" if ":" in text else f"{text}:{count(port)}"


def status_lines(status: View, paint: Paint) -> Iterator[str]:
    """Give the lines of `tcpdctl status`."""
    state = clean(status.get("state"))
    if state != "running":
        state = paint("yellow", state)
    yield (
        f"{paint('bold', 'tcpd ' + clean(status.get('version')))}, process "
        f"{count(status.get('pid'))}, {state} for {span(status.get('uptime'))}"
    )
    process, loop = status.get("process"), status.get("loop")
    yield (
        f"sessions  {count(get(status, 'sessions', 'open'))} open, "
        f"{count(get(status, 'sessions', 'total'))} since the start"
    )
    yield f"loop      {span(get(loop, 'lag'))} late, {span(get(loop, 'lag_max'))} at most lately"
    yield (
        f"process   {size(get(process, 'rss'))} of memory, {span(get(process, 'cpu'))} of CPU, "
        f"{count(get(process, 'fds'))} of {count(get(process, 'max_fds'))} descriptors"
    )
    yield from _last_reload(status.get("last_reload"), paint)
    yield from _listeners(views_of(status, "listeners"), paint)
    yield from _connectors(views_of(status, "connectors"), paint)
    yield from _sinks(views_of(status, "sinks"), paint)


def _last_reload(last: Any, paint: Paint) -> Iterator[str]:
    if not isinstance(last, Mapping):
        return
    word = "applied" if last.get("ok") else paint("red", "refused")
    yield f"reload    {moment(last.get('at'))}, {word}"
    words = last.get("changes" if last.get("ok") else "errors")
    if isinstance(words, list):
        yield from (f"          {clean_words(each, 1000)}" for each in words)


def _listeners(views: Sequence[View], paint: Paint) -> Iterator[str]:
    if not views:
        return
    yield ""
    heads = ["LISTENER", "HANDLER", "STATE", "OPEN", "LIMIT", "TOTAL", "REFUSED", "FAILED"]
    heads += ["IN", "OUT", "IN/S", "OUT/S", "ADDRESSES"]
    rows = []
    for each in views:
        addresses = each.get("addresses")
        shown = addresses if isinstance(addresses, list) else []
        rows.append(
            [
                clean(each.get("name"), 64),
                clean(each.get("handler"), 40),
                clean(each.get("state"), 20),
                count(get(each, "sessions", "open")),
                count(get(each, "sessions", "limit")),
                count(get(each, "sessions", "total")),
                count(_sum(each.get("refused"))),
                count(each.get("handler_failures")),
                *_moved(each),
                " ".join(clean_words(address, 120) for address in shown) or NOTHING,
            ]
        )
    yield from table(heads, rows, "OPEN LIMIT TOTAL REFUSED FAILED IN OUT IN/S OUT/S", paint)
    for each in views:
        name, refused = clean(each.get("name"), 64), each.get("refused")
        if isinstance(refused, Mapping) and _sum(refused):
            reasons = [f"{clean(why, 40)} {count(times)}" for why, times in refused.items()]
            yield f"{name} refused: {', '.join(reasons)}"
        if each.get("capture"):
            yield f"{name} captured: {_capture(each.get('capture'))}"


def _connectors(views: Sequence[View], paint: Paint) -> Iterator[str]:
    if not views:
        return
    yield ""
    heads = ["CONNECTOR", "HANDLER", "STATE", "FAILURES", "IN", "OUT", "IN/S", "OUT/S"]
    rows = [
        [
            clean(each.get("name"), 64),
            clean(each.get("handler"), 40),
            clean(each.get("state"), 20),
            count(each.get("failures")),
            *_moved(each),
            clean(each.get("session"), 40),
            clean_words(each.get("target"), 120),
        ]
        for each in views
    ]
    heads += ["SESSION", "TARGET"]
    yield from table(heads, rows, "FAILURES IN OUT IN/S OUT/S", paint)


def _sinks(views: Sequence[View], paint: Paint) -> Iterator[str]:
    if not views:
        return
    yield ""
    rows = [
        [
            clean(each.get("name"), 64),
            clean(each.get("kind"), 20),
            clean(each.get("state"), 20),
            count(each.get("queued")),
            count(each.get("written")),
            count(each.get("lost")),
            count(each.get("failures")),
            _error(each),
        ]
        for each in views
    ]
    heads = ["SINK", "KIND", "STATE", "QUEUED", "WRITTEN", "LOST", "FAILURES", "LAST ERROR"]
    yield from table(heads, rows, "QUEUED WRITTEN LOST FAILURES", paint)


def _error(sink: View) -> str:
    past = sink.get("past_error")
    if sink.get("last_error") or not past:
        return clean_words(sink.get("last_error"), 120)
    return f"past, {moment(sink.get('failed_at'))}: {clean_words(past, 120)}"


def _moved(view: View) -> list[str]:
    return [
        size(get(view, "bytes", "in")),
        size(get(view, "bytes", "out")),
        rate(get(view, "rate", "in")),
        rate(get(view, "rate", "out")),
    ]


def _sum(counts: Any) -> int:
    values = counts.values() if isinstance(counts, Mapping) else ()
    return sum(each for each in values if isinstance(each, int))


def session_lines(sessions: Sequence[View], paint: Paint) -> list[str]:
    """Return the lines of `tcpdctl sessions`."""
    heads = ["ID", "LISTENER", "HANDLER", "CLIENT", "AGE", "IDLE", "RTT"]
    heads += ["IN", "OUT", "IN/S", "OUT/S", "QUEUED", "NOTES"]
    rows = [
        [
            clean(each.get("id"), 40),
            clean(each.get("listener"), 64),
            clean(each.get("handler"), 40),
            client_of(each),
            span(each.get("age")),
            span(each.get("idle")),
            span(each.get("rtt")),
            *_moved(each),
            size(each.get("queued")),
            notes_of(each),
        ]
        for each in sessions
    ]
    return table(heads, rows, "AGE IDLE RTT IN OUT IN/S OUT/S QUEUED", paint)


def notes_of(session: View) -> str:
    """Return what is special about a session, in words."""
    notes = [
        "tls" if session.get("tls") else "",
        f"via {clean(session.get('hop'), 60)}" if session.get("hop") else "",
        "dialled" if session.get("role") == "connector" else "",
        "paused" if session.get("reading") is False else "",
        "captured" if session.get("capture") else "",
    ]
    return " ".join(filter(None, notes)) or NOTHING


def detail_lines(session: View, paint: Paint) -> Iterator[str]:
    """Give the lines of `tcpdctl show`: a name and a value each, one part after another."""
    shown = {
        "session": clean(session.get("id"), 80),
        "listener": clean(session.get("listener"), 64),
        "handler": clean(session.get("handler"), 80),
        "client": client_of(session),
        "via": clean(session.get("hop"), 80),
        "local": clean(session.get("local"), 80),
        "opened": f"{moment(session.get('opened'))}, {span(session.get('age'))} ago",
        "idle": span(session.get("idle")),
        **{way: _flow(session, way) for way in ("in", "out")},
        "queued": size(session.get("queued")),
        "notes": notes_of({**session, "hop": None, "capture": None}),
        "capture": _capture(session.get("capture")),
    }
    told = {"id", "role", "hop", "age", "bytes", "rate", "rtt", "tls", "reading", *shown}
    parts = {key: value for key, value in session.items() if isinstance(value, Mapping)}
    # What another version tells besides.
    more = {k: v for k, v in session.items() if k not in told and k not in parts}
    more = {key: value for key, value in more.items() if value is not None}
    yield from _pairs({**shown, **{key: _shown(key, value) for key, value in more.items()}})
    for name, part in parts.items():
        if name == "tls" or name not in told:
            yield paint("bold", clean(name, 60))
            yield from (f"  {line}" for line in _pairs(dict(_facts(part))))


def _facts(part: View) -> Iterator[tuple[str, str]]:
    """Give what to tell of a part: texts and numbers as they are, and what bytes amount to."""
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from ((f"{key} {each}", told) for each, told in _facts(value))
            continue
        raw = _bytes(value) if key in ("peer_certificate", "extensions") else None
        if raw is None:
            yield key, _shown(key, value)
        elif key == "peer_certificate":
            facts = certificate_facts(raw)
            yield from ((f"certificate {each}", told) for each, told in facts.items())
        else:
            yield key, f"{len(raw)} bytes"


def _bytes(value: object) -> bytes | None:
    """Return the bytes that stand in an answer in hexadecimal; None for anything else."""
    try:
        return bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _flow(session: View, way: str) -> str:
    moved, now = size(get(session, "bytes", way)), rate(get(session, "rate", way))
    return moved if now == NOTHING else f"{moved}, {now} now"


def capture_lines(captures: Sequence[View], paint: Paint) -> Iterator[str]:
    """Give the lines of `tcpdctl captures`; none if there are none."""
    if not captures:
        return
    heads = ["OF", "KIND", "STATE", "SINCE", "SESSIONS", "WRITTEN", "LOST", "FILE"]
    rows = [
        [
            clean(each.get("session") or each.get("listener"), 64),
            clean(each.get("kind"), 20),
            clean(each.get("state"), 20),
            moment(each.get("since")),
            count(each.get("sessions")),
            size(each.get("written")),
            size(each.get("lost_bytes")),
            clean(each.get("path"), 1000),
        ]
        for each in captures
    ]
    yield from table(heads, rows, "SESSIONS WRITTEN LOST", paint)
    for each in captures:
        if problem := each.get("problem"):
            yield f"{clean(each.get('path'), 1000)}: {paint('red', clean(problem, 500))}"


def _capture(capture: Any) -> str:
    if not isinstance(capture, Mapping):
        return NOTHING
    lost = number(capture.get("lost_bytes")) or 0
    parts = [
        f"{clean(capture.get('state'), 20)} since {moment(capture.get('since'))}",
        f"{size(capture.get('written'))} written",
        f"{size(lost)} lost" if lost else "",
        clean(problem, 500) if (problem := capture.get("problem")) else "",
        clean(capture.get("path"), 1000),
    ]
    return ", ".join(filter(None, parts))


def _shown(key: str, value: object) -> str:
    if key in _DURATIONS:
        return span(value)
    if key in _SIZES:
        return size(value)
    if key == "delivery_rate":
        return rate(value)
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        return " ".join(clean(each) for each in value) or NOTHING
    return clean(value, 2000)


def _pairs(values: Mapping[str, str]) -> Iterator[str]:
    names = {key: clean(key, 60) for key in values}
    width = max(map(width_of, names.values()), default=0)
    for key, value in values.items():
        yield f"{pad(names[key], width)}  {value}"


_LEFT_OUT = frozenset(("time", "event.name", "event.sequence", "host.name", "service.instance.id"))


def event_line(record: View, paint: Paint) -> str:
    """Return an event as a line: when, what, and its fields, as `tcpd.sinks` writes them."""
    name = in_line(record.get("event.name", NOTHING))
    kind = {"handler.failed": "red", "session.refused": "yellow", "sink.lost": "yellow"}
    fields = [
        f"{in_line(key)}={in_line(value)}" for key, value in record.items() if key not in _LEFT_OUT
    ]
    return " ".join([clean(record.get("time")), paint(kind.get(name, "bold"), name), *fields])
