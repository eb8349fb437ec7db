"""A small server on tcpd's transports, in a process of its own, on the reactor that is asked for.

    python net_service.py REACTOR HANDLER [OPTIONS as JSON]

It prints a JSON object a line: where it listens, then what its sessions' observers hear.
`Service` starts one from a test and reads along.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

REACTORS = {
    "epoll": "twisted.internet.epollreactor",
    "asyncio": "twisted.internet.asyncioreactor",
    "select": "twisted.internet.selectreactor",
    "tcpd": "tcpd.net.reactor",
}
LIMIT = 20.0


class Service:
    """The server's process, seen from a test."""

    def __init__(self, reactor, handler, **options):
        self._process = subprocess.Popen(
            [sys.executable, __file__, reactor, handler, json.dumps(options, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.pid = self._process.pid
        self.events = []
        self.errors = b""
        self._threads = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.port = self.wait("listening")["port"]
        self.address = ("127.0.0.1", self.port)

    def _read_events(self):
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def _read_errors(self):
        for line in self._process.stderr:
            self.errors += line

    def all(self, event):
        return [entry for entry in list(self.events) if entry["event"] == event]

    def wait(self, event, count=1):
        """The count-th event of that name, as soon as it is there."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            found = self.all(event)
            if len(found) >= count:
                return found[count - 1]
            if self._process.poll() is not None and not self._threads[0].is_alive():
                break
            time.sleep(0.005)
        raise AssertionError(f"no {event}: {self.events} {self.errors.decode(errors='replace')}")

    def errors_with(self, words):
        """What it has written to standard error, as soon as these words are in it."""
        end = time.monotonic() + LIMIT
        while words not in self.errors and time.monotonic() < end:
            time.sleep(0.005)
        assert words in self.errors
        return self.errors

    def tell(self, what):
        self._process.stdin.write(what.encode() + b"\n")
        self._process.stdin.flush()

    @contextlib.contextmanager
    def stopped(self):
        """Have it see at once what happens meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def rss(self):
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def cpu(self):
        """CPU seconds used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(5)
        self._process.stdout.close()
        self._process.stderr.close()


def say(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def _handlers():
    from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
    from twisted.internet.protocol import Protocol
    from zope.interface import implementer

    class Echo(Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    class LateEcho(Protocol):
        """Answers in a later turn."""

        def dataReceived(self, data):
            from twisted.internet import reactor

            reactor.callLater(0, self.transport.write, data)

    class Failing(Protocol):
        """Raises where its first byte says; echoes until then."""

        where = "?"

        def connectionMade(self):
            if OPTIONS.get("where") == "connectionMade":
                raise RuntimeError("connectionMade fails")

        def dataReceived(self, data):
            where = OPTIONS.get("where")
            if data.startswith(b"neighbour"):
                self.where = "nowhere"
                self.transport.write(data)
            elif where == "dataReceived":
                self.transport.write(b"begun")
                raise RuntimeError("dataReceived fails")
            elif where == "resumeProducing":
                self.transport.registerProducer(self, False)
            elif where == "connectionLost":
                self.transport.loseConnection()

        def resumeProducing(self):
            raise RuntimeError("resumeProducing fails")

        def stopProducing(self):
            pass

        def connectionLost(self, reason):
            if self.where != "nowhere" and OPTIONS.get("where") == "connectionLost":
                raise RuntimeError("connectionLost fails")

    @implementer(IHalfCloseableProtocol)
    class FailingHalves(Protocol):
        def dataReceived(self, data):
            if OPTIONS["where"] == "writeConnectionLost":
                self.transport.loseWriteConnection()

        def readConnectionLost(self):
            if OPTIONS["where"] == "readConnectionLost":
                raise RuntimeError("readConnectionLost fails")

        def writeConnectionLost(self):
            raise RuntimeError("writeConnectionLost fails")

    @implementer(IHalfCloseableProtocol)
    class Halves(Protocol):
        """Answers only when it has heard everything."""

        def connectionMade(self):
            self.heard = []

        def dataReceived(self, data):
            self.heard.append(data)
            if data == b"you first":
                self.transport.write(b"my last word")
                self.transport.loseWriteConnection()

        def readConnectionLost(self):
            say("read lost", heard=b"".join(self.heard).decode())
            self.transport.write(b"".join(self.heard))
            self.transport.loseConnection()

        def writeConnectionLost(self):
            say("write lost")

    @implementer(IPushProducer)
    class Streaming(Protocol):
        """Pushes ten pieces, one every 20 ms, when it has heard something, then lets go."""

        def dataReceived(self, data):
            self.left = 10
            self.transport.registerProducer(self, True)
            self.tick()

        def tick(self):
            from twisted.internet import reactor

            self.transport.write(b"piece ")
            self.left -= 1
            if self.left:
                reactor.callLater(0.02, self.tick)
            elif not OPTIONS.get("never_done"):
                self.transport.unregisterProducer()

        def resumeProducing(self):
            pass

        def pauseProducing(self):
            pass

        def stopProducing(self):
            pass

    @implementer(IPullProducer)
    class Pulled(Protocol):
        """Sends 20 MB as they are asked for."""

        def dataReceived(self, data):
            self.left = 320
            self.transport.registerProducer(self, False)

        def resumeProducing(self):
            self.transport.write(b"x" * 65536)
            self.left -= 1
            if not self.left:
                self.transport.unregisterProducer()

        def stopProducing(self):
            pass

    class Commanded(Protocol):
        """Does what it is told."""

        def dataReceived(self, data):
            command = data.decode().strip()
            if command == "reset":
                self.transport.reset_connection()
            elif command == "abort":
                self.transport.abortConnection()
            elif command == "because":
                self.transport.abort_because("write-stall")
            elif command == "close":
                self.transport.write(b"bye")
                self.transport.loseConnection()
            elif command == "tap":
                self.transport.tap = lambda way, seen: say("tap", way=way, data=seen.decode())
                self.transport.write(b"tapped")
            elif command == "badtap":
                self.transport.tap = lambda way, seen: 1 / 0
                self.transport.write(b"tapped")
            elif command == "options":
                import socket

                get = self.transport.socket.getsockopt
                options = [
                    get(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    get(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                ]
                self.transport.write(json.dumps(options).encode())
            elif command == "tls":
                facts = self.transport.tls
                found = facts and [facts.version, facts.alpn, facts.server_name, facts.peer_names]
                self.transport.write(json.dumps(found).encode())
            elif command == "who":
                ends = self.transport.getPeer(), self.transport.getHost(), self.transport.hop
                self.transport.write(
                    json.dumps([getattr(end, "host", None) for end in ends]).encode()
                )
            elif command == "hand over":
                echo = Echo()
                self.transport.protocol = echo
                echo.makeConnection(self.transport)
                self.transport.write(b"handed over")
            elif command == "lines":
                for _ in range(1000):
                    self.transport.write(b"a line\n")
            else:
                self.transport.write(data)

    class StartsTLS(Protocol):
        def dataReceived(self, data):
            if data == b"STARTTLS":
                from twisted.internet import ssl

                self.transport.write(b"go")
                pem = Path(OPTIONS["certificate"]).read_bytes()
                self.transport.startTLS(ssl.PrivateCertificate.loadPEM(pem).options())
            else:
                self.transport.write(data)

    return {kind.__name__: kind for kind in list(locals().values()) if isinstance(kind, type)}


def main(reactor_name, handler_name):
    import_module(REACTORS[reactor_name]).install()
    from twisted.internet import reactor
    from twisted.internet.endpoints import serverFromString
    from twisted.internet.stdio import StandardIO
    from twisted.protocols.basic import LineReceiver
    from twisted.python.log import startLogging

    from tcpd.net import half_close
    from tcpd.net.network import Network
    from tcpd.net.tls import NamedCertificate, ServerTLS

    startLogging(sys.stderr, setStdout=False)
    if "grace" in OPTIONS:
        half_close.PRODUCER_GRACE = OPTIONS["grace"]
    if "descriptors" in OPTIONS:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (OPTIONS["descriptors"],) * 2)

    class Observer:
        def __init__(self, transport):
            self.transport = transport

        def transport_closed(self, reason):
            seen = self.transport
            say(
                "closed",
                cause=seen.close_cause,
                reason=reason.type.__name__,
                bytes_in=seen.bytes_in,
                bytes_out=seen.bytes_out,
            )

        def handler_failed(self, failure):
            say("failed", error=failure.getErrorMessage())

    handler = _handlers()[handler_name]

    class Factory:
        """An Acceptor, as tcpd's listeners are."""

        admitting = True

        def doStart(self):
            pass

        def doStop(self):
            pass

        def admits(self, address):
            return None if OPTIONS.get("refuse") else self

        def accept_failed(self, reason):
            pass

        def leave(self):
            pass

        def arriving(self, transport):
            say("arriving", stage=transport.stage)

        def identified(self, transport):
            facts = transport.proxy
            peer = transport.getPeer()
            say("identified", peer=getattr(peer, "host", None), version=facts.version)
            return not OPTIONS.get("turn_away")

        def accept(self, transport):
            if OPTIONS.get("observed", True):
                transport.observer = Observer(transport)
            transport.protocol = handler()
            transport.protocol.makeConnection(transport)

        def abandoned(self, transport, reason):
            say("abandoned", cause=transport.close_cause, problem=reason.getErrorMessage())

    tls = None
    if "certificate" in OPTIONS and handler_name != "StartsTLS":
        tls = ServerTLS(
            Path(OPTIONS["certificate"]),
            client_ca=OPTIONS.get("client_ca"),
            alpn=OPTIONS.get("alpn", ()),
            sni=[
                NamedCertificate(names=(name,), certificate=Path(path))
                for name, path in OPTIONS.get("sni", {}).items()
            ],
            handshake_timeout=OPTIONS.get("handshake_timeout", 10),
        )
    network = Network(reactor, server_tls=tls, server_header=OPTIONS.get("header", False))

    def commands(line):
        if line == b"reload":
            tls.reload()
            say("reloaded")
        elif line == b"hold":
            port.hold("test")
            say("held")
        elif line == b"release":
            port.release("test")
            say("released")

    class Console(LineReceiver):
        delimiter = b"\n"

        def lineReceived(self, line):
            commands(line)

    port = None

    def listening(opened):
        nonlocal port
        port = opened
        say("listening", port=getattr(port.getHost(), "port", None))

    listen = OPTIONS.get("listen", "tcp:0:interface=127.0.0.1")
    serverFromString(network, listen).listen(Factory()).addCallback(listening)
    console = StandardIO(Console())
    reactor.run()
    del console


if __name__ == "__main__":
    OPTIONS = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    main(sys.argv[1], sys.argv[2])
