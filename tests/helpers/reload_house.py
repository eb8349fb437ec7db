"""A daemon on a reactor that a test turns by hand, and whose configuration is a text."""

import socket
from pathlib import Path

from helpers.net_loop import HandReactor
from twisted.internet.protocol import Factory, Protocol

from tcpd import daemon as daemon_module
from tcpd.config.load import build_config
from tcpd.daemon import Daemon
from tcpd.events import ConfigurationRefused, ConfigurationReloaded, ListenerChanged
from tcpd.registry import build_handler
from tcpd.sd_notify import ServiceManager
from tcpd.sink_registry import build_sink
from tcpd.toml_file import TomlFile


class Reactor(HandReactor):
    """What a daemon asks of a reactor besides."""

    def __init__(self):
        super().__init__()
        self.from_threads = []

    def callWhenRunning(self, call, *arguments):
        self.callLater(0, call, *arguments)

    def callFromThread(self, call, *arguments):
        self.from_threads.append((call, arguments))

    def addSystemEventTrigger(self, *arguments):
        pass

    def turn(self, times=1):
        for _ in range(times):
            calls, self.from_threads = self.from_threads, []
            for call, arguments in calls:
                call(*arguments)
            super().turn()


class Handler(Factory):
    """Says its word to each peer; notes its starts and stops, of all instances in one list."""

    noisy = False
    told = []
    fails = False

    def startFactory(self):
        if self.fails:
            raise RuntimeError("not today")
        self.told.append("start")

    def stopFactory(self):
        self.told.append("stop")

    class protocol(Protocol):  # noqa: N801
        def connectionMade(self):
            self.transport.write(self.factory.word)


class House:
    """A daemon that runs."""

    def __init__(self, directory: Path, monkeypatch):
        self.path = directory / "tcpd.toml"
        self.signals = {}
        monkeypatch.setattr(
            daemon_module.signal, "signal", lambda number, heed: self.signals.update({number: heed})
        )
        self.reactor = Reactor()
        self.events = []
        self.messages = []
        self.manager = ServiceManager({})
        self.manager.notify = lambda **state: self.messages.append(state)
        self.daemon = None
        self.clients = []

    def start(self, text):
        self.daemon = self.make(text)
        for kind in (ConfigurationRefused, ConfigurationReloaded, ListenerChanged):
            self.daemon.bus.subscribe(kind, self.events.append)
        self.daemon.startService()
        self.reactor.turn()
        self.events.clear()

    def make(self, text):
        return Daemon(
            self.read(text), self.reactor, self.manager, read_again=self.read, heed_signals=True
        )

    def read(self, text=None):
        if text is not None:
            self.path.write_text(text)
        file = TomlFile.read(self.path)
        return build_config(file.table, file, build_handler, build_sink=build_sink)

    def reload(self, text=None):
        """Reload, with another text if one is given; returns the event that came of it."""
        self.events.clear()
        if text is not None:
            self.path.write_text(text)
        self.daemon.reload()
        kinds = (ConfigurationRefused, ConfigurationReloaded)
        (event,) = [each for each in self.events if isinstance(each, kinds)]
        return event

    @property
    def changes(self):
        """What listeners have said since the last reload began."""
        events = [each for each in self.events if isinstance(each, ListenerChanged)]
        return [(each.listener, each.address, each.up) for each in events]

    def ports(self, name):
        return self.daemon.listeners[name].ports

    def connect(self, port):
        """Return a client that has been accepted, with what it was told first."""
        client = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.clients.append(client)
        self.reactor.turn(3)
        return client

    def talk(self, client, data=b"x"):
        """Say something, let the daemon run, and return the answer; None if it is gone."""
        client.sendall(data)
        self.reactor.turn(3)
        client.setblocking(False)
        try:
            return client.recv(1000)
        except BlockingIOError:
            return None

    def hear(self, client):
        client.setblocking(False)
        try:
            return client.recv(1000)
        except BlockingIOError:
            return None

    def close(self):
        for client in self.clients:
            client.close()
        if self.daemon is not None and self.daemon.running:
            self.daemon.stopService()
            self.reactor.turn(3)
        self.reactor.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as lender:
        return lender.getsockname()[1]
