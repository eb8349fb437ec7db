"""Row 20: ESC, CR, LF, C1, NUL, broken UTF-8 in data, in PROXY addresses, in TLS names.

Must hold: no raw control byte in any log; log lines = events.

Best known: nginx.

Peers send them to handlers that record, that find no answer, and that put them into an exception;
as the name of the server and of the protocol in a ClientHello, and as the name in a client's
certificate; as the addresses in a PROXY header, and as what else it tells. A handler logs all that.
Some of them look like log lines. The log is written as text and as JSON, and recordings to a file.
"""

import contextlib
import json
import socket
import ssl

import pytest
import trustme
from faults.control import HOSTILE, clear
from faults.harness import LOOPBACK, tcpd, wait_until
from faults.peers import receive_all
from faults.proxy_vectors import checked, tcp4, tlv
from faults.proxy_vectors import ssl as ssl_tlv

NAMES = [each.decode("ascii") for each in HOSTILE if each.isascii()]
HANDLERS = """
from twisted.internet.protocol import Factory, Protocol

class Crashes(Protocol):
    def dataReceived(self, data):
        raise ValueError(data.decode("utf-8", "surrogateescape"))

class Names(Factory):
    def buildSession(self, session):
        protocol = Told()
        protocol.session = session
        return protocol

class Told(Protocol):
    def dataReceived(self, data):
        names = self.transport.tls
        self.session.log.info("names {names}", names=repr(names))
        for each in (names.server_name, names.alpn, *names.peer_names):
            self.session.log.info("a name {name}", name=each)
        self.transport.loseConnection()

class Proxied(Factory):
    def buildSession(self, session):
        protocol = Claims()
        protocol.session = session
        return protocol

class Claims(Protocol):
    def dataReceived(self, data):
        proxy = self.session.proxy
        self.session.log.info("a proxy says {proxy}", proxy=repr(proxy))
        for each in (proxy.authority, proxy.alpn, proxy.unique_id, proxy.ssl.common_name):
            self.session.log.info("a claim {claim}", claim=each)
        self.transport.loseConnection()
"""
CONFIG = f"""
[listeners.records]
{LOOPBACK}
handler = "logging"
[listeners.files]
{LOOPBACK}
handler = "logging"
options = {{ path = "recording" }}
[listeners.silent]
{LOOPBACK}
handler = "reply"
options = {{ framing = "raw", rules = [ {{ match = "x", reply = "y" }} ] }}
[listeners.crashes]
{LOOPBACK}
handler = "handlers.py:Crashes"
[listeners.tls]
{LOOPBACK}
handler = "handlers.py:Names"
tls = {{ certificate = "server.pem", client_ca = "ca.pem", alpn = {json.dumps(NAMES)} }}
[listeners.proxied]
{LOOPBACK}
handler = "handlers.py:Proxied"
proxy = {{ trusted = ["127.0.0.1"] }}
[listeners.strict]
{LOOPBACK}
tls = {{ certificate = "server.pem" }}
"""


def false_header(data):
    """Return a PROXY header with hostile addresses."""
    return b"PROXY TCP4 %s %s 1 2\r\n" % (data, data)


def telling_header(data):
    """Return a valid PROXY header that tells hostile names."""
    names = [tlv(kind, data) for kind in (0x01, 0x02, 0x05)]
    return checked(tcp4() + b"".join(names) + ssl_tlv(1, 0, tlv(0x22, data)))


def names(directory):
    """Make the server's certificate, and clients that have hostile names of their own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    for name in NAMES:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        authority.configure_trust(context)
        authority.issue_cert(common_name=name).configure_cert(context)
        context.set_alpn_protocols([name])
        yield name, context


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_a_peer_sends_steers_a_log(tmp_path, figure, form):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    clients = list(names(tmp_path))
    config = f"{CONFIG}\n[log]\nformat = '{form}'\n"
    with tcpd(tmp_path, config, tracebacks=True) as daemon:
        for data in HOSTILE:
            for listener in ("records", "files", "silent", "crashes", "strict"):
                with daemon.connect(listener) as sock:
                    with contextlib.suppress(OSError):  # it may be quicker
                        sock.sendall(data)
                        sock.shutdown(socket.SHUT_WR)
                    receive_all(sock)
        for name, context in clients:
            with daemon.connect("tls") as sock:
                server = name.replace("\0", "0")  # no client of OpenSSL's asks for a NUL
                with context.wrap_socket(sock, server_hostname=server) as inside:
                    inside.sendall(b"x")
                    assert inside.selected_alpn_protocol() == name
                    receive_all(inside)
        for data in HOSTILE:
            for header in (false_header(data), telling_header(data)):
                with daemon.connect("proxied") as sock:
                    with contextlib.suppress(OSError):
                        sock.sendall(header + b"x")
                    receive_all(sock)
        told_by_proxy = len(HOSTILE)
        sessions = 4 * len(HOSTILE) + len(clients) + told_by_proxy
        wait_until("every session", lambda: daemon.log.count(" bytes in, ") >= sessions)
        lines = daemon.log.splitlines()
        events = [line for line in lines if line[:1] == "{" or line[:2] == "20"]
        about = {
            "a session's end": (sessions, " bytes in, "),
            "the first of each kind that had no session": (2, " was gone before its session began"),
            "what a proxy said": (told_by_proxy, "a proxy says "),
            "a claim": (4 * told_by_proxy, ": a claim " if form == "text" else '"a claim '),
            "what was recorded": (len(HOSTILE), " in 0+"),
            "what had no answer": (len(HOSTILE), "no rule"),
            "names": (len(clients), "names TLS"),
            "a name": (3 * len(clients), ": a name " if form == "text" else '"a name '),
        }
        raw = daemon.log_path.read_bytes()
        recorded = (tmp_path / "recording").read_bytes()
        told = {what: sum(text in line for line in events) for what, (_, text) in about.items()}
        figure(f"{form}: no raw control byte in {len(events)} records")
        assert clear(raw)
        assert clear(recorded)
        assert told == {what: count for what, (count, _) in about.items()}
        assert recorded.count(b"\n") == len(HOSTILE)
        assert not any(line.startswith("2001-") for line in [*lines, *recorded.decode().split()])
        if form == "json":
            assert len([json.loads(line) for line in lines]) == len(events)
        else:  # what is no event belongs to a traceback
            assert all(line.startswith("    ") for line in lines if line not in events)
