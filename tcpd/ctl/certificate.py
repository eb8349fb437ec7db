"""What a certificate says of itself, for people: a small reader of X.509 (RFC 5280) in DER (X.690).

It checks nothing: whoever takes a certificate has done so. What it can't read it doesn't tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

from tcpd.escape import escape_text

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}
# RFC 4514, section 3.
_ATTRIBUTES = {
    "550403": "CN", "550406": "C", "550407": "L", "550408": "ST", "550409": "STREET",
    "55040a": "O", "55040b": "OU", "0992268993f22c640119": "DC", "0992268993f22c640101": "UID",
    "2a864886f70d010901": "emailAddress", "550405": "serialNumber",
}  # fmt: skip
_NAME_LIMIT = 300


def certificate_facts(der: bytes) -> dict[str, str]:
    """Return what to tell of a certificate, by what it is called; texts are fit for a terminal."""
    digest = hashlib.sha256(der).hexdigest().upper()
    pairs = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    facts = {"size": f"{len(der)} bytes", "SHA-256": pairs}
    try:
        return {**_read(der), **facts}
    except ValueError:
        return facts


def _read(der: bytes) -> dict[str, str]:
    ((_, certificate),) = _items(der)
    tag, signed = next(_items(certificate), (0, b""))
    fields = [(tag, value) for tag, value in _items(signed) if tag != _VERSION]
    if tag != _SEQUENCE or [tag for tag, _ in fields[2:5]] != [_SEQUENCE] * 3:
        raise ValueError("no certificate")
    issuer, validity, subject = (value for _, value in fields[2:5])
    since, until = (_time(tag, value) for tag, value in _items(validity))
    return {"subject": _name(subject), "issuer": _name(issuer), "valid": f"{since} to {until}"}


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the tag and the value of each element.

    Raises:
        ValueError: that isn't what it is.
    """
    at = 0
    while at < len(data):
        head = data[at : at + 2]
        at += 2
        if len(head) < 2:
            raise ValueError("cut short")
        tag, size = head
        if size > 0x7F:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + size > len(data):
            raise ValueError("cut short")
        yield tag, data[at : at + size]
        at += size


def _name(value: bytes) -> str:
    """Return a distinguished name, its parts in the order in which they stand there."""
    sets = ["+".join(_attribute(each) for _, each in _items(some)) for _, some in _items(value)]
    return ", ".join(sets) or "-"


def _attribute(value: bytes) -> str:
    (_, kind), (tag, raw) = _items(value)
    text = raw.decode(_ENCODINGS.get(tag, "latin-1"), "backslashreplace")
    text = escape_text(text, _NAME_LIMIT)
    for each in ",+=":  # so that no value looks like two attributes
        text = text.replace(each, f"\\{each}")
    return f"{_ATTRIBUTES.get(kind.hex(), 'OID.' + kind.hex())}={text}"


def _time(tag: int, value: bytes) -> str:
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(tag, "")
    # RFC 5280, 4.1.2.5.1: years from 50 on are of the last century; strptime begins at 69.
    time = datetime.strptime(value.decode("ascii"), form).replace(tzinfo=UTC)
    if tag == _UTC_TIME and time.year >= 2050:
        time = time.replace(year=time.year - 100)
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
