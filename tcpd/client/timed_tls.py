"""TLS to a server as the command line asks for it, with the time at which the handshake began."""

from __future__ import annotations

import time
from typing import Any

from tcpd.client.options import TLSOptions
from tcpd.net.tls import ClientTLS
from tcpd.net.tls_socket import RecordSocket

NO_LIMIT = 86400
"""Seconds that each step is given: the limit that counts is one over all of them."""


class TimedTLS(ClientTLS):
    """`ClientTLS` from options.

    Attributes:
        began: when the latest handshake began, in seconds of `time.monotonic`.

    Raises:
        TcpdError: a file can't be used, and the message names it.
    """

    def __init__(self, options: TLSOptions) -> None:
        super().__init__(
            options.server_name,
            cafile=options.cafile,
            verify=options.verify,
            certificate=options.certificate,
            key=options.key,
            handshake_timeout=NO_LIMIT,
        )
        self.began = 0.0

    def wrap(self, sock: Any) -> RecordSocket:
        """Take a connected socket over, and note the time."""
        self.began = time.monotonic()
        return super().wrap(sock)
