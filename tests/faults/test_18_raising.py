"""Row 18: an exception in each protocol callback, connectionMade and connectionLost too.

Must hold: that session alone ends, within 1 s.

Best known: Twisted fails connectionMade.

A handler raises in one callback after another, an ordinary exception and SystemExit, while another
session of the same listener goes on, and a neighbour's echo is timed. Where the exception comes
when the peer has left already, what has to end is the daemon's side: its descriptor is closed.
"""

import time

import pytest
from faults.harness import LOOPBACK, tcpd
from faults.peers import Neighbour, assert_echoes, ends

HANDLER = """
from dataclasses import dataclass

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer


@implementer(IHalfCloseableProtocol, IPushProducer)
class Fails(Protocol):
    where = error = None

    def fail(self, here):
        if self.where == here:
            raise self.error("on purpose")

    def connectionMade(self):
        self.fail("connectionMade")

    def dataReceived(self, data):
        if data != b"fail":
            self.transport.write(data)
            return
        self.fail("dataReceived")
        if self.where == "writeConnectionLost":
            self.transport.loseWriteConnection()
        elif self.where in ("pauseProducing", "resumeProducing", "stopProducing"):
            self.transport.registerProducer(self, True)
            self.transport.write(bytes(8_000_000))
            if self.where == "stopProducing":
                self.transport.abortConnection()

    def readConnectionLost(self):
        self.fail("readConnectionLost")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        self.fail("writeConnectionLost")

    def connectionLost(self, reason):
        self.fail("connectionLost")

    def pauseProducing(self):
        self.fail("pauseProducing")

    def resumeProducing(self):
        self.fail("resumeProducing")

    def stopProducing(self):
        self.fail("stopProducing")


@dataclass
class Failing(Factory):
    error: str = "ValueError"
    sessions = 0

    def buildProtocol(self, addr):
        # The peer says in which callback by its address: the last byte of 127.0.0.N.
        where = CALLBACKS[int(addr.host.rpartition(".")[2]) - 1]
        protocol = Fails()
        protocol.error = {"ValueError": ValueError, "SystemExit": SystemExit}[self.error]
        protocol.where = where
        protocol.fail("buildProtocol")
        return protocol
"""
CALLBACKS = (
    "none",
    "buildProtocol",
    "connectionMade",
    "dataReceived",
    "readConnectionLost",
    "writeConnectionLost",
    "connectionLost",
    "pauseProducing",
    "resumeProducing",
    "stopProducing",
)
LIMIT = 1.0


def provoke(daemon, where):
    """Have a session fail somewhere; return whether it ended in time."""
    try:
        sock = daemon.connect("fails", source=f"127.0.0.{CALLBACKS.index(where) + 1}")
    except ConnectionResetError:  # so fast that even connect(2) hears of it
        return where in ("buildProtocol", "connectionMade")
    with sock:
        if where in ("buildProtocol", "connectionMade"):
            return ends(sock, LIMIT)
        assert_echoes(sock)
        if where in ("readConnectionLost", "connectionLost"):
            sock.shutdown(1)
        else:
            sock.sendall(b"fail")
        return ends(sock, LIMIT)


@pytest.mark.parametrize("error", ["ValueError", "SystemExit"])
def test_each_callback_may_raise(tmp_path, figure, error):
    (tmp_path / "fails.py").write_text(f"CALLBACKS = {CALLBACKS!r}\n{HANDLER}")
    config = f"""
[listeners.fails]
{LOOPBACK}
handler = "fails.py:Failing"
options = {{ error = "{error}" }}
[listeners.echo]
{LOOPBACK}
"""
    with tcpd(tmp_path, config, tracebacks=True) as daemon:
        stays = daemon.connect("fails")
        assert_echoes(stays)
        with Neighbour(daemon.port("echo")) as neighbour:
            base = daemon.descriptors_at_rest()
            slowest, lasted = 0.0, []
            for where in CALLBACKS[1:]:
                began = time.monotonic()
                in_time = provoke(daemon, where) and not daemon.descriptors_back_to(base, LIMIT)
                slowest = max(slowest, time.monotonic() - began)
                if not in_time:
                    lasted.append(where)
                assert_echoes(stays)
        told = daemon.log.count("the handler fails.py:Failing failed in session")
        count = len(CALLBACKS) - 1
        figure(f"{error}: {count - len(lasted)} of {count} ended, within {slowest * 1000:.0f} ms")
        print(daemon.log)
        assert lasted == []
        assert told == count
        assert neighbour.errors == []
        assert slowest <= LIMIT
