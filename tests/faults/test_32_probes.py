"""Row 32: nmap's service probes as input to each built-in handler.

Must hold: no traceback; the daemon serves on.

Best known: none measured.

The hundred TCP probes of nmap's own list are what a scan of the internet sends: HTTP, TLS,
SMB, RDP, DNS, SIP, databases. Each goes to each handler, over TCP and inside TLS.
"""

import re
from pathlib import Path

import pytest
from faults.harness import LOOPBACK, PATIENCE, certificate, tcpd
from faults.peers import receive_all, wrap

from tcpd.registry import BUILT_IN

PROBES = Path("/usr/share/nmap/nmap-service-probes")
OPTIONS = {
    "reply": 'options = { default = "{{input}}", greeting = "hello" }',
    "logging": 'options = { banner = "220 ready\\n" }',
    "chargen": 'options = { limit = "10KiB" }',
}
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_LETTERS = {b"0": b"\0", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r"}
_LETTERS |= {b"t": b"\t", b"v": b"\v"}


def unescaped(text):
    """Return the bytes of a probe's text, which is escaped as in C."""

    def byte(match):
        what = match[1]
        return bytes([int(what[1:], 16)]) if what[:1] == b"x" else _LETTERS.get(what, what)

    return _ESCAPE.sub(byte, text)


def probes():
    """Return the texts of the TCP probes: `Probe TCP NAME q|TEXT|`, with any delimiter."""
    found = re.findall(rb"^Probe TCP \S+ q(.)(.*?)\1", PROBES.read_bytes(), re.MULTILINE)
    return [unescaped(text) for _delimiter, text in found]


def test_the_probes_are_read_as_nmap_does():
    assert unescaped(rb"\0\x1b\\a\r\n|") == b"\0\x1b\\a\r\n|"


@pytest.mark.skipif(not PROBES.exists(), reason="nmap's list of probes (nmap-common) isn't there")
def test_every_probe_to_every_handler(tmp_path, figure):
    _pem, context = certificate(tmp_path)
    config = "".join(
        f"[listeners.{name}]\n{LOOPBACK}\nhandler = '{name}'\n{OPTIONS.get(name, '')}\n"
        f"[listeners.{name}-tls]\n{LOOPBACK}\nhandler = '{name}'\n{OPTIONS.get(name, '')}\n"
        "tls = { certificate = 'server.pem' }\n"
        for name in BUILT_IN
    )
    texts = probes()
    assert len(texts) >= 90
    assert b"GET / HTTP/1.0\r\n\r\n" in texts
    with tcpd(tmp_path, config) as daemon:
        for name in BUILT_IN:
            for listener in (name, f"{name}-tls"):
                for text in texts:
                    with daemon.connect(listener) as sock:
                        say(sock, text)
            with daemon.connect(f"{name}-tls") as sock:  # one that does begin with TLS
                with wrap(context, sock) as inside:
                    inside.sendall(b"".join(texts))
        daemon.assert_serves("echo")
        figure(f"{len(texts)} probes to {len(BUILT_IN)} handlers, no traceback")
        errors = re.findall(r"^\S+Z (?:error|critical): .*$", daemon.log, re.MULTILINE)
        assert errors == []


def say(sock, text):
    sock.settimeout(PATIENCE)
    try:
        sock.sendall(text)
        sock.shutdown(1)
        receive_all(sock)
    except OSError:
        pass
