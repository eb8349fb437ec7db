"""TLS settings: what they refuse and how they say it; and what crosses over between the ways."""

import gc
import select
import socket
import ssl
import struct
import warnings
from unittest import mock

import pytest
import trustme
from helpers.net_loop import HandReactor
from twisted.internet.protocol import Factory, Protocol

from tcpd.errors import TcpdError
from tcpd.net.network import Network
from tcpd.net.tls import ClientTLS, NamedCertificate, ServerTLS
from tcpd.net.tls_socket import FULL_RECORD, RecordSocket
from tcpd.net.tls_transport import HandshakeError, PeerCertificate


@pytest.fixture
def files(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    paths = {
        "both": tmp_path / "both.pem",
        "certificate": tmp_path / "certificate.pem",
        "key": tmp_path / "key.pem",
        "other_key": tmp_path / "other_key.pem",
        "ca": tmp_path / "ca.pem",
        "nonsense": tmp_path / "nonsense.pem",
        "missing": tmp_path / "missing.pem",
    }
    certificate.private_key_and_cert_chain_pem.write_to_path(str(paths["both"]))
    certificate.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    certificate.private_key_pem.write_to_path(str(paths["key"]))
    authority.issue_cert("other").private_key_pem.write_to_path(str(paths["other_key"]))
    authority.cert_pem.write_to_path(str(paths["ca"]))
    paths["nonsense"].write_text("nonsense")
    return paths


def test_certificate_and_key_may_be_one_file_or_two(files):
    ServerTLS(files["both"])
    ServerTLS(files["certificate"], files["key"])


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("missing", None, "certificate {missing}: No such file or directory"),
        ("certificate", "missing", "key {missing}: No such file or directory"),
        ("certificate", "other_key", "key {other_key}: it doesn't belong to certificate"),
        ("certificate", None, "certificate {certificate}: it doesn't hold a certificate and a key"),
        ("nonsense", "key", "certificate {nonsense} and key {key}: one of them isn't valid PEM"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(files, certificate, key, said):
    with pytest.raises(TcpdError) as caught:
        ServerTLS(files[certificate], files[key] if key else None)
    assert said.format(**files) in str(caught.value)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(files, tmp_path):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files["key"].read_bytes(), None)
    secret = tmp_path / "secret.pem"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hush"),
        )
    )
    with pytest.raises(TcpdError, match=r"secret\.pem: it is encrypted"):
        ServerTLS(files["certificate"], secret)


def test_authorities_that_cannot_be_used_are_named(files):
    with pytest.raises(TcpdError, match=r"authorities .*nonsense\.pem: no certificate"):
        ServerTLS(files["both"], client_ca=files["nonsense"])
    with pytest.raises(TcpdError, match=r"authorities .*missing\.pem: No such file"):
        ClientTLS("localhost", files["missing"])


def test_an_alpn_name_has_a_length(files):
    with pytest.raises(TcpdError, match="1 to 255 bytes"):
        ServerTLS(files["both"], alpn=["x" * 256])


def test_a_failed_reload_keeps_the_old_certificates(files):
    settings = ServerTLS(files["both"])
    before = settings._context
    files["both"].write_text("nonsense")
    with pytest.raises(TcpdError):
        settings.reload()
    assert settings._context is before


def test_verification_needs_a_name():
    with pytest.raises(TcpdError, match="server_name"):
        ClientTLS("")
    ClientTLS("", verify=False)


def test_contexts_are_modern(files):
    context = ServerTLS(
        files["both"], sni=[NamedCertificate(names=("a",), certificate=files["both"])]
    )._context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    for cipher in context.get_ciphers():
        assert cipher["aead"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-")


def test_a_handshake_error_says_why():
    assert str(HandshakeError(string="no shared cipher")) == (
        "the TLS handshake failed: no shared cipher"
    )
    assert PeerCertificate(b"der").der == b"der"


# -- a record socket, with OpenSSL played by a mock ------------------------------------------


def record_socket(**sides):
    sock = RecordSocket.__new__(RecordSocket)
    sock._sslobj = mock.Mock(**sides)
    sock.crossed = mock.Mock()
    return sock


def test_full_records_are_read_until_one_is_not():
    record = b"x" * FULL_RECORD
    sock = record_socket()
    sock._sslobj.read.side_effect = [record, record, b"end", AssertionError]
    assert sock.recv(1 << 17) == record * 2 + b"end"


def test_reading_stops_at_the_size_between_two_records():
    record = b"x" * FULL_RECORD
    sock = record_socket()
    sock._sslobj.read.return_value = record
    assert len(sock.recv(2 * FULL_RECORD)) == 2 * FULL_RECORD


def test_an_error_after_a_record_waits_for_the_next_read():
    sock = record_socket()
    sock._sslobj.read.side_effect = [b"x" * FULL_RECORD, ssl.SSLEOFError()]
    assert len(sock.recv(1 << 17)) == FULL_RECORD


@pytest.mark.parametrize(
    ("error", "result"),
    [(ssl.SSLWantReadError, BlockingIOError), (ssl.SSLEOFError, ssl.SSLEOFError)],
)
def test_what_a_read_may_say(error, result):
    sock = record_socket()
    sock._sslobj.read.side_effect = error
    with pytest.raises(result):
        sock.recv(100)
    assert not sock.crossed.called


def test_a_close_notify_is_the_end():
    sock = record_socket()
    sock._sslobj.read.side_effect = ssl.SSLZeroReturnError
    assert sock.recv(100) == b""


def test_reads_and_writes_that_wait_for_the_other_way_say_so():
    sock = record_socket()
    sock._sslobj.read.side_effect = ssl.SSLWantWriteError
    with pytest.raises(BlockingIOError):
        sock.recv(100)
    sock._sslobj.write.side_effect = ssl.SSLWantReadError
    with pytest.raises(BlockingIOError):
        sock.send(b"x")
    assert sock.crossed.call_args_list == [mock.call("read"), mock.call("write")]


def test_what_was_sent_before_an_error_counts():
    sock = record_socket()
    sock._sslobj.write.side_effect = [FULL_RECORD, ssl.SSLWantWriteError]
    assert sock.send(b"x" * 3 * FULL_RECORD) == FULL_RECORD
    sock._sslobj.write.side_effect = [FULL_RECORD, BrokenPipeError]
    assert sock.send(b"x" * 3 * FULL_RECORD) == FULL_RECORD
    sock._sslobj.write.side_effect = [BrokenPipeError]
    with pytest.raises(BrokenPipeError):
        sock.send(b"x" * 3 * FULL_RECORD)


def test_data_is_offered_a_record_at_a_time():
    sock = record_socket()
    sock._sslobj.write.side_effect = len
    assert sock.send(b"x" * (2 * FULL_RECORD + 1)) == 2 * FULL_RECORD + 1
    assert [len(call.args[0]) for call in sock._sslobj.write.call_args_list] == [
        FULL_RECORD,
        FULL_RECORD,
        1,
    ]


# -- ends that come early --------------------------------------------------------------------


class Noting(Factory):
    """Notes how connecting ended; its protocols fail at once if they are told to."""

    noisy = False

    def __init__(self, *, fails=False):
        self.fails = fails
        self.problem = None

    def buildProtocol(self, addr):
        protocol = Protocol()
        if self.fails:
            protocol.connectionMade = mock.Mock(side_effect=RuntimeError("connectionMade fails"))
        return protocol

    def startedConnecting(self, connector):
        pass

    def clientConnectionFailed(self, connector, reason):
        self.problem = reason.value


class Door:
    """An acceptor that notes who was gone before his session began."""

    def __init__(self):
        self.gone = []
        self.left = 0

    def leave(self):
        self.left += 1

    def doStart(self):
        pass

    def doStop(self):
        pass

    def admits(self, address):
        return self

    def accept_failed(self, reason):
        pass

    def arriving(self, transport):
        pass

    def identified(self, transport):
        return True

    def accept(self, transport):
        raise AssertionError("no session can begin")

    def abandoned(self, transport, reason):
        self.gone.append((transport.close_cause, transport.getPeer().port, str(reason.value)))


@pytest.fixture
def reactor():
    reactor = HandReactor()
    yield reactor
    reactor.close()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def both_events(transport):
    """One epoll event that says readable and writable, as the epoll reactor serves it."""
    why = transport.doRead()
    if why is None:
        why = transport.doWrite()
    return why


def test_bytes_and_a_reset_before_accept_are_an_abandoned_handshake(files, reactor):
    door = Door()
    network = Network(reactor, server_tls=ServerTLS(files["both"]))
    port = network.listenTCP(0, door, interface="127.0.0.1")
    client = socket.create_connection(("127.0.0.1", port.getHost().port))
    number = client.getsockname()[1]
    client.sendall(b"not even a hello")
    reset(client)
    with mock.patch("tcpd.net.port.Port.log") as log, warnings.catch_warnings():
        warnings.simplefilter("error")
        reactor.turn(2)
        gc.collect()
    assert door.gone == [("tls-failed", number, "the TLS handshake failed: the peer hung up")]
    assert not log.failure.called
    assert reactor.readers == [port]
    assert not reactor.getDelayedCalls()


def test_bytes_and_a_reset_before_our_handshake_are_a_hangup_to_a_client(reactor):
    factory = Noting()
    with socket.create_server(("127.0.0.1", 0)) as server:
        network = Network(reactor, client_tls=ClientTLS("localhost"))
        connector = network.connectTCP(*server.getsockname(), factory)
        reactor.advance(0)
        transport = connector.transport
        accepted, _ = server.accept()
        begin = transport.begin

        def begin_too_late():
            accepted.sendall(b"220 mail")
            reset(accepted)
            begin()

        transport.begin = begin_too_late
        both_events(transport)
    assert isinstance(factory.problem, HandshakeError)
    assert "the peer hung up" in str(factory.problem)
    assert not reactor.readers
    assert not reactor.writers


def test_a_client_whose_handshake_fails_at_once_is_not_served_again(reactor):
    factory = Noting()
    with socket.create_server(("127.0.0.1", 0)) as server:
        network = Network(reactor, client_tls=ClientTLS("localhost"))
        connector = network.connectTCP(*server.getsockname(), factory)
        reactor.advance(0)
        transport = connector.transport
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"220 mail.example ESMTP\r\n")
            select.select([transport.fileno()], [], [])
            assert both_events(transport) is None
            assert isinstance(factory.problem, HandshakeError)
            assert both_events(transport) is None
    assert not reactor.readers
    assert not reactor.writers
    assert not reactor.getDelayedCalls()


def test_a_session_that_fails_as_the_handshake_ends_is_not_served_again(files, reactor):
    network = Network(reactor, server_tls=ServerTLS(files["both"]))
    port = network.listenTCP(0, Noting(fails=True), interface="127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files["ca"])
    with socket.create_connection(("127.0.0.1", port.getHost().port)) as plain:
        plain.setblocking(False)
        client = context.wrap_socket(
            plain, server_hostname="localhost", do_handshake_on_connect=False
        )
        with client, mock.patch("tcpd.net.transport.StreamTransport.log") as log:
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            reactor.turn()
            (transport,) = [reader for reader in reactor.readers if reader is not port]
            select.select([client], [], [])
            client.do_handshake()
            assert both_events(transport) is None
            assert log.failure.call_count == 1
    assert reactor.readers == [port]
    assert not hasattr(transport, "_read_record")  # whoever keeps it keeps nothing of OpenSSL's
