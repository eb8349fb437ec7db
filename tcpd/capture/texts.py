"""The formats `hexdump`, for people, and `jsonl`, for programs: a session as lines.

Both give the bytes back exactly, and neither holds a control character that a peer has sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime

from tcpd import __version__
from tcpd.capture.track import Lost, Side, Subject, Track
from tcpd.escape import escape_text

_PRINTABLE = bytes(code if 0x20 <= code < 0x7F else 0x2E for code in range(256))
_ROW = 16


class HexDump:
    """Writes text with a row for each 16 bytes."""

    def header(self, name: str) -> bytes:
        """Return a line that says what this is."""
        return f"# tcpd {__version__}: bytes of sessions of {escape_text(name)}\n".encode()

    def track(self, subject: Subject) -> Track:
        """Return what writes one session."""
        return HexTrack(subject)

    def trailer(self, at: int, lost: Lost) -> bytes:
        """Return a line about what is missing."""
        return f"{format_time(at)} - lost: {lost}\n".encode()


class JsonLines:
    """Writes a JSON object a line."""

    def header(self, name: str) -> bytes:
        """Return nothing: each line says all."""
        return b""

    def track(self, subject: Subject) -> Track:
        """Return what writes one session."""
        return JsonTrack(subject)

    def trailer(self, at: int, lost: Lost) -> bytes:
        """Return a line about what is missing."""
        return _json({"time": format_time(at), "capture": "lost", **_lost_fields(lost)})


class _LineTrack:
    """What lines about one session have in common: where in the stream each piece is.

    Args:
        subject: the session.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._offsets = {"in": 0, "out": 0}
        self._finished: set[str] = set()

    def begin(self, at: int, lost: Lost | None) -> bytes:
        return self._say(at, "opened", lost)

    def amid(self, at: int, received: int, sent: int, lost: Lost | None) -> bytes:
        self._offsets = {"in": received, "out": sent}
        return self._say(at, "joined", lost)

    def data(self, at: int, side: Side, data: bytes, lost: Lost | None) -> bytes:
        offset = self._offsets[side]
        self._offsets[side] += len(data)
        return self._piece(at, side, offset, data, lost)

    def skip(self, side: Side, size: int) -> None:
        self._offsets[side] += size

    def finish(self, at: int, side: Side, lost: Lost | None) -> bytes:
        if side in self._finished:
            return b""
        self._finished.add(side)
        return self._say(at, "finished", lost, direction=side)

    def close(self, at: int, first: Side, reason: str, lost: Lost | None) -> bytes:
        return self._say(at, "closed", lost, reason=reason)

    def reset(self, at: int, by: Side, reason: str, lost: Lost | None) -> bytes:
        return self._say(at, "reset", lost, direction=by, reason=reason)

    def stop(self, at: int, why: str, lost: Lost | None) -> bytes:
        return self._say(at, "stopped", lost, reason=why)

    def _piece(self, at: int, side: Side, offset: int, data: bytes, lost: Lost | None) -> bytes:
        raise TypeError(f"{type(self).__name__} has no form for bytes")

    def _say(self, at: int, what: str, lost: Lost | None, **more: str) -> bytes:
        raise TypeError(f"{type(self).__name__} has no form for what happens")


class HexTrack(_LineTrack):
    """Writes one session as a hex dump."""

    def _piece(self, at: int, side: Side, offset: int, data: bytes, lost: Lost | None) -> bytes:
        lines = [f"{self._head(at)} {side} {offset}+{len(data)}", *hex_rows(data, offset)]
        return (self._lost(at, lost) + "\n".join(lines) + "\n").encode("ascii")

    def _say(self, at: int, what: str, lost: Lost | None, **more: str) -> bytes:
        words = [what, *more.values()]
        if what in ("opened", "joined"):
            who = self._subject.who
            words += [
                f"{escape_text(who.peer)} -> {who.local_address}",
                f"{who.role} {who.listener}",
            ]
            if what == "joined":
                words += [f"after {n} bytes {side}" for side, n in self._offsets.items()]
            if self._subject.encrypted:
                words.append("TLS, shown in the clear")
        line = f"{self._head(at)} {', '.join(words)}\n"
        return (self._lost(at, lost) + line).encode("utf-8", "backslashreplace")

    def _head(self, at: int) -> str:
        return f"{format_time(at)} {self._subject.who.session_id}"

    def _lost(self, at: int, lost: Lost | None) -> str:
        return "" if lost is None else f"{format_time(at)} - lost: {lost}\n"


class JsonTrack(_LineTrack):
    """Writes one session as JSON objects."""

    def _piece(self, at: int, side: Side, offset: int, data: bytes, lost: Lost | None) -> bytes:
        text = base64.b64encode(data).decode("ascii")
        return self._say(at, "data", lost, direction=side, offset=offset, data=text)

    def _say(self, at: int, what: str, lost: Lost | None, **more: str | int) -> bytes:
        who = self._subject.who
        fields: dict[str, object] = {"time": format_time(at), "capture": what}
        if what in ("opened", "joined"):
            fields |= who.fields()
            fields["tls"] = self._subject.encrypted
            if what == "joined":
                fields |= {f"bytes.{side}": n for side, n in self._offsets.items()}
        else:
            fields["session.id"] = who.session_id
        fields |= more
        if lost is not None:
            fields |= _lost_fields(lost)
        return _json(fields)


def format_time(at: int) -> str:
    """Return a time as RFC 3339 writes it, in UTC: `2026-01-31T12:00:00.000000000Z`."""
    seconds, nanoseconds = divmod(at, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"


def hex_rows(data: bytes, offset: int = 0) -> Iterator[str]:
    """Give rows of 16 bytes: the offset, the bytes, and those that are printable ASCII."""
    for start in range(0, len(data), _ROW):
        row = data[start : start + _ROW]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        shown = row.translate(_PRINTABLE).decode("ascii")
        yield f"  {offset + start:08x}  {left:<23}  {right:<23}  |{shown}|"


def _lost_fields(lost: Lost) -> dict[str, object]:
    return {"lost.pieces": lost.pieces, "lost.bytes": lost.size}


def _json(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
