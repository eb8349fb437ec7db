"""What tcpdctl tells of a certificate, and that none can make it fail."""

import ssl
import subprocess
from datetime import UTC, datetime

import pytest
import trustme

from tcpd.ctl.certificate import certificate_facts


@pytest.fixture(scope="module")
def der() -> bytes:
    authority = trustme.CA(organization_name="A, B=C+D")
    until = datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC)
    issued = authority.issue_cert(
        "client.example", common_name="\x1b[2Jcliënt", not_after=until,
        not_before=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
    )  # fmt: skip
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def test_it_tells_who_from_whom_and_how_long(der: bytes) -> None:
    facts = certificate_facts(der)
    assert list(facts) == ["subject", "issuer", "valid", "size", "SHA-256"]
    assert facts["subject"].endswith(r", CN=\x1b[2Jcliënt")
    assert facts["issuer"].startswith(r"O=A\, B\=C\+D, OU=")
    assert facts["valid"] == "2020-01-02T03:04:05Z to 2051-02-03T04:05:06Z"
    assert facts["size"] == f"{len(der)} bytes"
    assert all(each.isprintable() for each in facts.values())


def test_the_fingerprint_is_the_one_that_openssl_tells(der: bytes) -> None:
    command = ["openssl", "x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256"]
    told = subprocess.run(command, input=der, capture_output=True, check=True).stdout.decode()
    assert told.strip().partition("=")[2] == certificate_facts(der)["SHA-256"]


def test_what_is_cut_or_spoilt_still_has_a_fingerprint(der: bytes) -> None:
    for end in range(len(der)):
        assert list(certificate_facts(der[:end])) == ["size", "SHA-256"]
    for at in range(len(der)):
        for value in (0x00, 0x30, 0x7F, 0x80, 0xFF):
            facts = certificate_facts(der[:at] + bytes([value]) + der[at + 1 :])
            assert "SHA-256" in facts
            assert all(each.isprintable() for each in facts.values())
