"""A scrape of a real tcpd, over HTTP, after a bit of everything has happened to it."""

import re
import shutil
import socket
import ssl
import subprocess
import time
from urllib.request import urlopen

import pytest
import trustme
from helpers.daemon import PATIENCE, receive_all, tcpd
from prometheus_client.parser import text_string_to_metric_families

from tcpd.admin.metric_table import METRICS

FAILS = """
from twisted.internet.protocol import Protocol

class Fails(Protocol):
    def dataReceived(self, data):
        raise RuntimeError("not this")
"""
CONFIG = """
[listeners.echo]
listen = "tcp:0:interface=127.0.0.1"
limits = { sessions = 2 }

[listeners.failing]
listen = "tcp:0:interface=127.0.0.1"
handler = "./fails.py:Fails"

[listeners.secure]
listen = "tcp:0:interface=127.0.0.1"
tls = { certificate = "cert.pem" }
deadlines = { idle = "1s" }

[connectors.nowhere]
connect = "unix:nobody"

[sinks.file]
kind = "jsonl"
options = { path = "events.jsonl" }

[admin]
listen = "tcp:0:interface=127.0.0.1"
"""


def scrape(daemon):
    """Return the text of a scrape, and each value by its name and labels (handler, listener)."""
    with urlopen(f"http://127.0.0.1:{daemon.port('admin')}/metrics", timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return text, values


def once(daemon, condition):
    """Scrape until a condition holds; gives what was scraped then."""
    end = time.monotonic() + PATIENCE
    while True:
        text, values = scrape(daemon)
        if condition(values):
            return text, values
        assert time.monotonic() < end, text
        time.sleep(0.1)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "tcpd.toml").write_text(CONFIG)
    (tmp_path / "fails.py").write_text(FAILS)
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    return tmp_path


def test_a_scrape_tells_of_all_that_has_happened(directory) -> None:
    with tcpd("--config", "tcpd.toml", cwd=directory) as daemon:
        ports = {name: daemon.port(name) for name in ("echo", "failing", "secure", "admin")}
        assert all(ports.values())
        # Two sessions, of which one has moved bytes, and a third that is one too many.
        first, second = daemon.connect("echo"), daemon.connect("echo")
        first.sendall(b"hello")
        assert first.recv(100) == b"hello"
        with daemon.connect("echo") as third:
            assert third.recv(1) == b""
        # A handler that fails.
        with daemon.connect("failing") as peer:
            peer.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
        # A handshake, a session that is idle for too long, and no handshake.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(daemon.connect("secure")) as peer:
            assert peer.recv(1) == b""
        with daemon.connect("secure") as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
            peer.shutdown(socket.SHUT_WR)
            receive_all(peer)
        # A peer that doesn't read until it is held.
        second.setblocking(False)
        text, numbers = once(daemon, lambda now: pushed(second, now))
        assert numbers["tcpd_sessions_open", "echo", "echo"] == 2
        assert numbers["tcpd_sessions_refused_total", "echo", "sessions"] == 1
        assert numbers["tcpd_sessions_limit", "echo"] == 2
        assert numbers["tcpd_received_bytes_total", "echo", "echo"] > 5
        failing = ("./fails.py:Fails", "failing")
        assert numbers["tcpd_handler_failures_total", *failing] == 1
        assert numbers["tcpd_sessions_closed_total", *failing, "handler-failed"] == 1
        assert numbers["tcpd_tls_handshakes_total", "secure"] == 1
        assert numbers["tcpd_tls_handshake_failures_total", "secure"] == 1
        assert numbers["tcpd_deadlines_fired_total", "secure", "idle"] == 1
        assert numbers["tcpd_session_duration_seconds_bucket", "echo", "10.0", "secure"] == 1
        assert numbers["tcpd_connector_failed_tries_total", "nowhere"] >= 1
        assert numbers["tcpd_connector_up", "nowhere"] == 0
        assert numbers["tcpd_sink_records_written_total", "file"] > 3
        assert numbers["tcpd_loop_lag_seconds_count",] > 0
        assert numbers["process_open_fds",] > 5
        # The admin side's own sessions are nobody's business.
        assert 'listener="admin"' not in text
        assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == {m.name for m in METRICS}
        if shutil.which("promtool") is not None:
            command = ["promtool", "check", "metrics"]
            check = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
            assert (check.returncode, check.stderr) == (0, b"")
        first.close()
        second.close()
        assert daemon.stop() == 0


def pushed(peer, numbers):
    """Push to a peer that echoes, and return whether it has stopped reading."""
    try:
        while True:
            peer.send(b"x" * 65536)
    except BlockingIOError:
        return numbers["tcpd_backpressure_pauses_total", "echo", "echo"] > 0
