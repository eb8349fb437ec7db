"""tcpd behind HAProxy and nginx, and before them: who speaks to whom comes through."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers.daemon import BIN, PATIENCE, Daemon, receive_all, tcpd
from helpers.proxies import HAPROXY, NGINX, STREAM_MODULE, haproxy, nginx

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="HAProxy isn't installed")
needs_nginx = pytest.mark.skipif(
    NGINX is None or not STREAM_MODULE.exists(),
    reason="nginx with its stream module isn't installed",
)

GUIDE = (Path(__file__).parents[2] / "docs" / "proxy.md").read_text()
# A client that can be told from the proxy by its address.
CLIENT = "127.0.0.5"
WHO = '''
import dataclasses, json
from twisted.internet.protocol import Factory, Protocol

class Who(Factory):
    """Tell a client all that is known of it, in a line of JSON, then echo."""
    def buildSession(self, session):
        protocol = Tells()
        protocol.session = session
        return protocol

class Tells(Protocol):
    def connectionMade(self):
        session, proxy = self.session, self.session.proxy
        known = {**session.identity.fields(), "tls": self.transport.tls is not None}
        if proxy is not None:
            known.update(
                version=proxy.version, local=proxy.local, authority=proxy.authority,
                alpn=proxy.alpn, unique_id=(proxy.unique_id or b"").decode(),
                ssl=proxy.ssl and {**dataclasses.asdict(proxy.ssl), "verified": proxy.ssl.verified},
            )
        session.log.info("known: {known}", known=json.dumps(known))
        self.transport.write(json.dumps(known).encode() + b"\\n")

    def dataReceived(self, data):
        self.transport.write(data)
'''
MAIN = """
[listeners.main]
listen = "tcp:0:interface=127.0.0.1"
handler = "./who.py:Who"
proxy = { trusted = ["127.0.0.1"] }
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "who.py").write_text(WHO)
    return tmp_path


def run(place: Path, text: str = MAIN) -> Any:
    (place / "tcpd.toml").write_text(text)
    return tcpd("--config", "tcpd.toml", cwd=place)


def connect(address: tuple[str, int], source: str = CLIENT) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0))


def told(sock: socket.socket, said: bytes = b"hello\n") -> dict[str, Any]:
    """What tcpd knows of a connection; it has echoed what was said at once."""
    sock.sendall(said)
    lines = sock.makefile("rb")
    known: dict[str, Any] = json.loads(lines.readline())
    assert lines.readline() == said
    return known


def backend(daemon: Daemon, name: str, options: str) -> str:
    """A section of HAProxy's that passes connections on to tcpd."""
    server = f"server tcpd 127.0.0.1:{daemon.port('main')} {options}"
    return f"listen {name}\n  bind {{{name}}}\n  {server}\n"


@needs_haproxy
@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_behind_haproxy_the_clients_address_is_the_peers(place: Path, option: str) -> None:
    with (
        run(place) as daemon,
        haproxy(place, backend(daemon, "front", option), {"front": "127.0.0.1"}) as at,
        connect(at["front"]) as sock,
    ):
        known = told(sock)
        host, port = sock.getsockname()
        assert (known["client.address"], known["client.port"]) == (host, port)
        assert known["network.local.address"] == f"127.0.0.1:{at['front'][1]}"
        assert known["network.peer.address"] == "127.0.0.1"
        assert known["version"] == (2 if option.endswith("v2") else 1)
        sock.close()
        daemon.wait_for(rf"{CLIENT}:{port} -> main .* peer-closed")


@needs_haproxy
@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_a_client_over_ipv6_keeps_its_address_on_the_way_over_ipv4(
    place: Path, option: str
) -> None:
    with (
        run(place) as daemon,
        haproxy(place, backend(daemon, "front", option), {"front": "::1"}) as at,
        socket.create_connection(at["front"], timeout=PATIENCE) as sock,
    ):
        known = told(sock)
        assert (known["client.address"], known["client.port"]) == sock.getsockname()[:2]
        assert known["network.peer.address"] == "127.0.0.1"


@needs_haproxy
def test_what_haproxy_knows_of_the_clients_tls_comes_along(place: Path) -> None:
    ca = trustme.CA()
    for name in ("server", "client"):
        certificate = ca.issue_cert(f"{name}.example", common_name=f"A {name}")
        certificate.private_key_and_cert_chain_pem.write_to_path(place / f"{name}.pem")
    ca.cert_pem.write_to_path(place / "ca.pem")
    options = (
        "send-proxy-v2-ssl-cn proxy-v2-options"
        " ssl,cert-cn,cert-key,cert-sig,ssl-cipher,authority,crc32c,unique-id"
    )
    with run(place, MAIN + 'tls = { certificate = "server.pem" }\n') as daemon:
        # HAProxy takes the client's TLS off, and speaks TLS of its own with tcpd: the header is
        # between the two.
        section = backend(daemon, "front", f"ssl verify none {options}").replace(
            "{front}", "{front} ssl crt server.pem ca-file ca.pem verify optional alpn echo"
        )
        section += "  unique-id-format id-%[src]\n"
        context = ssl.create_default_context(cafile=place / "ca.pem")
        context.load_cert_chain(place / "client.pem")
        context.set_alpn_protocols(["echo"])
        with (
            haproxy(place, section, {"front": "127.0.0.1"}) as at,
            connect(at["front"]) as plain,
            context.wrap_socket(plain, server_hostname="server.example") as sock,
        ):
            known = told(sock)
    assert known["client.address"] == CLIENT
    assert known["tls"]
    assert known["authority"] == "server.example"
    assert known["alpn"] == "echo"
    assert known["unique_id"] == f"id-{CLIENT}"
    assert known["ssl"]["common_name"] == "A client"
    assert known["ssl"]["version"] == "TLSv1.3"
    assert known["ssl"]["cipher"].startswith("TLS_")
    assert known["ssl"]["used"]
    assert known["ssl"]["verified"]


@needs_haproxy
def test_the_guides_example_does_what_the_guide_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    handler, section, answer = (
        next(block for block in blocks if block.startswith(start))
        for start in ("from twisted", "frontend", "you are 127.0.0.5\nyou asked")
    )
    (tmp_path / "who.py").write_text(handler)
    ca = trustme.CA()
    for name in ("server", "client"):
        certificate = ca.issue_cert(f"{name}.example", common_name="Meter 17")
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    context.load_cert_chain(tmp_path / "client.pem")
    with run(tmp_path) as daemon:
        section = section.replace("bind :9999", "bind {front}")
        section = section.replace("127.0.0.1:9999", f"127.0.0.1:{daemon.port('main')}")
        with (
            haproxy(tmp_path, section, {"front": "127.0.0.1"}) as at,
            connect(at["front"]) as plain,
            context.wrap_socket(plain, server_hostname="server.example") as sock,
        ):
            assert receive_all(sock).decode() == answer


@needs_haproxy
def test_haproxys_health_checks_come_from_itself(place: Path) -> None:
    with (
        run(place) as daemon,
        haproxy(
            place,
            backend(daemon, "front", "check inter 100ms send-proxy-v2"),
            {"front": "127.0.0.1"},
        ),
    ):
        known = json.loads(daemon.wait_for(r"known: (\{.*\})")[1])
        assert known["local"]
        assert known["client.address"] == "127.0.0.1"
        assert "network.peer.address" not in known


@needs_haproxy
def test_who_is_no_trusted_proxy_is_not_believed(place: Path) -> None:
    with run(place, MAIN.replace('127.0.0.1"]', '192.0.2.1"]')) as daemon:
        section = backend(daemon, "front", "send-proxy")
        with haproxy(place, section, {"front": "127.0.0.1"}) as at, connect(at["front"]) as sock:
            try:
                assert receive_all(sock) == b""
            except ConnectionResetError:
                pass
        daemon.wait_for("it isn.t a proxy that is trusted")
        assert "known:" not in daemon.output


@needs_nginx
def test_behind_nginx_the_clients_address_is_the_peers(place: Path) -> None:
    with run(place) as daemon:
        server = (
            "server { listen {listen}; proxy_protocol on;"
            f" proxy_pass 127.0.0.1:{daemon.port('main')}; }}"
        )
        with nginx(place, server) as at, connect(at) as sock:
            known = told(sock)
            assert (known["client.address"], known["client.port"]) == sock.getsockname()
            assert known["version"] == 1


UPLINK = """
[connectors.up]
connect = "tcp:127.0.0.1:{port}"
handler = "./who.py:Who"
proxy = "{version}"
"""


@needs_haproxy
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_takes_a_connectors_header(place: Path, version: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        # It tells the server behind it in turn what it was told itself.
        behind = f"server s 127.0.0.1:{server.getsockname()[1]} send-proxy"
        section = f"listen front\n  bind {{front}} accept-proxy\n  {behind}\n"
        with haproxy(place, section, {"front": "127.0.0.1"}) as at:
            text = UPLINK.format(port=at["front"][1], version=version)
            with run(place, text) as daemon:
                accepted, _ = server.accept()
                with accepted, accepted.makefile("rb") as lines:
                    header = lines.readline().decode().split()
                    known = json.loads(lines.readline())
                daemon.wait_for("connector up has lost")
    own_host, _, own_port = known["network.local.address"].rpartition(":")
    assert header == ["PROXY", "TCP4", own_host, "127.0.0.1", own_port, str(at["front"][1])]
    assert known["client.port"] == at["front"][1]


def client(*arguments: str, said: bytes = b"") -> bytes:
    done = subprocess.run(
        [BIN / "tcpd-client", *arguments],
        input=said,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_nginx
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_takes_the_clients_header(tmp_path: Path, version: str) -> None:
    answer = 'return "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr";'
    with nginx(tmp_path, f"server {{ listen {{listen}} proxy_protocol; {answer} }}") as (
        host,
        port,
    ):
        source = ["--proxy", version, "--proxy-source", "203.0.113.7:5000"]
        assert client(host, str(port), *source) == b"203.0.113.7 5000 127.0.0.1"


@needs_haproxy
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_takes_the_clients_header_before_tls(place: Path, version: str) -> None:
    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(place / "server.pem")
    ca.cert_pem.write_to_path(place / "ca.pem")
    with run(place) as daemon:
        section = backend(daemon, "front", "send-proxy-v2").replace(
            "{front}", "{front} accept-proxy ssl crt server.pem"
        )
        with haproxy(place, section, {"front": "127.0.0.1"}) as at:
            said = client(
                *("--tls", "--cafile", str(place / "ca.pem"), "--servername", "localhost"),
                *("--proxy", version, "--proxy-source", "[2001:db8::7]:5000"),
                *("127.0.0.1", str(at["front"][1])),
                said=b"hello\n",
            )
    known, _, rest = said.partition(b"\n")
    assert json.loads(known)["client.address"] == "2001:db8::7"
    assert json.loads(known)["client.port"] == 5000
    assert rest == b"hello\n"
