"""Durations, sizes and rates as people write them: "1h30m", "10MiB", "50/s".

Each unit has a type of its own, which a dataclass field names (`idle: Seconds`); `tcpd.fields` then
accepts both the text and a plain number.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NewType

from tcpd.escape import escape_text

Seconds = NewType("Seconds", float)
"""A duration in seconds."""
ByteSize = NewType("ByteSize", int)
"""A number of bytes."""
PerSecond = NewType("PerSecond", float)
"""A rate: how many a second."""

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {
    "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "K": 2**10, "M": 2**20, "G": 2**30,
}  # fmt: skip
_PER = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
# The largest unit first, each once at most: "30m1h" and "1s1s" are slips of the pen.
_DURATION = re.compile("".join(f"(?:({_NUMBER}){unit})?" for unit in reversed(_SECONDS)))
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]+)?")
_RATE = re.compile(rf"({_NUMBER}) ?/ ?([a-z]+)")


def parse_duration(text: str) -> Seconds:
    """Return the seconds of a duration: "90s", "5m", "1h30m", "250ms", "1d".

    Raises:
        ValueError: it is none; the text says what one looks like.
    """
    wrong = ValueError(
        f"{_shown(text)} isn't a duration; write one as '30s', '5m', '1h30m' or '250ms'"
    )
    if text == "0":
        return Seconds(0.0)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise wrong
    parts = zip(match.groups(default="0"), reversed(_SECONDS.values()), strict=True)
    return Seconds(float(sum(Decimal(number) * Decimal(str(size)) for number, size in parts)))


def parse_size(text: str) -> ByteSize:
    """Return the bytes of a size: "512", "64KiB", "10MB"; a bare K, M or G counts in 1024s.

    Raises:
        ValueError: it is none; the text says what one looks like.
    """
    match = _SIZE.fullmatch(text)
    factor = _SIZES.get(match[2] or "B") if match else None
    if match is None or factor is None:
        raise ValueError(f"{_shown(text)} isn't a size; write one as '512', '64KiB' or '10MB'")
    size = Decimal(match[1]) * factor
    if size != int(size):
        raise ValueError(f"{_shown(text)} is not a whole number of bytes")
    return ByteSize(int(size))


def parse_rate(text: str) -> PerSecond:
    """Return the events a second of a rate: "50/s", "10/m", "1000/h".

    Raises:
        ValueError: it is none; the text says what one looks like.
    """
    match = _RATE.fullmatch(text)
    per = _PER.get(match[2]) if match else None
    if match is None or per is None:
        raise ValueError(f"{_shown(text)} isn't a rate; write one as '50/s', '10/m' or '1000/h'")
    return PerSecond(float(match[1]) / per)


def format_duration(seconds: float) -> str:
    """Return a duration for people, three figures at most: "1d2h", "5m3s", "1.25s", "0.4ms"."""
    if seconds < 1e-6:
        return f"{seconds * 1e6:.3f}us" if seconds >= 1e-9 else "0s"
    if seconds < 0.1:
        return f"{seconds * 1000:.3g}ms"
    if seconds < 59.95:  # from there on three figures show 60
        return f"{seconds:.3g}s"
    whole = round(seconds)
    units = [("d", "h"), ("h", "m"), ("m", "s")]
    unit, smaller = next(pair for pair in units if whole >= _SECONDS[pair[0]])
    count, rest = divmod(whole, int(_SECONDS[unit]))
    parts = rest // int(_SECONDS[smaller])
    return f"{count}{unit}{parts}{smaller}" if parts else f"{count}{unit}"


def write_duration(seconds: float) -> str:
    """Return a duration exactly, as `parse_duration` reads it: "2d", "1d1s", "500ms", "0s"."""
    rest = round(seconds * 1e6)
    text = ""
    for unit, size in reversed([*_SECONDS.items()][:-1]):
        count, rest = divmod(rest, round(size * 1e6))
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def write_size(size: int) -> str:
    """Return a size exactly, as `parse_size` reads it: "1GiB", "1KiB", "1000B"."""
    units = [unit for unit in ("TiB", "GiB", "MiB", "KiB") if size and size % _SIZES[unit] == 0]
    return f"{size // _SIZES[units[0]]}{units[0]}" if units else f"{size}B"


def format_size(size: int) -> str:
    """Return a size for people: "512 B", "1.5 MiB"."""
    if size < 1024:
        return f"{size} B"
    for unit in ("KiB", "MiB", "GiB"):
        shown = f"{size / _SIZES[unit]:.1f}"
        if float(shown) < 1024:
            return f"{shown} {unit}"
    return f"{size / _SIZES['TiB']:.1f} TiB"


def _shown(text: str) -> str:
    return f"'{escape_text(text, limit=40)}'"
