"""A TLS client whose side can be shut down alone, and whose bytes can be sent as one pleases.

`ssl.SSLSocket` does neither: its `unwrap` waits for the other side.
"""

from __future__ import annotations

import contextlib
import socket
import ssl


class TLSPeer:
    """TLS over a connected socket, by memory BIOs.

    Args:
        context: the client's.
        sock: the connection, which blocks.
        name: the server's.
    """

    def __init__(
        self, context: ssl.SSLContext, sock: socket.socket, name: str = "127.0.0.1"
    ) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def handshake(self) -> None:
        """Finish the handshake; its last flight is kept back, to leave with the data."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._read()
            else:
                return

    def hello(self) -> bytes:
        """Return the bytes of a ClientHello, and send nothing."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        """Encrypt, and send."""
        self.sock.sendall(self.encrypt(data))

    def encrypt(self, data: bytes) -> bytes:
        """Return data as it is to be sent; nothing is sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def last_words(self, data: bytes) -> bytes:
        """Return data and a close_notify, encrypted; nothing is sent."""
        for at in range(0, len(data), 1 << 20):
            self.tls.write(data[at : at + (1 << 20)])
        with contextlib.suppress(ssl.SSLError):  # the other side's hasn't come yet
            self.tls.unwrap()
        return self.outgoing.read()

    def flush(self) -> None:
        """Send what is encrypted."""
        self.sock.sendall(self.outgoing.read())

    def receive_all(self, at_most: int = 1 << 18) -> bytes:
        """Read until the peer's close_notify; raise ssl.SSLEOFError if the stream is cut."""
        pieces = []
        while True:
            try:
                data = self.tls.read(at_most)
            except ssl.SSLWantReadError:
                self._read()
                continue
            except ssl.SSLZeroReturnError:
                return b"".join(pieces)
            if not data:
                return b"".join(pieces)
            pieces.append(data)

    def _read(self) -> None:
        data = self.sock.recv(1 << 16)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
