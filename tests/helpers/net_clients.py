"""Every way to listen and to connect through `Network`, tried in one process on one reactor.

    python net_clients.py REACTOR DIRECTORY

The directory holds server.pem, ca.pem and other_ca.pem. Prints what was tried; ends with "done".
"""

import os
import socket
import sys
import traceback
from importlib import import_module
from pathlib import Path


def main(reactor_module, directory):
    # What a service manager hands over begins at descriptor 3, which is still free.
    inherited = socket.create_server(("127.0.0.1", 0))
    inherited_address = inherited.getsockname()
    assert inherited.detach() == 3
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="echo")
    import_module(reactor_module).install()
    from twisted.internet import reactor
    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.defer import Deferred, ensureDeferred
    from twisted.internet.endpoints import (
        HostnameEndpoint,
        TCP4ClientEndpoint,
        TCP6ClientEndpoint,
        UNIXClientEndpoint,
        clientFromString,
        connectProtocol,
        serverFromString,
    )
    from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
    from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorUNIX
    from twisted.internet.protocol import Factory, Protocol
    from twisted.internet.task import deferLater
    from zope.interface.verify import verifyObject

    from tcpd.net.network import Network
    from tcpd.net.tls import ClientTLS, ServerTLS
    from tcpd.net.tls_transport import HandshakeError
    from tcpd.net.transport import StreamTransport

    class Echo(Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    factory = Factory.forProtocol(Echo)
    factory.noisy = False

    class Asks(Protocol):
        def __init__(self):
            self.answer = Deferred()
            self.ended = Deferred()
            self.got = b""

        def connectionMade(self):
            self.tls_when_made = self.transport.tls
            self.transport.write(b"hello")

        def dataReceived(self, data):
            self.got += data
            if self.got == b"hello":
                self.answer.callback(None)

        def connectionLost(self, reason):
            self.ended.callback(reason.value)

    async def talk(endpoint):
        """Connect, say hello, hear it, close; gives the protocol."""
        asks = await connectProtocol(endpoint, Asks())
        assert isinstance(asks.transport, StreamTransport), asks.transport
        await asks.answer
        asks.peer = asks.transport.getPeer()
        asks.host = asks.transport.getHost()
        asks.transport.loseConnection()
        await asks.ended
        assert asks.transport.close_cause == "handler-closed"
        return asks

    async def try_all():
        network = Network(reactor)
        verifyObject(IReactorTCP, network)
        verifyObject(IReactorUNIX, network)

        port = await serverFromString(network, "tcp:0:interface=127.0.0.1").listen(factory)
        verifyObject(IListeningPort, port)
        number = port.getHost().port
        asks = await talk(TCP4ClientEndpoint(network, "127.0.0.1", number))
        assert asks.peer == IPv4Address("TCP", "127.0.0.1", number)
        await talk(HostnameEndpoint(network, "localhost", number))
        await talk(clientFromString(network, f"tcp:127.0.0.1:{number}"))
        await port.stopListening()
        try:
            await talk(TCP4ClientEndpoint(network, "127.0.0.1", number))
        except ConnectionRefusedError:
            print("tcp")

        port = await serverFromString(network, "tcp6:0").listen(factory)
        number = port.getHost().port
        asks = await talk(TCP6ClientEndpoint(network, "::1", number))
        assert asks.peer == IPv6Address("TCP", "::1", number)
        await talk(TCP4ClientEndpoint(network, "127.0.0.1", number))
        print("tcp6, dual-stack")
        await port.stopListening()

        path = str(directory / "s")
        port = await serverFromString(network, f"unix:{path}:mode=600").listen(factory)
        await talk(UNIXClientEndpoint(network, path))
        await port.stopListening()
        assert not os.path.exists(path)
        print("unix")

        port = await serverFromString(network, "systemd:domain=INET:index=0").listen(factory)
        await talk(TCP4ClientEndpoint(network, *inherited_address))
        await port.stopListening()
        print("systemd")

        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        transport = network.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
        assert isinstance(transport, StreamTransport)
        ours.close()
        theirs.close()
        print("adopted")

        tls = ServerTLS(directory / "server.pem", alpn=["echo"])
        secure = Network(reactor, tls, ClientTLS("localhost", directory / "ca.pem", alpn=["echo"]))
        port = await serverFromString(secure, "tcp:0:interface=127.0.0.1").listen(factory)
        number = port.getHost().port
        asks = await talk(HostnameEndpoint(secure, "localhost", number))
        assert asks.tls_when_made.alpn == "echo"
        assert asks.tls_when_made.peer_names == ("localhost", "127.0.0.1")
        print("tls")

        async def refused(client, words):
            try:
                await talk(TCP4ClientEndpoint(Network(reactor, None, client), "127.0.0.1", number))
            except HandshakeError as error:
                problem = str(error)
            assert words in problem, problem

        await refused(ClientTLS("localhost", directory / "other_ca.pem"), "certificate was refused")
        await refused(ClientTLS("elsewhere", directory / "ca.pem"), "elsewhere")
        await talk(
            TCP4ClientEndpoint(
                Network(reactor, None, ClientTLS("x", verify=False)), "127.0.0.1", number
            )
        )
        by_address = ClientTLS("127.0.0.1", directory / "ca.pem")
        await talk(TCP4ClientEndpoint(Network(reactor, None, by_address), "127.0.0.1", number))
        print("tls verified")
        await port.stopListening()

        # A server that takes the connection and then says nothing.
        silent = socket.create_server(("127.0.0.1", 0))
        number = silent.getsockname()[1]
        await refused(ClientTLS("localhost", directory / "ca.pem", handshake_timeout=0.2), "0.2 s")
        patient = Network(reactor, None, ClientTLS("localhost", directory / "ca.pem"))
        attempt = connectProtocol(TCP4ClientEndpoint(patient, "127.0.0.1", number), Asks())
        reactor.callLater(0.1, attempt.cancel)
        try:
            await attempt
        except ConnectingCancelledError:
            print("tls timed out and cancelled")
        silent.close()
        await deferLater(reactor, 0)  # the endpoint stops its attempt after it has told us

        assert not reactor.getDelayedCalls(), reactor.getDelayedCalls()
        print("done")

    def ended(result):
        if result is not None:
            traceback.print_exception(result.value)
        reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(try_all()).addBoth(ended))
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
