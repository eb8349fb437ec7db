"""Twisted as it comes: its epoll reactor, its endpoints, its LineReceiver, its TLS."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import epollreactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineReceiver


class Echo(Protocol):
    """Writes what it receives."""

    def dataReceived(self, data: bytes) -> None:
        """Send the bytes back."""
        assert self.transport is not None
        self.transport.write(data)


class Lines(LineReceiver):
    """Sends every line back."""

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        """Send a line back."""
        self.sendLine(line)


def main(kind: str, certificate: str | None) -> None:
    """Serve until the process is ended."""
    epollreactor.install()
    from twisted.internet import reactor

    description = "tcp:0:interface=127.0.0.1"
    if certificate is not None:
        description = f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"

    def say(port: Any) -> None:
        print("port", port.getHost().port, flush=True)

    factory = Factory.forProtocol(Lines if kind == "lines" else Echo)
    factory.noisy = False
    serverFromString(reactor, description).listen(factory).addCallback(say)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
