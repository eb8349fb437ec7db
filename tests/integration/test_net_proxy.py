"""The PROXY header on every reactor, on real sockets, with TLS and without."""

import json
import socket
import ssl

import pytest
import trustme
from helpers.net_service import LIMIT, REACTORS, Service
from helpers.proxy_vectors import HAPROXY_SSL, VALID

HEADER = VALID["v1 IPv4"][0]
V6 = VALID["v2 IPv6"][0]


@pytest.fixture(params=list(REACTORS))
def reactor(request):
    return request.param


@pytest.fixture
def files(tmp_path):
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    path = tmp_path / "server.pem"
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    return tmp_path


def connected(service):
    sock = socket.create_connection(service.address, timeout=LIMIT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def asked(sock, question):
    sock.sendall(question)
    return json.loads(sock.recv(1000))


def test_header_and_first_bytes_in_one_segment_and_one_by_one(reactor):
    with Service(reactor, "Commanded", header=True) as service:
        with connected(service) as sock:
            assert asked(sock, HEADER + b"who") == ["192.0.2.1", "198.51.100.2", "127.0.0.1"]
        with connected(service) as sock:
            for byte in V6:
                sock.sendall(bytes([byte]))
            assert asked(sock, b"who") == ["2001:db8::1", "2001:db8::2", "127.0.0.1"]
        with connected(service) as sock:
            assert asked(sock, HAPROXY_SSL + b"who") == ["127.0.0.1"] * 3
        assert service.wait("arriving", 3)["stage"] == "header"


def test_what_is_no_header_is_reset_and_the_next_is_served(reactor):
    with Service(reactor, "Echo", header=True) as service:
        for wrong in (b"GET / HTTP/1.0\r\n\r\n", HEADER.replace(b" 5000", b" 99999") + b"x" * 99):
            with connected(service) as sock:
                sock.sendall(wrong)
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
        with connected(service) as sock:
            sock.sendall(HEADER + b"hello")
            assert sock.recv(100) == b"hello"
        service.wait("abandoned", 2)
        assert [event["cause"] for event in service.all("abandoned")] == ["proxy-invalid"] * 2


def test_who_is_turned_away_by_his_true_address_is_closed(reactor):
    with Service(reactor, "Echo", header=True, turn_away=True) as service:
        with connected(service) as sock:
            sock.sendall(HEADER)
            assert sock.recv(1) == b""
        assert service.wait("identified")["peer"] == "192.0.2.1"
        assert not service.all("abandoned")


def test_tls_comes_after_the_header_be_it_in_the_same_segment(reactor, files):
    context = ssl.create_default_context(cafile=files / "ca.pem")
    options = {"header": True, "certificate": files / "server.pem"}
    with Service(reactor, "Commanded", **options) as service, connected(service) as sock:
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(into, out, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(V6 + out.read())
        while True:
            into.write(sock.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        tls.write(b"who")
        sock.sendall(out.read())
        while True:
            into.write(sock.recv(65536))
            try:
                answer = tls.read()
                break
            except ssl.SSLWantReadError:
                pass
        assert json.loads(answer) == ["2001:db8::1", "2001:db8::2", "127.0.0.1"]


def test_on_a_unix_socket(reactor, tmp_path):
    listen = f"unix:{tmp_path}/s"
    with Service(reactor, "Commanded", header=True, listen=listen) as service:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(LIMIT)
            sock.connect(f"{tmp_path}/s")
            for byte in HEADER:
                sock.sendall(bytes([byte]))
            assert asked(sock, b"who") == ["192.0.2.1", "198.51.100.2", None]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(LIMIT)
            sock.connect(f"{tmp_path}/s")
            sock.sendall(b"PROXY")
        assert service.wait("abandoned")["cause"] == "proxy-invalid"
