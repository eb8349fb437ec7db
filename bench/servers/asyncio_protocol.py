"""asyncio from the standard library, with a Protocol."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

BACKLOG = 4096


class Echo(asyncio.Protocol):
    """Writes what it receives."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send the bytes back."""
        self.transport.write(data)


class Lines(asyncio.Protocol):
    """Writes every line that it receives, one at a time."""

    transport: asyncio.Transport
    _rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut off the lines that are complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.line_received(line)

    def line_received(self, line: bytes) -> None:
        """Send a line back."""
        self.transport.write(line + b"\n")


async def serve(kind: str, certificate: str | None) -> None:
    """Serve for ever."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(
        Lines if kind == "lines" else Echo, "127.0.0.1", 0, backlog=BACKLOG, ssl=context
    )
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
