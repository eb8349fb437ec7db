r"""What a peer sent, made fit to be shown: printable, on one line, bounded.

Bytes and texts come out as they would stand in a Python or C string: `\n`, `\x1b`, `\\`. Control
characters (C0, C1, DEL), line separators, bidirectional overrides and broken UTF-8 never come out
raw, so neither a terminal nor a log can be steered by a peer.

A text is escaped once: `escape_text` and `escape_bytes` are for what a peer sent, `one_line` and
`in_line` for what may have been escaped already.
"""

from __future__ import annotations

import json
import re

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\", "\0": r"\0"}


def escape_text(text: str, limit: int | None = None) -> str:
    r"""Return a text as one printable line.

    Args:
        text: any text; surrogates that stand for broken bytes (PEP 383) come out as `\xNN`.
        limit: how many characters of the text to show; what is left out is counted at the end.
    """
    more = 0
    if limit is not None and len(text) > limit:
        text, more = text[:limit], len(text) - limit
    # The common case costs one look: nothing to escape.
    if not text.isprintable() or "\\" in text:
        text = "".join(map(_escape_character, text))
    return f"{text}... ({more} more)" if more else text


def escape_bytes(data: bytes, limit: int | None = None) -> str:
    r"""Return bytes as one printable line: UTF-8 where they are, `\xNN` where they aren't.

    Args:
        data: any bytes.
        limit: how many bytes to show; what is left out is counted at the end.
    """
    more = 0
    if limit is not None and len(data) > limit:
        data, more = data[:limit], len(data) - limit
    text = escape_text(data.decode("utf-8", "surrogateescape"))
    return f"{text}... ({more} more)" if more else text


def one_line(text: str) -> str:
    r"""Return a text as one printable line, backslashes as they are.

    For texts in which what a peer sent has been escaped already: `\x1b` stays `\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(c if c == "\\" else _escape_character(c) for c in text)


def in_line(value: object) -> str:
    r"""Return a value of JSON as it stands in a line of such: `eve`, `"eve admin=yes"`, `1.5`.

    Texts are made fit by `one_line`. One that is empty, has a space, a quote or `=` in it, or ends
    with a backslash, is quoted: `\"` is then a quote. A backslash is doubled only before a quote
    and at the end of what is quoted; so nothing makes a text end sooner or later than it does,
    whether or not who reads it takes every backslash for an escape. Lists and dicts are quoted as
    a whole.
    """
    if isinstance(value, str):
        text = one_line(value)
        return text if _PLAIN.fullmatch(text) else _quoted(text)
    return _quoted(_inside(value)) if isinstance(value, dict | list) else json.dumps(value)


def _inside(value: object) -> str:
    """Return a value as it stands in a list: in JSON's form, its texts made fit by `one_line`."""
    if isinstance(value, str):
        return _quoted(one_line(value))
    if isinstance(value, list):
        return f"[{', '.join(map(_inside, value))}]"
    if isinstance(value, dict):
        entries = (f"{_inside(str(key))}: {_inside(each)}" for key, each in value.items())
        return f"{{{', '.join(entries)}}}"
    return json.dumps(value)


def _quoted(text: str) -> str:
    return f'"{_BACKSLASHES.sub(_doubled, text)}"'


def _doubled(found: re.Match[str]) -> str:
    run, quote = found.groups()
    if quote is None:  # something else comes after them
        return found[0]
    return f'{run}{run}\\"' if quote else f"{run}{run}"


_PLAIN = re.compile(r"[^ \"'=]*[^ \"'=\\]")
# Backslashes, if any, before a quote or the end; or others, a whole run of them, as looking anew
# from each would take quadratic time.
_BACKSLASHES = re.compile(r'(\\*)("|\Z)|\\+')


def _escape_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
