"""Tell the service manager how the daemon fares (sd_notify(3)), and keep its watchdog fed.

Without a service manager every call does nothing. No library is needed: the protocol is a datagram
of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from twisted.logger import Logger

from tcpd.escape import one_line

# Seconds. A service manager that hangs must not make us hang; one that is only busy, as at boot,
# is worth a wait that no session minds, since a lost READY=1 would fail the start.
PATIENCE = 0.1


class ServiceManager:
    """The other end of `NOTIFY_SOCKET`.

    Args:
        environ: the environment; what it says is read once.
    """

    log = Logger()

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ means an abstract socket, whose name begins with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_interval = _watchdog_interval(environ)
        """How often `WATCHDOG=1` should be sent, in seconds; None if there is no watchdog."""

    def notify(self, **state: str) -> None:
        """Send a state: `notify(READY="1", STATUS="serving")`."""
        if not self._address:
            return
        message = "\n".join(f"{key}={one_line(value)}" for key, value in state.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(PATIENCE)
                sender.connect(self._address)
                sender.send(message.encode())
        except OSError as error:
            self.log.warn("can't tell the service manager: {error}", error=error)


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return half of the watchdog's time-out (sd_watchdog_enabled(3)), if it is meant for us."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdecimal() and int(text) else None
