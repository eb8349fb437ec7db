"""How a framing stands in a configuration, for any handler that offers a choice of it.

    framing: FramingOption = "line"

in a handler's options accepts `"raw"`, `"line"`, `"crlf"`, and tables: `{ delimiter = ";" }`,
`{ length_prefix = 2, byte_order = "little" }`, `{ fixed_size = 16 }`; `framing_of` makes it one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal, Self

from tcpd.errors import FieldError, raise_all
from tcpd.fields import Range
from tcpd.framing.kinds import Delimited, Fixed, Framing, LengthPrefixed, Line, Raw
from tcpd.units import ByteSize

GREATEST = 2**30
"""The most bytes that a frame may be allowed to have; it is kept in memory until it is complete."""

MaxSize = Annotated[ByteSize, Range(1, GREATEST)]
"""The type of an option that bounds a frame."""


class HexBytes(bytes):
    """Bytes that stand as pairs of hex digits in a configuration, with blanks where one likes."""

    described: ClassVar[str] = "hex digits"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the bytes of a text such as "02 FF 0a" or "02ff0a".

        Raises:
            ValueError: it is something else; the text says what.
        """
        if not isinstance(value, str):
            raise ValueError("expected hex digits in quotes, such as '02 ff 0a'")
        return cls(parse_hex(value))


def parse_hex(text: str) -> bytes:
    """Return the bytes that pairs of hex digits name; blanks between them don't count.

    Raises:
        ValueError: something else stands there, or a digit alone.
    """
    digits = "".join(text.split())
    for digit in digits:
        if digit not in "0123456789abcdefABCDEF":
            raise ValueError(f"{digit!r} isn't a hex digit; write bytes as '02 ff 0a'")
    if len(digits) % 2:
        raise ValueError(f"{len(digits)} hex digits, where two make a byte")
    return bytes.fromhex(digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramingTable:
    """A framing that takes more than a word to say.

    Attributes:
        delimiter: the text that ends a frame.
        delimiter_hex: the same as hex digits.
        length_prefix: how many bytes of a length stand ahead of a frame.
        byte_order: of the length; big unless said otherwise.
        counts_itself: whether the length counts its own bytes too.
        fixed_size: how many bytes every frame has.
        pad: the character that fills up short frames of fixed size.
    """

    delimiter: str | None = None
    delimiter_hex: HexBytes | None = None
    length_prefix: Literal[1, 2, 4] | None = None
    byte_order: Literal["big", "little"] | None = None
    counts_itself: bool | None = None
    fixed_size: Annotated[ByteSize, Range(1, GREATEST)] | None = None
    pad: str | None = None

    _kinds: ClassVar[tuple[str, ...]] = (
        "delimiter",
        "delimiter_hex",
        "length_prefix",
        "fixed_size",
    )
    _belongs: ClassVar[dict[str, str]] = {
        "byte_order": "length_prefix",
        "counts_itself": "length_prefix",
        "pad": "fixed_size",
    }

    def __post_init__(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        kinds = [name for name in given if name in self._kinds]
        every = "'delimiter', 'delimiter_hex', 'length_prefix' or 'fixed_size'"
        if not kinds:
            raise ValueError(f"expected one of {every}")
        errors = [
            FieldError((name,), f"{kinds[0]!r} stands here already", f"one of {every}")
            for name in kinds[1:]
        ]
        for name in given:
            if name not in kinds and self._belongs[name] not in kinds:
                problem = f"only goes with {self._belongs[name]!r}"
                errors.append(FieldError((name,), problem, rests_on=[(self._belongs[name],)]))
        for name in ("delimiter", "delimiter_hex"):
            if getattr(self, name) is not None and not getattr(self, name):
                errors.append(FieldError((name,), "is empty", "one byte at least ends a frame"))
        if self.pad is not None and len(self.pad.encode()) != 1:
            errors.append(FieldError(("pad",), "expected one ASCII character"))
        raise_all(errors)

    def framing(self) -> Framing:
        """Return the framing that the table describes."""
        if self.length_prefix is not None:
            order = self.byte_order or "big"
            return LengthPrefixed(self.length_prefix, order, bool(self.counts_itself))
        if self.fixed_size is not None:
            return Fixed(self.fixed_size, (self.pad or "").encode())
        return Delimited((self.delimiter or "").encode() or self.delimiter_hex or b"")


FramingOption = Literal["line", "crlf", "raw"] | FramingTable
"""The type of an option that chooses a framing."""

_WORDS: dict[str, Framing] = {"line": Line(), "crlf": Line(b"\r\n"), "raw": Raw()}


def framing_of(option: FramingOption) -> Framing:
    """Return the framing that an option asks for."""
    return _WORDS[option] if isinstance(option, str) else option.framing()
