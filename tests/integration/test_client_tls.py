"""`tcpd-client --tls`: certificates good and bad, a stream that is cut, and what is said of it."""

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers.client_run import LIMIT, Peer, echo, run_client, start_client, until_gone


class Authority:
    """An authority, its file, and contexts of servers that it signed for."""

    def __init__(self, directory: Path, name: str) -> None:
        self.ca = trustme.CA()
        self.file = directory / f"{name}.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str, clients: "Authority | None" = None, **more: Any) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names, **more).configure_cert(context)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            clients.ca.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "theirs")


def polite(connection: Any) -> None:
    """Echo until the client's close_notify, then say our own."""
    while data := connection.recv(65536):
        connection.sendall(data)
    with contextlib.suppress(OSError):
        connection.unwrap()


def test_a_good_certificate_is_accepted_and_told_of(ours: Authority) -> None:
    with Peer(polite, tls=ours.server("localhost")) as peer:
        done = run_client(
            "localhost", peer.port, "--tls", "--cafile", ours.file, "-v", stdin=b"hello"
        )
        form = run_client(f"tls:localhost:{peer.port}", "--cafile", ours.file, stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"hello", 0)
    assert (form.stdout, form.returncode, form.stderr) == (b"hello", 0, b"")
    said = done.stderr.decode()
    assert "TLSv1.3, TLS_" in said
    assert "certificate for localhost (handshake in " in said


def test_an_address_can_be_verified_too(ours: Authority) -> None:
    with Peer(polite, tls=ours.server("127.0.0.1")) as peer:
        done = run_client(peer.address, "--tls", "--cafile", ours.file, stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"hello", 0)


def test_megabytes_pass_both_ways(ours: Authority) -> None:
    data = bytes(range(256)) * 20_000
    with Peer(polite, tls=ours.server("localhost")) as peer:
        done = run_client(f"localhost:{peer.port}", "--tls", "--cafile", ours.file, stdin=data)
    assert (done.stdout == data, done.returncode, done.stderr) == (True, 0, b"")


def test_what_the_peer_says_after_our_end_comes_out(ours: Authority) -> None:
    def answer(connection: Any) -> None:
        said = b""
        while data := connection.recv(100):
            said += data
        connection.sendall(b"you said " + said)
        with contextlib.suppress(OSError):
            connection.unwrap()

    with Peer(answer, tls=ours.server("localhost")) as peer:
        done = run_client(f"localhost:{peer.port}", "--tls", "--cafile", ours.file, stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"you said hello", 0)


def refused(peer: Peer, *arguments: object) -> str:
    done = run_client(*arguments, "--tls", "--reconnect", stdin=b"hello")
    peer.failures.clear()  # the server's side of the refusal
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1  # --reconnect doesn't try again what can't get better
    return done.stderr.decode()


def test_a_certificate_for_another_name_is_refused_with_the_way_out(ours: Authority) -> None:
    with Peer(echo, tls=ours.server("other.example")) as peer:
        said = refused(peer, f"localhost:{peer.port}", "--cafile", ours.file)
    assert "its certificate is not for 'localhost'; --servername checks another name" in said


def test_servername_is_the_name_that_is_checked(ours: Authority) -> None:
    with Peer(polite, tls=ours.server("other.example")) as peer:
        arguments = [peer.address, "--tls", "--cafile", ours.file, "--servername"]
        done = run_client(*arguments, "other.example", stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"hello", 0)


def test_an_unknown_authority_is_refused_with_the_way_out(
    ours: Authority, theirs: Authority
) -> None:
    with Peer(echo, tls=theirs.server("localhost")) as peer:
        said = refused(peer, f"localhost:{peer.port}", "--cafile", ours.file)
        by_default = refused(peer, f"localhost:{peer.port}")
    for text in (said, by_default):
        assert "no authority we trust has signed its certificate; --cafile names one" in text
        assert "--insecure connects all the same" in text


def test_insecure_accepts_any_certificate(theirs: Authority) -> None:
    with Peer(polite, tls=theirs.server("other.example")) as peer:
        done = run_client(peer.address, "--tls", "--insecure", "-v", stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"hello", 0)
    assert b"it was not checked" in done.stderr


def test_an_expired_certificate_is_refused(ours: Authority) -> None:
    import datetime

    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    with Peer(echo, tls=ours.server("localhost", not_after=past)) as peer:
        said = refused(peer, f"localhost:{peer.port}", "--cafile", ours.file)
    assert "its certificate has expired" in said


def test_a_peer_that_speaks_no_tls_is_named_as_such() -> None:
    with Peer(lambda c: c.sendall(b"220 mail.example ESMTP\r\n") or until_gone(c)) as peer:
        said = refused(peer, peer.address)
    assert "speaks no TLS; leave --tls out" in said


def test_a_peer_that_hangs_up_at_the_handshake_is_named() -> None:
    with Peer(lambda c: c.recv(10000)) as peer:
        done = run_client(peer.address, "--tls")
    assert done.returncode == 1
    assert b"it hung up during the TLS handshake" in done.stderr


@pytest.fixture
def own(ours: Authority, tmp_path: Path) -> tuple[Path, Path, Path]:
    certificate = ours.ca.issue_cert("me@example.org")
    both, alone, key = tmp_path / "both.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(both))
    certificate.cert_chain_pems[0].write_to_path(str(alone))
    certificate.private_key_pem.write_to_path(str(key))
    return both, alone, key


def test_a_certificate_of_our_own_is_shown(ours: Authority, own: tuple[Path, Path, Path]) -> None:
    both, alone, key = own
    with Peer(polite, tls=ours.server("localhost", clients=ours)) as peer:
        arguments = [f"localhost:{peer.port}", "--tls", "--cafile", ours.file]
        for shown in (["--cert", both], ["--cert", alone, "--key", key]):
            done = run_client(*arguments, *shown, stdin=b"hello")
            assert (done.stdout, done.returncode) == (b"hello", 0)
        without = run_client(*arguments, "-N", stdin=b"hello")
        peer.failures.clear()
    assert without.returncode == 1
    assert b"perhaps it demands a certificate (--cert)" in without.stderr


@pytest.mark.parametrize("flags", [["--cafile", "none"], ["--cert", "none"]])
def test_a_file_that_can_not_be_used_is_named(flags: list[str]) -> None:
    done = run_client("localhost:1", "--tls", *flags)
    assert done.returncode == 1
    assert b"none: No such file or directory" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_stream_that_is_cut_without_goodbye_is_an_error(ours: Authority) -> None:
    def cut(connection: Any) -> None:
        connection.recv(100)
        connection.sendall(b"half of i")
        # The socket beneath ends, and TLS never says so.
        raw = socket.socket(fileno=connection.detach())
        raw.shutdown(socket.SHUT_WR)
        until_gone(raw)

    with (
        Peer(cut, tls=ours.server("localhost")) as peer,
        start_client(f"localhost:{peer.port}", "--tls", "--cafile", ours.file) as client,
    ):
        client.stdin.write(b"hello")
        assert client.wait(LIMIT) == 1
        assert client.stdout.read() == b"half of i"
        assert b"without TLS's own goodbye (close_notify)" in client.stderr.read()
