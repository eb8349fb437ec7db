"""Sessions keep their attributes where CPython finds them fastest: in no dict of their own.

An instance gets one when somebody asks for its `__dict__`, or when its class has more attributes
than CPython shares (30). Every message after that takes longer, unseen.
"""

import ssl
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from helpers.daemon import Daemon, tcpd

HANDLER = '''
"""Tells what a session's transport is made of."""

import gc

from twisted.internet.protocol import Protocol


class Tells(Protocol):
    def dataReceived(self, data):
        transport = self.transport
        transport.tcp_info()
        transport.logPrefix()
        repr(transport)
        transport.getHost()
        dicts = sum(type(each) is dict for each in gc.get_referents(transport))
        transport.write(f"{type(transport).__name__} {dicts}".encode())
'''
CONFIG = """
[listeners.plain]
listen = "tcp:0:interface=127.0.0.1"
handler = "tells.py:Tells"
[listeners.behind]
listen = "tcp:0:interface=127.0.0.1"
handler = "tells.py:Tells"
proxy = { trusted = "127.0.0.1" }
[listeners.tls]
listen = "tcp:0:interface=127.0.0.1"
handler = "tells.py:Tells"
tls = { certificate = "server.pem", key = "key.pem" }
"""
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n"


def told(daemon: Daemon, listener: str, first: bytes, trust: ssl.SSLContext | None) -> bytes:
    """Return what a new session tells of itself."""
    with ExitStack() as stack:
        sock = stack.enter_context(daemon.connect(listener))
        if trust is not None:
            sock = stack.enter_context(trust.wrap_socket(sock, server_hostname="localhost"))
        sock.sendall(first + b"?")
        return sock.recv(100)


@pytest.mark.parametrize("reactor", ["tcpd", "epoll"])
def test_no_session_has_a_dict_of_its_own(tmp_path: Path, reactor: str) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    (tmp_path / "tells.py").write_text(HANDLER)
    (tmp_path / "tcpd.toml").write_text(CONFIG)
    with tcpd("--config=tcpd.toml", cwd=tmp_path, twistd=(f"--reactor={reactor}",)) as daemon:
        # What a class shares is settled by its first instances, so the richest come first.
        for _ in range(3):
            if sys.version_info < (3, 13):  # later ones have too many attributes, without slots
                assert told(daemon, "behind", HEADER, None) == b"Server 0"
                assert told(daemon, "tls", b"", trust) == b"TLSServer 0"
            assert told(daemon, "plain", b"", None) == b"Server 0"
