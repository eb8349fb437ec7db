"""TLS on the socket itself, on every reactor; the peers are stdlib ssl, or not even that."""

import json
import socket
import ssl
import struct
import time

import pytest
import trustme
from helpers.net_service import LIMIT, REACTORS, Service

MEGABYTE = 1024 * 1024


@pytest.fixture(params=list(REACTORS))
def reactor(request):
    return request.param


class Authority:
    """A certificate authority with its files in a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.ca = trustme.CA()
        self.file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(self, *names, file=None):
        path = self.directory / (file or f"{names[0]}.pem")
        self.ca.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def client(self, **settings):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        for name, value in settings.items():
            setattr(context, name, value)
        return context


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def connected(service, context, name="localhost"):
    sock = socket.create_connection(service.address, timeout=LIMIT)
    return context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)


def read_all(sock):
    """Until the peer's close_notify; a stream that is cut raises."""
    chunks = []
    while True:
        try:
            chunk = sock.recv(65536)
        except ssl.SSLZeroReturnError:
            chunk = b""
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def ask(sock, what):
    sock.sendall(what)
    return sock.recv(65536)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_echo_and_the_facts(reactor, authority, version):
    with Service(
        reactor, "Commanded", certificate=authority.issue("localhost"), alpn=["b", "a"]
    ) as service:
        context = authority.client(maximum_version=version)
        context.set_alpn_protocols(["a", "b"])
        with connected(service, context) as sock:
            assert ask(sock, b"hello") == b"hello"
            name = {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
            assert json.loads(ask(sock, b"tls")) == [name, "b", "localhost", []]
            assert sock.selected_alpn_protocol() == "b"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_send_and_farewell_back_to_back_gets_its_answer_every_time(reactor, authority, version):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        context = authority.client(maximum_version=version)
        for number in range(50):
            message = b"hello %d" % number
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            secure = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            with socket.create_connection(service.address, timeout=LIMIT) as sock:
                while True:
                    try:
                        secure.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        sock.sendall(outgoing.read())
                        incoming.write(sock.recv(65536))
                secure.write(message)
                with pytest.raises(ssl.SSLWantReadError):
                    secure.unwrap()
                sock.sendall(outgoing.read())  # handshake's end, data and close_notify at once
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(65536):
                    incoming.write(data)
                assert secure.read(1000) == message
                try:
                    assert secure.read(1000) == b""  # a close_notify of the server's own
                except ssl.SSLZeroReturnError:
                    pass
        assert service.wait("closed", 50)["cause"] == "peer-closed"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handler_may_finish_first_and_go_on_reading(reactor, authority, version):
    with Service(reactor, "Halves", certificate=authority.issue("localhost")) as service:
        context = authority.client(maximum_version=version)
        with connected(service, context) as sock:
            # The second piece is under way while the server says its farewell after the first.
            sock.sendall(b"you first")
            sock.sendall(b", and mine")
            assert read_all(sock) == b"my last word"
            service.wait("write lost")
            sock.sendall(b", and more")
            sock.unwrap()
            heard = service.wait("read lost")["heard"]
        assert heard == "you first, and mine, and more"
        assert service.wait("closed")["reason"] == "ConnectionDone"


def test_a_peers_reset_is_told_apart(reactor, authority):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        sock = connected(service, authority.client())
        assert ask(sock, b"x") == b"x"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert service.wait("closed")["cause"] == "peer-reset"


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("handler", ["Echo", "LateEcho"])
def test_a_reset_is_told_apart_if_bytes_came_just_before_and_are_answered(
    reactor, authority, handler, size
):
    with Service(reactor, handler, certificate=authority.issue("localhost")) as service:
        sock = connected(service, authority.client())
        assert ask(sock, b"x") == b"x"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with service.stopped():
            sock.sendall(b"h" * size)
            sock.close()
        assert service.wait("closed")["cause"] == "peer-reset"


def test_a_stream_that_is_cut_is_lost_and_not_done(reactor, authority):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        with connected(service, authority.client()) as sock:
            assert ask(sock, b"x") == b"x"
            socket.socket.shutdown(sock, socket.SHUT_WR)  # a FIN without a close_notify
            closed = service.wait("closed")
        assert (closed["cause"], closed["reason"]) == ("lost", "ConnectionLost")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_peer_that_goes_without_a_farewell_has_reset_nothing(reactor, authority, version):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        sock = connected(service, authority.client(maximum_version=version))
        assert ask(sock, b"x") == b"x"
        sock.close()
        closed = service.wait("closed")
        assert (closed["cause"], closed["reason"]) == ("lost", "ConnectionLost")


def test_twenty_megabytes_there_and_back(reactor, authority):
    size = 20 * MEGABYTE
    with (
        Service(reactor, "Echo", certificate=authority.issue("localhost")) as service,
        connected(service, authority.client()) as sock,
    ):
        block = bytes(range(256)) * 1024
        expected = sent = got = 0
        while got < size:
            if sent < size and sent - got < 4 * len(block):
                sock.sendall(block)
                sent += len(block)
            else:
                data = sock.recv(65536)
                at = expected % 256
                assert data[:256] == (block + block)[at : at + min(256, len(data))]
                got += len(data)
                expected += len(data)
        assert got == size


def test_a_peer_that_never_reads_is_held_and_memory_stays_flat(reactor, authority):
    with (
        Service(reactor, "Echo", certificate=authority.issue("localhost")) as service,
        connected(service, authority.client()) as sock,
    ):
        assert ask(sock, b"warm") == b"warm"
        before = service.rss()
        sock.settimeout(1.0)
        taken = 0
        try:
            while taken < 150 * MEGABYTE:
                taken += sock.send(b"p" * 16384)
        except (TimeoutError, ssl.SSLWantWriteError):
            pass
        assert taken < 60 * MEGABYTE
        assert service.rss() - before < 8 * MEGABYTE


def test_a_name_chooses_the_certificate(reactor, authority):
    other = authority.issue("other.example")
    wild = authority.issue("*.wild.example", file="wild.pem")
    with Service(
        reactor,
        "Commanded",
        certificate=authority.issue("localhost"),
        sni={"Other.Example": other, "*.wild.example": wild},
    ) as service:
        for name in ("localhost", "other.example", "a.wild.example"):
            with connected(service, authority.client(), name) as sock:
                assert json.loads(ask(sock, b"tls"))[2] == name


def test_a_client_must_show_a_certificate_of_the_authority(reactor, authority):
    with Service(
        reactor,
        "Commanded",
        certificate=authority.issue("localhost"),
        client_ca=authority.file,
    ) as service:
        context = authority.client()
        context.load_cert_chain(authority.issue("device-7.example"))
        with connected(service, context) as sock:
            assert json.loads(ask(sock, b"tls"))[3] == ["device-7.example"]
        with pytest.raises(OSError), connected(service, authority.client()) as sock:  # noqa: PT011
            ask(sock, b"x")
        assert service.wait("abandoned")["cause"] == "tls-failed"


def test_a_reload_serves_new_certificates_and_keeps_old_sessions(reactor, authority):
    path = authority.issue("localhost")
    with Service(reactor, "Commanded", certificate=path) as service:
        with connected(service, authority.client()) as old:
            before = old.getpeercert(binary_form=True)
            authority.issue("localhost")
            service.tell("reload")
            service.wait("reloaded")
            with connected(service, authority.client()) as new:
                assert new.getpeercert(binary_form=True) != before
            assert ask(old, b"still here") == b"still here"


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05aaaaa", b"\x80\x2e\x01" * 40]
)
def test_garbage_is_closed_and_counted_without_a_traceback(reactor, authority, greeting):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        with socket.create_connection(service.address, timeout=LIMIT) as sock:
            sock.sendall(greeting)
            try:
                while sock.recv(1000):
                    pass
            except ConnectionResetError:
                pass
        assert service.wait("abandoned")["cause"] == "tls-failed"
        assert b"Traceback" not in service.errors
        assert not service.all("closed")


def test_half_a_hello_ends_at_the_deadline(reactor, authority):
    with Service(
        reactor, "Echo", certificate=authority.issue("localhost"), handshake_timeout=0.3
    ) as service:
        silent = socket.create_connection(service.address, timeout=LIMIT)
        halfway = socket.create_connection(service.address, timeout=LIMIT)
        halfway.sendall(b"\x16\x03\x01\x02\x00\x01")
        for sock in (silent, halfway):
            try:
                assert sock.recv(100) == b""
            except ConnectionResetError:
                pass
            sock.close()
        assert "not finished in 0.3 s" in service.wait("abandoned", 2)["problem"]


def test_a_reset_in_the_handshake_is_abandoned(reactor, authority):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        sock = socket.create_connection(service.address, timeout=LIMIT)
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        time.sleep(0.05)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert service.wait("abandoned")["cause"] == "tls-failed"


def test_a_server_name_that_is_not_ascii_leaves_no_traceback(reactor, authority):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            hello.do_handshake()
        with socket.create_connection(service.address, timeout=LIMIT) as sock:
            sock.sendall(outgoing.read().replace(b"localhost", b"\xff\x1b[2J\n\xfe\xfd\x00"[:9]))
            try:
                while sock.recv(1000):
                    pass
            except ConnectionResetError:
                pass
        service.wait("abandoned")
        assert b"Traceback" not in service.errors
        assert b"\x1b" not in service.errors


def test_old_versions_and_weak_ciphers_are_refused(reactor, authority):
    with Service(reactor, "Echo", certificate=authority.issue("localhost")) as service:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.ca.configure_trust(context)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError), connected(service, context):  # noqa: PT011
            pass
        assert service.wait("abandoned")["cause"] == "tls-failed"
        weak = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.ca.configure_trust(weak)
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("ECDHE-ECDSA-AES128-SHA:AES128-SHA")
        with pytest.raises(OSError), connected(service, weak):  # noqa: PT011
            pass


@pytest.mark.parametrize(
    ("command", "cause"), [("reset", "handler-aborted"), ("because", "write-stall")]
)
def test_an_abort_is_a_reset_on_the_wire(reactor, authority, command, cause):
    with (
        Service(reactor, "Commanded", certificate=authority.issue("localhost")) as service,
        connected(service, authority.client()) as sock,
    ):
        sock.sendall(command.encode())
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            sock.recv(100)
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        assert state == 7, "TCP_CLOSE: it was a reset, not a FIN"
        assert service.wait("closed")["cause"] == cause


def test_a_close_says_farewell_properly(reactor, authority):
    with (
        Service(reactor, "Commanded", certificate=authority.issue("localhost")) as service,
        connected(service, authority.client()) as sock,
    ):
        sock.sendall(b"close")
        assert read_all(sock) == b"bye"  # raises SSLEOFError if the close_notify is missing
        assert service.wait("closed")["cause"] == "handler-closed"


def test_a_handler_that_raises_sends_no_farewell(reactor, authority):
    with (
        Service(
            reactor, "Failing", where="dataReceived", certificate=authority.issue("localhost")
        ) as service,
        connected(service, authority.client()) as sock,
    ):
        sock.sendall(b"x")
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            read_all(sock)
        assert service.wait("failed")["error"] == "dataReceived fails"


def test_renegotiation_is_refused_and_others_are_served(reactor, authority):
    openssl = pytest.importorskip("OpenSSL.SSL")
    with (
        Service(reactor, "Echo", certificate=authority.issue("localhost")) as service,
        socket.create_connection(service.address) as sock,
    ):
        sock.settimeout(None)
        client = openssl.Connection(openssl.Context(openssl.TLSv1_2_METHOD), sock)
        client.set_connect_state()
        client.do_handshake()
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        assert client.renegotiate()
        with pytest.raises(openssl.Error, match="no renegotiation"):
            client.do_handshake()
        with connected(service, authority.client()) as other:
            assert ask(other, b"served") == b"served"
