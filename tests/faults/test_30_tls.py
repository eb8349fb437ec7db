"""Row 30: sslscan; hostile TLS: garbage, renegotiation, old versions.

Must hold: nothing below TLS 1.2, no weak cipher; no traceback.

Best known: none measured.

sslscan looks at a listener with an ECDSA and at one with an RSA certificate. Weak is whatever isn't
authenticated encryption with forward secrecy. Then come peers that say what no client says, and
handshakes that break off at every byte; the daemon serves on.
"""

import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import warnings

import pytest
import trustme
from faults.harness import LOOPBACK, PATIENCE, certificate, tcpd
from faults.peers import ends
from faults.tls_peer import TLSPeer

CONFIG = f"""
[listeners.echo]
{LOOPBACK}
tls = {{ certificate = "server.pem" }}
[listeners.rsa]
{LOOPBACK}
tls = {{ certificate = "rsa.pem" }}
[listeners.plain]
{LOOPBACK}
"""


@pytest.fixture
def context(tmp_path):
    _pem, context = certificate(tmp_path)
    rsa = trustme.CA().issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    rsa.private_key_and_cert_chain_pem.write_to_path(tmp_path / "rsa.pem")
    return context


@pytest.mark.skipif(shutil.which("sslscan") is None, reason="sslscan isn't installed")
def test_a_scan_finds_nothing_old_and_nothing_weak(tmp_path, figure, context):
    with tcpd(tmp_path, CONFIG) as daemon:
        ciphers = set()
        for listener in ("echo", "rsa"):
            found = subprocess.run(
                ["sslscan", "--no-colour", f"127.0.0.1:{daemon.port(listener)}"],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
            ).stdout
            print(found)
            versions = dict(re.findall(r"^(SSLv\d|TLSv1\.\d) +(enabled|disabled)$", found, re.M))
            enabled = {version for version, state in versions.items() if state == "enabled"}
            assert set(versions) == {*OLD, *NEW}
            assert enabled == set(NEW)
            assert "Session renegotiation not supported" in found
            assert len(re.findall("not vulnerable to heartbleed", found)) == len(NEW)
            accepted = r"^(?:Preferred|Accepted) +(\S+) +(\d+) bits +(\S+)"
            ciphers |= {(name, int(bits)) for _, bits, name in re.findall(accepted, found, re.M)}
        weak = [name for name, bits in ciphers if bits < 128 or not is_modern(name)]
        figure(f"TLS 1.2 and 1.3 only, {len(weak)} of {len(ciphers)} ciphers weak")
        assert len(ciphers) >= 6
        assert weak == []


OLD = ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1")
NEW = ("TLSv1.2", "TLSv1.3")
OLD_VERSIONS = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)


def is_modern(cipher):
    """Return whether a cipher is authenticated encryption, and its keys are forgotten."""
    secret_for_ever = not cipher.startswith(("TLS_", "ECDHE-", "DHE-"))
    return not secret_for_ever and any(word in cipher for word in ("GCM", "CHACHA20", "CCM"))


def record(kind, body, version=0x0303):
    return struct.pack(">BHH", kind, version, len(body)) + body


def hostile_openings(hello):
    """Give what peers may say in place of a hello."""
    yield from (b"\0" * 4096, b"\xff" * 4096, os.urandom(4096), b"GET / HTTP/1.0\r\n\r\n")
    yield b"\x80\x2e\x01\x00\x02" + bytes(44)  # SSLv2's hello
    yield record(22, b"") * 1000  # empty records
    yield record(20, b"\1") * 100  # ChangeCipherSpec, again and again
    yield record(21, b"\2\x28")  # a fatal alert
    yield record(24, b"\1\x40\0" + b"x" * 16)  # a heartbeat that asks for 16 KB
    yield record(23, bytes(16384))  # data before any key
    yield record(22, b"\1\xff\xff\xff" + bytes(8000))  # a hello of 16 MB
    yield record(22, bytes(20000)[:16640])  # a record that is too long
    yield hello[:5] + b"\x02" + hello[6:]  # a hello that calls itself the server's
    yield hello + hello
    yield hello + os.urandom(1000)
    for at in range(0, len(hello), 7):  # one bit is wrong, somewhere
        yield hello[:at] + bytes([hello[at] ^ 0x10]) + hello[at + 1 :]
    for at in range(0, len(hello), 7):
        yield hello[:at]
    for at in range(9, 200, 13):  # many small records
        pieces = [hello[5:][begin : begin + at] for begin in range(0, len(hello) - 5, at)]
        yield b"".join(record(22, piece) for piece in pieces) + os.urandom(100)


def test_hostile_peers(tmp_path, figure, context):
    with tcpd(tmp_path, CONFIG) as daemon:
        daemon.assert_serves("plain")
        base = daemon.descriptors_at_rest()
        with socket.socket() as unused:
            openings = list(hostile_openings(TLSPeer(context, unused).hello()))
        for opening in openings:
            with daemon.connect("echo") as sock:
                try:
                    sock.sendall(opening)
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    continue
                assert ends(sock, 5.0), opening[:100]
        refused = [refuses_version(daemon, version) for version in OLD_VERSIONS]
        renegotiates(daemon)
        left = daemon.descriptors_back_to(base)
        with daemon.connect("echo") as sock:
            peer = TLSPeer(context, sock)
            peer.handshake()
            sock.sendall(peer.last_words(b"hello"))
            assert peer.receive_all() == b"hello"
        figure(f"{len(openings)} hostile openings, no traceback")
        assert all(refused)
        assert left == 0


def refuses_version(daemon, version):
    """Return whether a client that speaks no more than an old version is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with daemon.connect("echo") as sock:
        try:
            context.wrap_socket(sock).close()
        except ssl.SSLError as error:
            print(error)
            return "ALERT" in str(error)
    return False


def renegotiates(daemon):
    """Ask for renegotiation in an open TLS 1.2 session, as openssl's R command does."""
    client = subprocess.Popen(
        ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{daemon.port('echo')}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    )
    said = b""
    try:
        while b"Extended master secret" not in said:
            data = client.stdout.read(65536)
            assert data, said
            said += data
        client.stdin.write(b"R\n")
        client.stdin.write(b"hello\n")
        said += client.communicate(timeout=PATIENCE)[0]
    finally:
        client.kill()
        client.wait()
    print(said[-500:].decode(errors="replace"))
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said or b"handshake failure" in said
