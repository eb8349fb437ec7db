"""The service manager's end of NOTIFY_SOCKET, for tests."""

import select
import socket
import time

from helpers.daemon import PATIENCE


class Manager:
    """Receives what a daemon says to its service manager.

    Args:
        address: a path, or @ and a name for an abstract socket.
    """

    def __init__(self, address):
        self.environ = {"NOTIFY_SOCKET": str(address)}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = str(address)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.heard = []

    def receive(self, patience=PATIENCE):
        """Return the next message, as a dict."""
        assert select.select([self._socket], [], [], patience)[0], f"silence after {self.heard}"
        pairs = [line.split("=", 1) for line in self._socket.recv(65536).decode().split("\n")]
        assert all(len(pair) == 2 for pair in pairs)
        self.heard.append(dict(pairs))
        return self.heard[-1]

    def wait_for(self, key):
        """Return the first message from here on that says something of a key."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            message = self.receive()
            if key in message:
                return message
        raise AssertionError(f"no {key} in {self.heard}")

    def pending(self):
        """Return whether there is a message that nobody has received."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self._socket.close()
