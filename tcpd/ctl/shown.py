"""What the daemon answers, as lines for people.

Everything is looked up leniently: a daemon of another version may tell more, or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tcpd.ctl.text import NOTHING, Paint, clean, count, get, moment, rate, size, span, table

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
        yield from (f"          {clean(each, 1000)}" for each in words)


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
                " ".join(clean(address, 120) for address in shown) or NOTHING,
            ]
        )
    yield from table(heads, rows, "OPEN LIMIT TOTAL REFUSED FAILED IN OUT IN/S OUT/S", paint)


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
            clean(each.get("target"), 120),
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
            clean(each.get("last_error"), 120),
        ]
        for each in views
    ]
    heads = ["SINK", "KIND", "STATE", "QUEUED", "WRITTEN", "LOST", "FAILURES", "LAST ERROR"]
    yield from table(heads, rows, "QUEUED WRITTEN LOST FAILURES", paint)


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
    heads = ["ID", "LISTENER", "HANDLER", "CLIENT", "AGE", "IDLE", "IN", "OUT", "IN/S", "OUT/S"]
    heads += ["QUEUED", "NOTES"]
    rows = [
        [
            clean(each.get("id"), 40),
            clean(each.get("listener"), 64),
            clean(each.get("handler"), 40),
            client_of(each),
            span(each.get("age")),
            span(each.get("idle")),
            *_moved(each),
            size(each.get("queued")),
            notes_of(each),
        ]
        for each in sessions
    ]
    return table(heads, rows, "AGE IDLE IN OUT IN/S OUT/S QUEUED", paint)


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
    plain = {key: value for key, value in session.items() if not isinstance(value, Mapping)}
    for name in ("bytes", "rate"):
        for way in ("in", "out"):
            if name in session:
                show = rate if name == "rate" else size
                plain[f"{name} {way}"] = show(get(session, name, way))
    plain["client"] = client_of(session)
    if "opened" in plain:
        plain["opened"] = moment(plain["opened"])
    yield from _pairs(plain)
    for name, part in session.items():
        if isinstance(part, Mapping) and name not in ("client", "bytes", "rate"):
            yield paint("bold", clean(name, 60))
            yield from (f"  {line}" for line in _pairs(part))


def _pairs(values: View) -> Iterator[str]:
    width = max((len(clean(key, 60)) for key in values), default=0)
    for key, value in values.items():
        if key in _DURATIONS:
            shown = span(value)
        elif key in _SIZES:
            shown = size(value)
        elif key == "delivery_rate":
            shown = rate(value)
        else:
            shown = clean(value, 2000)
        yield f"{clean(key, 60):{width}}  {shown}"


_LEFT_OUT = frozenset(("time", "event.name", "event.sequence", "host.name", "service.instance.id"))


def event_line(record: View, paint: Paint) -> str:
    """Return an event as a line: when, what, and its fields, as `tcpd.sinks` writes them."""
    name = clean(record.get("event.name"))
    kind = {"handler.failed": "red", "session.refused": "yellow", "sink.lost": "yellow"}
    fields = [
        f"{clean(key, 100)}={_field(value)}"
        for key, value in record.items()
        if key not in _LEFT_OUT
    ]
    return " ".join([clean(record.get("time")), paint(kind.get(name, "bold"), name), *fields])


def _field(value: object) -> str:
    text = clean(value, 1000)
    if isinstance(value, str) and (not value or any(each in text for each in " \"'=")):
        inside = text.replace('"', '\\"') if value else ""
        return f'"{inside}"'
    return text
