"""A certificate and its key in one PEM file, which is its own authority too."""

from functools import cache
from pathlib import Path

import trustme


@cache
def both() -> bytes:
    """Return the certificate and the key."""
    issued = trustme.CA().issue_cert("localhost")
    return b"".join(each.bytes() for each in (issued.private_key_pem, *issued.cert_chain_pems))


def write(*paths: Path) -> None:
    """Write the same certificate and key to each path."""
    for path in paths:
        path.write_bytes(both())
