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

    @classmethod
    def over(cls, sock: socket.socket) -> ListeningSocket:
        """Take a socket over; the one given is used up."""
        return cls(sock.family, sock.type, sock.proto, sock.detach())
