"""The files that a configuration names: those that can't be used are told where they are named."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import trustme
from helpers import pem

from tcpd.config.load import load
from tcpd.errors import ConfigErrors
from tcpd.registry import build_handler


def told(text: str, tmp_path: Path) -> list[str]:
    """Return what is wrong with a text, as `tcpd.toml` in a directory."""
    (tmp_path / "tcpd.toml").write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path / "tcpd.toml", build_handler)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


LISTENER = '[listeners.a]\nlisten = "tcp:0"\n'


def test_certificates_that_cannot_be_used_are_all_told_at_their_lines(tmp_path: Path) -> None:
    pem.write(tmp_path / "good.pem")
    (tmp_path / "other.pem").write_bytes(trustme.CA().private_key_pem.bytes())
    (tmp_path / "empty.pem").touch()
    text = """
[listeners.a]
listen = "tcp:99999"
[listeners.a.tls]
certificate = "empty.pem"
client_ca = "empty.pem"
sni = [
  { names = "x", certificate = "good.pem", key = "other.pem" },
  { names = "y", certificate = "good.pem" },
  { names = "z", certificate = "empty.pem" },
  { certificate = "none.pem" },
]
[connectors.c]
connect = "tcp:h:1"
tls = { cafile = "empty.pem", certificate = "good.pem", key = "none.pem" }
"""
    assert [re.sub(r" can't be read.*| \(.*", "", line) for line in told(text, tmp_path)] == [
        (
            "tcpd.toml:3: listeners.a.listen: 'tcp:99999' isn't a valid endpoint: port: expected a"
            " port from 0 to 65535, not '99999'"
        ),
        (
            "tcpd.toml:5: listeners.a.tls.certificate: empty.pem: it doesn't hold a"
            " certificate and a key in PEM"
        ),
        "tcpd.toml:6: listeners.a.tls.client_ca: empty.pem: no certificate in PEM is in it",
        (
            "tcpd.toml:8: listeners.a.tls.sni[0].key: other.pem: it doesn't belong to"
            " certificate good.pem"
        ),
        (
            "tcpd.toml:10: listeners.a.tls.sni[2].certificate: empty.pem: it doesn't hold a"
            " certificate and a key in PEM"
        ),
        (
            "tcpd.toml:11: listeners.a.tls.sni[3]: 'names' is missing; expected a host name"
            " such as 'example.org' or '*.example.org' or a list"
        ),
        "tcpd.toml:11: listeners.a.tls.sni[3].certificate: none.pem",
        "tcpd.toml:15: connectors.c.tls.key: none.pem",
        "tcpd.toml:15: connectors.c.tls.cafile: empty.pem: no certificate in PEM is in it",
    ]


def test_the_files_of_an_endpoint_string_are_told_at_its_line(tmp_path: Path) -> None:
    pem.write(tmp_path / "good.pem")
    (tmp_path / "bad.pem").touch()
    text = f"""
[listeners.a]
listen = [
  "ssl:1:{tmp_path}/good.pem",
  "ssl:2:{tmp_path}/bad.pem",
  "ssl:3:{tmp_path}/none.pem:certKey={tmp_path}/good.pem",
]
[connectors.c]
connect = "tls:h:1:trustRoots={tmp_path}/bad.pem"
"""
    assert [line.partition(" (")[0] for line in told(text, tmp_path)] == [
        (
            "tcpd.toml:5: listeners.a.listen[1]: certificate bad.pem and key bad.pem: one of"
            " them isn't valid PEM"
        ),
        "tcpd.toml:6: listeners.a.listen[2]: none.pem can't be read: No such file or directory",
        "tcpd.toml:9: connectors.c.connect: bad.pem: no certificate in PEM is in it",
    ]


def test_a_mistake_in_a_tls_table_does_not_hide_that_a_file_is_not_there(tmp_path: Path) -> None:
    text = LISTENER + 'tls = { certificate = "nope.pem", ky = "x" }\n'
    assert told(text, tmp_path) == [
        "tcpd.toml:3: listeners.a.tls.ky: unknown key; did you mean 'key'?",
        (
            "tcpd.toml:3: listeners.a.tls.certificate: nope.pem can't be read: No such file"
            " or directory"
        ),
    ]


def test_a_pipe_or_device_is_no_certificate_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pem")
    tls = 'tls = { certificate = "pipe.pem", client_ca = "pipe.pem", key = "/dev/zero" }\n'
    assert told(LISTENER + tls, tmp_path) == [
        "tcpd.toml:3: listeners.a.tls.certificate: pipe.pem isn't a regular file",
        "tcpd.toml:3: listeners.a.tls.key: /dev/zero isn't a regular file",
        "tcpd.toml:3: listeners.a.tls.client_ca: pipe.pem isn't a regular file",
    ]


def test_the_directory_of_a_servers_tls_endpoint_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    text = f'[listeners.a]\nlisten = ["tls:9999",\n"tls:{tmp_path}/certificates:port=9999"]\n'
    assert told(text, tmp_path) == [
        (
            "tcpd.toml:2: listeners.a.listen[0]: 'tls:' begins with a directory of"
            " certificates, and '9999' isn't one; for a single certificate write 'tcp:' and"
            " add a 'tls' table"
        ),
    ]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("none/x.log", "there is no directory none; make it first"),
        ("link.log", "link.log is a symbolic link; name its target"),
        ("directory", "directory is a directory, not a file"),
    ],
)
def test_the_log_must_be_able_to_be_written_where_it_shall_be(
    file: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "link.log").symlink_to(tmp_path / "target")
    (tmp_path / "directory").mkdir()
    assert told(LISTENER + f'[log]\nfile = "{file}"\n', tmp_path) == [
        f"tcpd.toml:4: log.file: {says}"
    ]
