r"""What the user types, as bytes; what the peer says, as something a terminal can be shown.

Sans-I/O: every class here takes pieces of any size and gives the same result however they were cut.
Two rules hold for what is shown: nothing of the peer's reaches the terminal but printable
characters and line ends, and what was made visible (`\x1b`) is marked as such, so that it can be
told from a backslash that the peer really sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tcpd.errors import TcpdError
from tcpd.escape import escape_text

EOLS = {"lf": b"\n", "crlf": b"\r\n", "none": b""}
MAX_PARTIAL = 4096
"""Bytes of a line without an end that are held back before it is shown in pieces."""
MAX_LINE = 1 << 20
"""Bytes of a line that `--hex` or `--escape` reads from a pipe."""

_SIMPLE = {
    "n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "a": b"\a", "b": b"\b", "e": b"\x1b",
    "f": b"\f", "v": b"\v", "\\": b"\\", '"': b'"', "'": b"'",
}  # fmt: skip
_NUMERIC = {"x": 2, "u": 4, "U": 8}
_HEX_GAP = re.compile(r"[\s,:]+|0[xX](?=[0-9A-Fa-f])|\\x(?=[0-9A-Fa-f])")
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)


class InputError(TcpdError):
    """What was typed can't be sent.

    Attributes:
        position: the index of the character in the line that is wrong.
    """

    def __init__(self, problem: str, position: int = 0) -> None:
        super().__init__(problem)
        self.position = position


def parse_hex(text: str) -> bytes:
    """Return the bytes that pairs of hex digits name: `48 65`, `4865`, `0x48,0x65`, `48:65`.

    Raises:
        InputError: something else is in it, or half a pair.
    """
    data = bytearray()
    at = 0
    while at < len(text):
        if gap := _HEX_GAP.match(text, at):
            at = gap.end()
            continue
        pair = text[at : at + 2]
        wrong = next((i for i, c in enumerate(pair) if c not in "0123456789abcdefABCDEF"), None)
        if wrong == 0:
            raise InputError(f"{escape_text(pair[0])!r} isn't a hex digit; write '48 65 0a'", at)
        if wrong is not None or len(pair) == 1:
            raise InputError(f"half a byte: {pair[0]!r}; hex digits come in pairs, '48 65 0a'", at)
        data.append(int(pair, 16))
        at += 2
    return bytes(data)


def parse_escapes(text: str) -> bytes:
    r"""Return the bytes of a text in which `\n`, `\xNN`, `\uNNNN` and the like stand for others.

    Raises:
        InputError: an escape that is none, with its place.
    """
    data = bytearray()
    at = 0
    while match := _ESCAPED.search(text, at):
        start = match.start()
        data += _utf8(text[at:start])
        name = match[1]
        if name in _SIMPLE and name:
            data += _SIMPLE[name]
            at = match.end()
        elif digits := _NUMERIC.get(name):
            at = match.end() + digits
            data += _numeric(name, text[match.end() : at], digits, start)
        elif not name:
            raise InputError("a backslash stands alone at the end; write \\\\ for one", start)
        else:
            raise InputError(
                f"'\\{escape_text(name)}' isn't an escape; known are \\n \\r \\t \\0 \\e \\xNN "
                "\\uNNNN, and \\\\ for a backslash",
                start,
            )
    data += _utf8(text[at:])
    return bytes(data)


def _numeric(name: str, digits: str, count: int, at: int) -> bytes:
    try:
        if len(digits) != count or not digits.isalnum():
            raise ValueError
        code = int(digits, 16)
        return bytes([code]) if name == "x" else chr(code).encode("utf-8")
    except (ValueError, OverflowError):  # UnicodeEncodeError, for half a surrogate, is a ValueError
        wanted = "N" * count
        raise InputError(
            f"'\\{name}{escape_text(digits)}' names nothing; write \\{name}{wanted}", at
        ) from None


def _utf8(text: str) -> bytes:
    # A terminal that sends no UTF-8 gives surrogates (PEP 383), which stand for their bytes.
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """How a typed line becomes bytes.

    Attributes:
        hex: the line is hex digits.
        escape: backslash escapes in the line stand for other bytes.
        eol: what is put behind each line.
    """

    hex: bool = False
    escape: bool = False
    eol: bytes = b"\n"

    def encode(self, line: str) -> bytes:
        """Return the bytes to send for a line that was typed.

        Raises:
            InputError: it can't be meant.
        """
        if self.hex:
            data = parse_hex(line)
        elif self.escape:
            data = parse_escapes(line)
        else:
            data = _utf8(line)
        return data + self.eol


class LineEncoder:
    """`Typed` for a stream: lines in, each with or without a CR before its LF, bytes out."""

    def __init__(self, typed: Typed) -> None:
        self._typed = typed
        self._rest = b""
        self._line = 0

    def feed(self, data: bytes) -> bytes:
        """Return what the lines that `data` completes are to be sent as.

        Raises:
            InputError: a line can't be meant; the text names it by its number.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        encoded = b"".join(self._encode(line) for line in lines)
        if len(self._rest) > MAX_LINE:
            if not (self._typed.hex or self._typed.escape):  # only its end would be encoded
                data, self._rest = self._rest[:-1], self._rest[-1:]
                return encoded + data
            raise InputError(f"line {self._line + 1} has more than {MAX_LINE} bytes")
        return encoded

    def finish(self) -> bytes:
        """Return what a last line without an end is to be sent as, itself without one.

        Raises:
            InputError: it can't be meant.
        """
        if not self._rest:
            return b""
        encoded = self._encode(self._rest)
        self._rest = b""
        return encoded.removesuffix(self._typed.eol)

    def _encode(self, line: bytes) -> bytes:
        self._line += 1
        try:
            return self._typed.encode(line.removesuffix(b"\r").decode("utf-8", "surrogateescape"))
        except InputError as error:
            raise InputError(f"line {self._line}: {error}", error.position) from None


class HexDump:
    """A hex dump in the manner of `hexdump -C`: offset, sixteen bytes, the same as ASCII."""

    def __init__(self) -> None:
        self._offset = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the rows that `data` fills."""
        data = self._rest + data
        whole = len(data) - len(data) % 16
        self._rest = data[whole:]
        return [self._row(data[at : at + 16]) for at in range(0, whole, 16)]

    def flush(self) -> list[str]:
        """Return the bytes that fill no row yet as a short one; the next starts behind it."""
        rest, self._rest = self._rest, b""
        return [self._row(rest)] if rest else []

    def _row(self, data: bytes) -> str:
        left, right = data[:8].hex(" "), data[8:].hex(" ")
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
        row = f"{self._offset:08x}  {left:<23}  {right:<23}  |{text}|"
        self._offset += len(data)
        return row


class Fragment(NamedTuple):
    """A piece of a shown line: printable text, and whether it stands for something that isn't."""

    escaped: bool
    text: str


class Line(NamedTuple):
    """A line to be shown.

    Attributes:
        fragments: its text, none of which holds a control character.
        ended: whether the peer ended it, or it only grew too long to wait for that.
    """

    fragments: tuple[Fragment, ...]
    ended: bool


@dataclass(slots=True)
class LineView:
    """What a peer says, cut into lines fit for a terminal.

    Attributes:
        crlf: whether CR LF is the expected line end and a lone LF is what is shown; else LF ends a
            line in silence and a CR before it is shown.
    """

    crlf: bool = False
    _partial: bytes = field(default=b"", init=False)

    def feed(self, data: bytes) -> list[Line]:
        """Return the lines that `data` completes, and pieces of one that grew too long."""
        *ended, rest = (self._partial + data).split(b"\n")
        lines = [piece for line in ended for piece in self._cut(line)]
        while len(rest) > MAX_PARTIAL:
            piece, rest = _split_utf8(rest, MAX_PARTIAL)
            lines.append(Line(visible(piece), ended=False))
        self._partial = rest
        return lines

    @property
    def partial(self) -> tuple[Fragment, ...]:
        """The line that has begun and not ended, without half a character at its end."""
        whole, _ = _split_utf8(self._partial, len(self._partial))
        return visible(whole)

    def flush(self) -> list[Line]:
        """Return the line that has begun as it is, and forget it."""
        rest, self._partial = self._partial, b""
        return [Line(visible(rest), ended=False)] if rest else []

    def _cut(self, line: bytes) -> Iterator[Line]:
        while len(line) > MAX_PARTIAL + 1:  # one more for its CR
            piece, line = _split_utf8(line, MAX_PARTIAL)
            yield Line(visible(piece), ended=False)
        if not self.crlf:
            yield Line(visible(line), ended=True)
        elif line.endswith(b"\r"):
            yield Line(visible(line[:-1]), ended=True)
        else:
            yield Line((*visible(line), Fragment(True, "\\n")), ended=True)


def visible(data: bytes) -> tuple[Fragment, ...]:
    """Return bytes as printable text, with what was made visible apart."""
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return (Fragment(False, text),) if text else ()
    fragments: list[Fragment] = []
    start = 0
    for at, character in enumerate(text):
        if not character.isprintable():
            if start < at:
                fragments.append(Fragment(False, text[start:at]))
            fragments.append(Fragment(True, escape_text(character)))
            start = at + 1
    if start < len(text):
        fragments.append(Fragment(False, text[start:]))
    return tuple(fragments)


class TerminalFilter:
    """Bytes on their way to a terminal that shows no lines of ours: controls made visible.

    Line ends (LF, CR LF) and tabs pass as they are; everything else as in `visible`.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may be shown now; half a character or a CR waits for what follows it."""
        data, self._rest = _split_utf8(self._rest + data, len(self._rest) + len(data))
        if data.endswith(b"\r") and not self._rest:
            data, self._rest = data[:-1], b"\r"
        return self._show(data)

    def finish(self) -> bytes:
        """Return what waited for more."""
        rest, self._rest = self._rest, b""
        return self._show(rest)

    def _show(self, data: bytes) -> bytes:
        text = data.replace(b"\r\n", b"\n").decode("utf-8", "surrogateescape")
        if not text.isprintable():
            text = "".join(c if c in "\n\t" or c.isprintable() else escape_text(c) for c in text)
        return text.encode("utf-8")


def _split_utf8(data: bytes, at: int) -> tuple[bytes, bytes]:
    """Split at `at`, or up to three bytes before it where it would cut a character in two."""
    for back in range(1, min(4, at + 1)):
        byte = data[at - back]
        if byte >= 0xC0:  # a character begins here
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            if byte < 0xF8 and length > back:
                at -= back
            break
        if byte < 0x80:
            break
    return data[:at], data[at:]
