"""A listening socket that accepts without asking what it is."""

from __future__ import annotations

import socket
from typing import Any

_ANYWHERE = ("0.0.0.0", "::")
_IPV6_TRANSPARENT = 75  # from <linux/in6.h>
_TRANSPARENT = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TRANSPARENT),
    socket.AF_INET6: (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT),
}


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

    def has_one_name(self) -> bool:
        """Whether all it accepts has one and the same address at our end, the one it is bound to.

        So it is unless it is bound to all addresses, or is a transparent proxy's (IP_TRANSPARENT in
        ip(7)). A program in the kernel that hands it the connections of other addresses (BPF
        sk_lookup) can't be seen from here, and its connections would bear the bound address.
        """
        level, option = _TRANSPARENT.get(self.family, (0, 0))
        if not option or self.getsockname()[0] in _ANYWHERE:
            return False
        return not self.getsockopt(level, option)

    def accept(self) -> tuple[socket.socket, Any]:
        """Take the next connection; gives its socket and the peer's address.

        Raises:
            OSError: accept(2) has failed, as with BlockingIOError where nobody waits.
        """
        descriptor, address = self._accept()  # type: ignore[attr-defined]
        return socket.socket(*self._numbers, descriptor), address
