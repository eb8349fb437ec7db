"""Row 20: ESC, CR, LF, C1, NUL, broken UTF-8 in data, in PROXY addresses, in TLS names.

Must hold: no raw control byte in any log; log lines = events.

Best known: nginx.

Peers send them to handlers that record, that find no answer, and that put them into an exception;
as the name of the server and of the protocol in a ClientHello, and as the name in a client's
certificate, which a handler logs. Some of them look like log lines. The log is written as text and
as JSON, and recordings to a file.
"""

import contextlib
import json
import socket
import ssl

import pytest
import trustme
from faults.harness import LOOPBACK, receive_all, tcpd, wait_until

HOSTILE = [
    b"\x1b[2J\x1b]0;title\x07",
    b"a\r\n2001-01-01T00:00:00.000Z info: forged",
    b"\x9b31m \xc2\x9b31m",
    b"\0\0\0",
    b"\xff\xfe\xc3( \xed\xa0\x80",
    b"\xe2\x80\xa8 \xe2\x80\xa9 \xc2\x85 \x0b\x0c\x1c",
    b"%s {0} {session} {log_format!r} \x7f",
]
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
[listeners.strict]
{LOOPBACK}
tls = {{ certificate = "server.pem" }}
"""


def clear(data):
    """Return whether bytes are UTF-8 that steers no terminal and ends no line but by LF."""
    text = data.decode()
    lines = text.split("\n")
    return all(line.isprintable() or not line for line in lines)


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
        sessions = 4 * len(HOSTILE) + len(clients)
        wait_until("every session", lambda: daemon.log.count(" bytes in, ") >= sessions)
        lines = daemon.log.splitlines()
        events = [line for line in lines if line[:1] == "{" or line[:2] == "20"]
        about = {
            "a session's end": (sessions, " bytes in, "),
            "the first that had no session": (1, " was gone before its session began"),
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
