"""One session in a capture, whatever the format: what there is to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from tcpd.capture.frames import Address
from tcpd.events import Identity

Side = Literal["in", "out"]
"""`in` from the peer, `out` to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The session that is captured."""

    who: Identity
    peer: Address
    local: Address
    number: int
    """The session's number in its process."""
    encrypted: bool
    """Whether its bytes were encrypted on their way."""
    placeholders: bool = False
    """Whether the addresses are made up, since it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What is missing in a file."""

    pieces: int = 0
    size: int = 0
    """How many bytes of sessions were in them."""

    def __str__(self) -> str:
        pieces = "1 piece" if self.pieces == 1 else f"{self.pieces} pieces"
        return f"{pieces} with {self.size} bytes"


class Track(Protocol):
    """Writes one session; each method returns what goes into the file.

    Times are in nanoseconds since 1970. `lost` is what was lost before this, if anything.
    """

    def begin(self, at: int, lost: Lost | None) -> bytes:
        """Say that the session has begun."""

    def amid(self, at: int, received: int, sent: int, lost: Lost | None) -> bytes:
        """Say that the capture begins after so many bytes from the peer and to it."""

    def data(self, at: int, side: Side, data: bytes, lost: Lost | None) -> bytes:
        """Write bytes, of which there is at least one."""

    def skip(self, side: Side, size: int) -> None:
        """Note bytes that aren't written: they were lost."""

    def finish(self, at: int, side: Side, lost: Lost | None) -> bytes:
        """Say that a side sends no more; may be called again."""

    def close(self, at: int, first: Side, reason: str, lost: Lost | None) -> bytes:
        """Say that the session is over, and who has closed it."""

    def reset(self, at: int, by: Side, reason: str, lost: Lost | None) -> bytes:
        """Say that the session was broken off, and by whom."""

    def stop(self, at: int, why: str, lost: Lost | None) -> bytes:
        """Say that the capture ends here, while the session goes on."""


class Format(Protocol):
    """Writes files."""

    def header(self, name: str) -> bytes:
        """Return what a file begins with; `name` is the listener's or session's."""

    def track(self, subject: Subject) -> Track:
        """Return what writes one session."""

    def trailer(self, at: int, lost: Lost) -> bytes:
        """Return what ends a file in which something is missing at the end."""
