"""A real reactor that is turned by hand, and connections of every kind on it."""

import contextlib
import os
import select
import socket
import ssl
import time
from importlib import import_module

import trustme
from helpers.net_peer import Peer
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from tcpd.net.network import Network
from tcpd.net.tls import ClientTLS, ServerTLS

LIMIT = 3.0
"""Seconds that one connection may take to do what it is waited for."""


class World(ClientFactory):
    """A reactor that is turned by hand, and a way to connect on it."""

    noisy = False

    def __init__(self, reactor_module, kind, directory):
        self.kind = kind
        self.name = f"{reactor_module} {kind}"
        self.reactor = import_module(reactor_module).EPollReactor()
        self.reactor._registerAsIOThread = False
        self.reactor.startRunning(installSignalHandlers=False)
        self.always = set(self.reactor.getReaders())
        self.handler = None
        self.released = 0
        self.client_losses = 0
        self.tls_at_peer = None
        server_tls = client_tls = None
        if "tls" in kind:
            server_tls, client_tls = self._make_tls(directory)
        self.network = Network(self.reactor, server_tls, client_tls)
        if "client" in kind:
            self.listening = socket.create_server(("127.0.0.1", 0))
        elif "unix" in kind:
            self.path = os.path.join(directory, f"{reactor_module}.{kind}"[-60:].replace(" ", "-"))
            self.port = self.network.listenUNIX(self.path, self)
        else:
            self.port = self.network.listenTCP(0, self, interface="127.0.0.1")
        if "server" in kind:
            self.always.add(self.port)
            self.port.descriptor_released = self.descriptor_released

    def _make_tls(self, directory):
        authority = trustme.CA()
        authority_file = os.path.join(directory, "ca.pem")
        authority.cert_pem.write_to_path(authority_file)
        issued = authority.issue_cert("localhost")
        certificate = os.path.join(directory, "server.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        if "server" in self.kind:
            self.tls_at_peer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            authority.configure_trust(self.tls_at_peer)
            return ServerTLS(certificate), None
        self.tls_at_peer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(self.tls_at_peer)
        return None, ClientTLS("localhost", authority_file)

    def close(self):
        self.reactor.stop()
        self.reactor.iterate(0)
        assert set(self.reactor.getReaders()) <= self.always
        if "client" in self.kind:
            self.listening.close()

    # As a factory and a port.

    def buildProtocol(self, address):
        return self.handler

    def descriptor_released(self):
        self.released += 1

    def clientConnectionLost(self, connector, reason):
        self.client_losses += 1

    # Turning.

    def meet(self, handler):
        """Connect a handler; gives its peer, once connectionMade has been called."""
        self.handler = handler
        self.released = self.client_losses = 0
        sock = None
        if "client" in self.kind:
            self.network.connectTCP("127.0.0.1", self.listening.getsockname()[1], self)
            self.turn()
            sock = self.listening.accept()[0]
        elif "unix" in self.kind:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.path)
        else:
            sock = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        peer = Peer(sock, self.tls_at_peer, server_side="client" in self.kind)
        self.turn_until(lambda: "made" in handler.told and (peer.shaken or peer.end), peer)
        return peer

    def turn(self, times=1):
        for _ in range(times):
            self.reactor.iterate(0)

    def turn_until(self, done, peer):
        """Serve both sides until it is done, or nothing more will happen by itself."""
        deadline = time.monotonic() + LIMIT
        while not done():
            moved = peer.pump()
            self.turn()
            if not moved and not self._wait(peer):
                return
            assert time.monotonic() < deadline, "it goes on for ever"

    def _wait(self, peer):
        """Wait for something to do; gives False if there is nothing and nothing on its way."""
        reactor = self.reactor
        now = reactor.seconds()
        if any(call.getTime() <= now for call in reactor.getDelayedCalls()):
            return True
        readers = [reactor._poller]
        writers = []
        if peer.sock.fileno() >= 0:
            if peer.reading and not peer.end:
                readers.append(peer)
            if peer.wants_to_write():
                writers.append(peer)
        if any(select.select(readers, writers, [], 0)):
            return True
        # A kernel may have something under way to itself, or sit on an acknowledgement.
        return self._under_way(peer) and any(select.select(readers, writers, [], 1.0))

    def _under_way(self, peer):
        return bool(self.reactor.getWriters()) and peer.reading

    @contextlib.contextmanager
    def left_clean(self):
        """Have one example's failure not be the next one's as well."""
        try:
            yield
        except BaseException:
            for left in self.leftovers():
                with contextlib.suppress(Exception):
                    if hasattr(left, "cancel"):
                        left.cancel()
                    else:
                        left.connectionLost(Failure(ConnectionDone()))
            raise

    def leftovers(self):
        """What the reactor still watches or waits for."""
        reactor = self.reactor
        watched = {*reactor.getReaders(), *reactor.getWriters()} - self.always
        return [*watched, *reactor.getDelayedCalls()]
