"""CRC-32c (Castagnoli), the checksum of a PROXY header: RFC 3720, B.4, and RFC 4960, appendix B.

It is our own: what it is computed over is 4 KiB at most, once a connection, so a table and a loop
do, where the packages that have it bring compiled code along.
"""

from __future__ import annotations

# The polynomial 0x1EDC6F41, lowest bit first.
_POLYNOMIAL = 0x82F63B78


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_entry, range(256)))


def crc32c(data: bytes) -> int:
    """Return the checksum of the data, a number of 32 bits."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
