"""Listeners with sessions, as far as captures know them."""

from __future__ import annotations

from pathlib import Path

from helpers.packets import conversations, read
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpd.capture.captures import Captures
from tcpd.capture.settings import CaptureConfig, LiveCaptureConfig
from tcpd.events import Bus
from tcpd.session import Origin, Session


class Reactor(Clock):
    """A clock that takes calls from threads; nobody waits for those."""

    def callFromThread(self, call, *arguments):
        pass


class Transport:
    """What a session needs of a transport."""

    def __init__(self, port: int) -> None:
        self.tap = None
        self.bytes_in = self.bytes_out = 0
        self.close_cause = "peer-closed"
        self.tls = None
        self.was_reset = self.peer_finished = self.write_finished = False
        self.peer, self.host = IPv4Address("TCP", "192.0.2.1", port), IPv4Address("TCP", "::", 80)
        self.host = IPv4Address("TCP", "192.0.2.9", 80)

    def getPeer(self):
        return self.peer

    def getHost(self):
        return self.host


class CaptureHouse:
    """Listeners with sessions, as far as captures know them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bus = Bus()
        self.reactor = Reactor()
        self.sessions: list[Session] = []
        self.captures = Captures(self.bus, self.reactor, self.of)

    def of(self, name: str) -> list[Session]:
        return [each for each in self.sessions if each.listener == name]

    def configure(self, listener: str = "web", **options) -> None:
        config = CaptureConfig(path=options.pop("path", self.path), **options)
        self.captures.configure({listener: config}, LiveCaptureConfig(path=self.path))

    def session(self, listener: str = "web") -> Session:
        origin = Origin(
            name=listener, handler="echo", role="listener", bus=self.bus, clock=self.reactor
        )
        session = Session(origin, Transport(5000 + len(self.sessions)))
        self.sessions.append(session)
        session.begin()
        return session

    def say(self, session: Session, data: bytes, answer: bytes = b"") -> None:
        transport = session.transport
        for side, each in (("in", data), ("out", answer)):
            if each:
                if transport.tap is not None:
                    transport.tap(side, each)
                setattr(transport, f"bytes_{side}", getattr(transport, f"bytes_{side}") + len(each))

    def end(self, session: Session, cause: str = "peer-closed") -> None:
        session.transport.close_cause = cause
        session.transport.tap = None  # as tcpd's own do it, before they tell of the end
        session.transport_closed(Failure(ConnectionDone()))
        self.sessions.remove(session)

    def said(self, name: str = "web.pcapng") -> list[tuple[bytes, bytes]]:
        """Return what each session in a file has said and heard."""
        found = conversations(read((self.path / name).read_bytes()).packets)
        return [(each.sent.get(each.began, b""), each.sent.get(each.other, b"")) for each in found]
