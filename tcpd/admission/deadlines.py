"""Limits in time: how long a connection may take for what."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from tcpd.errors import FieldError, raise_all
from tcpd.units import Seconds

Off = Literal["off"]

# The defaults are generous: they end what has died, not what is slow.
HANDSHAKE = Seconds(10.0)
HEADER = Seconds(5.0)
IDLE = Seconds(600.0)
WRITE_STALL = Seconds(30.0)
LIFETIME = Seconds(7 * 86400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a listener's connections may take for what; each may be `off`."""

    handshake: Seconds | Off = HANDSHAKE
    """From the first byte that TLS could send to the end of its handshake."""
    header: Seconds | Off = HEADER
    """For the PROXY header, where one is expected."""
    idle: Seconds | Off = IDLE
    """Without a byte in either direction."""
    write_stall: Seconds | Off = WRITE_STALL
    """With bytes for a peer that takes none of them."""
    lifetime: Seconds | Off = LIFETIME
    """For the whole session."""

    def __post_init__(self) -> None:
        raise_all(_not_positive(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorDeadlines:
    """How long a connector's connection may take for what; each may be `off`."""

    handshake: Seconds | Off = HANDSHAKE
    """For the TLS handshake."""
    idle: Seconds | Off = "off"
    """Without a byte in either direction."""
    write_stall: Seconds | Off = WRITE_STALL
    """With bytes for a peer that takes none of them."""
    lifetime: Seconds | Off = "off"
    """For the whole connection."""

    def __post_init__(self) -> None:
        raise_all(_not_positive(self))


AnyDeadlines = Deadlines | ConnectorDeadlines


def _not_positive(deadlines: Any) -> list[FieldError]:
    return [
        FieldError((each.name,), "a deadline has to be longer than 0", "'off' is none at all")
        for each in fields(deadlines)
        if getattr(deadlines, each.name) != "off" and getattr(deadlines, each.name) <= 0
    ]
