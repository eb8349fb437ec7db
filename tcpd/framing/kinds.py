"""The framings themselves: how a stream is cut into frames, and how a payload becomes one.

Each is a value: `decoder(max_size)` gives a new decoder, `encode(payload)` the bytes to send.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from tcpd.framing.decoders import (
    MAX_SIZE,
    Decoder,
    DelimitedDecoder,
    FixedDecoder,
    LengthDecoder,
    RawDecoder,
)
from tcpd.framing.errors import FrameTooLong, WrongSize


class Framing(Protocol):
    """How messages are told apart in a stream of bytes."""

    def decoder(self, max_size: int = MAX_SIZE) -> Decoder:
        """Return a new decoder that lets frames have `max_size` bytes."""

    def encode(self, payload: bytes) -> bytes:
        """Return a payload as a frame.

        Raises:
            FramingError: this framing can't express it.
        """


@dataclass(frozen=True, slots=True)
class Raw:
    """No framing: whatever one read brought."""

    def decoder(self, max_size: int = MAX_SIZE) -> Decoder:
        """Return a new decoder; a read longer than `max_size` comes in pieces."""
        return RawDecoder(max_size)

    def encode(self, payload: bytes) -> bytes:
        """Return the payload as it is."""
        return payload


@dataclass(frozen=True, slots=True)
class Line:
    """Lines of text: LF or CR LF ends one that comes in, `eol` one that goes out."""

    eol: bytes = b"\n"

    def decoder(self, max_size: int = MAX_SIZE) -> Decoder:
        """Return a new decoder."""
        return DelimitedDecoder(b"\n", strip_cr=True, max_size=max_size)

    def encode(self, payload: bytes) -> bytes:
        """Return the payload with its line end."""
        return payload + self.eol


@dataclass(frozen=True, slots=True)
class Delimited:
    """Any bytes end a frame; exactly these, and nothing else is stripped."""

    delimiter: bytes

    def __post_init__(self) -> None:
        if not self.delimiter:
            raise ValueError("a delimiter has one byte at least")

    def decoder(self, max_size: int = MAX_SIZE) -> Decoder:
        """Return a new decoder."""
        return DelimitedDecoder(self.delimiter, max_size=max_size)

    def encode(self, payload: bytes) -> bytes:
        """Return the payload with the delimiter behind it."""
        return payload + self.delimiter


@dataclass(frozen=True, slots=True)
class LengthPrefixed:
    """A number of `size` bytes ahead of each frame says how long it is.

    Attributes:
        size: 1, 2 or 4 bytes.
        order: which end of the number comes first.
        counts_itself: whether the number counts its own bytes too.
    """

    size: Literal[1, 2, 4]
    order: Literal["big", "little"] = "big"
    counts_itself: bool = False

    @property
    def greatest(self) -> int:
        """The most bytes that a payload can have."""
        return int(256**self.size) - 1 - (self.size if self.counts_itself else 0)

    def decoder(self, max_size: int = MAX_SIZE) -> Decoder:
        """Return a new decoder."""
        return LengthDecoder(
            self.size, self.order, counts_itself=self.counts_itself, max_size=max_size
        )

    def encode(self, payload: bytes) -> bytes:
        """Return the payload with its length ahead of it.

        Raises:
            FrameTooLong: the number has too few bytes for it.
        """
        if len(payload) > self.greatest:
            raise FrameTooLong(self.greatest, len(payload))
        length = len(payload) + (self.size if self.counts_itself else 0)
        return length.to_bytes(self.size, self.order) + payload


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every frame has `size` bytes.

    Attributes:
        size: bytes of a frame, whatever the maximum is elsewhere.
        pad: the byte that fills up a short payload and is stripped from the end of what comes in;
            without one, a payload has exactly `size` bytes.
    """

    size: int
    pad: bytes = b""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("a frame of fixed size has one byte at least")
        if len(self.pad) > 1:
            raise ValueError("frames are padded with one byte")

    def decoder(self, max_size: int = MAX_SIZE) -> Decoder:
        """Return a new decoder; frames have their fixed size, so `max_size` says nothing more."""
        return FixedDecoder(self.size, self.pad)

    def encode(self, payload: bytes) -> bytes:
        """Return the payload, padded where that was asked for.

        Raises:
            WrongSize: it is too long, or too short and there is nothing to pad it with.
        """
        if self.pad:
            payload = payload.ljust(self.size, self.pad)
        if len(payload) != self.size:
            raise WrongSize(len(payload), self.size)
        return payload
