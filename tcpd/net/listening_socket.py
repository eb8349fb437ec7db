"""A listening socket that accepts without asking what it is."""

from __future__ import annotations

import socket
from typing import Any


class ListeningSocket(socket.socket):
    """A socket whose family and type are plain attributes.

    `socket.accept` asks for both, and Python looks their enumerations up anew each time, which
    takes it longer than the rest of accept.
    """

    family: Any = None
    type: Any = None

    def __init__(self, family: int, kind: int, proto: int, fileno: int) -> None:
        super().__init__(family, kind, proto, fileno)
        self.family = socket.AddressFamily(family)
        self.type = socket.SocketKind(kind)
        self._numbers = (int(family), int(kind), int(proto))

    @classmethod
    def over(cls, sock: socket.socket) -> ListeningSocket:
        """Take a socket over; the one given is used up."""
        return cls(sock.family, sock.type, sock.proto, sock.detach())

    def accept(self) -> tuple[socket.socket, Any]:
        """Take the next connection; gives its socket and the peer's address.

        Raises:
            OSError: accept(2) has failed, as with BlockingIOError where nobody waits.
        """
        descriptor, address = self._accept()  # type: ignore[attr-defined]
        return socket.socket(*self._numbers, descriptor), address
