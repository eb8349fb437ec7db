"""Twisted's endpoints through `Network`, on every reactor."""

import subprocess
import sys

import pytest
import trustme
from helpers import net_clients
from helpers.net_service import REACTORS


@pytest.mark.parametrize("reactor", list(REACTORS))
def test_every_way_to_listen_and_to_connect(reactor, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other_ca.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    ran = subprocess.run(
        [sys.executable, net_clients.__file__, REACTORS[reactor], str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "tcp",
        "tcp6, dual-stack",
        "unix",
        "systemd",
        "adopted",
        "tls",
        "tls verified",
        "tls timed out and cancelled",
        "done",
    ]
