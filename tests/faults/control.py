"""Bytes that steer a terminal or forge a line, and whether a log is free of them."""

HOSTILE = [
    b"\x1b[2J\x1b]0;title\x07",
    b"a\r\n2001-01-01T00:00:00.000Z info: forged",
    b"\x9b31m \xc2\x9b31m",
    b"\0\0\0",
    b"\xff\xfe\xc3( \xed\xa0\x80",
    b"\xe2\x80\xa8 \xe2\x80\xa9 \xc2\x85 \x0b\x0c\x1c",
    b"%s {0} {session} {log_format!r} \x7f",
]


def clear(data: bytes) -> bool:
    """Return whether bytes are UTF-8 that steers no terminal and ends no line but by LF."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        return False
    return all(line.isprintable() or not line for line in lines)
