"""`[admin]`: who could reach it, and the token that guards it."""

import os
import stat
from pathlib import Path

import pytest

from tcpd.config.admin import in_others_sight, open_to_others
from tcpd.config.dump import dump
from tcpd.config.load import load
from tcpd.config.schema import Config
from tcpd.errors import ConfigErrors
from tcpd.registry import build_handler

TOKEN = "0123456789abcdef"


@pytest.fixture
def read(tmp_path: Path):
    def read(admin: str, more: str = "") -> Config:
        listener = '[listeners.echo]\nlisten = "tcp:9999"\n'
        (tmp_path / "tcpd.toml").write_text(f"[admin]\n{admin}\n{listener}{more}")
        return load(tmp_path / "tcpd.toml", build_handler)

    return read


@pytest.fixture
def token(tmp_path: Path):
    def write(text: str | bytes = TOKEN, mode: int = 0o600) -> Path:
        path = tmp_path / "token"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    return write


def problems(read, *arguments) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(*arguments)
    return [f"{each.problem}; {each.hint}".rstrip("; ") for each in caught.value.errors]


def test_there_is_none_unless_it_is_asked_for(tmp_path):
    (tmp_path / "tcpd.toml").write_text('[listeners.echo]\nlisten = "tcp:9999"')
    assert load(tmp_path / "tcpd.toml", build_handler).admin is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp:9990:interface=127.0.0.1",
        "tcp:9990:interface=127.8.8.8",
        r"tcp6:9990:interface=\\:\\:1",
        "unix:/run/admin.sock",
        "systemd:INET:name=admin",
    ],
)
def test_what_only_this_machine_reaches_needs_no_token(read, endpoint):
    assert read(f'listen = "{endpoint}"').admin.token is None


@pytest.mark.parametrize(
    "endpoint",
    ["tcp:9990", "tcp6:9990", "tcp:9990:interface=0.0.0.0", "tcp:9990:interface=192.0.2.1"],
)
def test_what_others_may_reach_needs_a_token(read, token, endpoint):
    (problem,) = problems(read, f'listen = "{endpoint}"')
    assert problem.startswith("other machines may reach ")
    assert "add 'token_file'" in problem
    token()
    config = read(f'listen = "{endpoint}"\ntoken_file = "token"')
    assert config.admin.token == TOKEN
    assert open_to_others(config.admin)


def test_the_place_of_the_address_is_told(read):
    with pytest.raises(ConfigErrors) as caught:
        read('listen = ["unix:/run/a.sock", "tcp:9990"]')
    assert "tcpd.toml:2: admin.listen[1]: " in str(caught.value)


def test_whitespace_around_the_token_doesnt_count(read, token):
    token(f"  {TOKEN}\r\n\n")
    assert read('listen = "unix:/a"\ntoken_file = "token"').admin.token == TOKEN


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "there is no token in"),
        (" \n", "there is no token in"),
        ("short", "has less than 16 characters"),
        ("x" * 1025, "has more than 1024 characters"),
        (f"{TOKEN} {TOKEN}", "isn't one word of printable ASCII"),
        (b"\xff" * 20, "isn't one word of printable ASCII"),
    ],
)
def test_a_token_that_is_none(read, token, content, words):
    token(content)
    (problem,) = problems(read, 'listen = "unix:/a"\ntoken_file = "token"')
    assert words in problem
    assert "openssl rand -hex 32" in problem


def test_a_token_file_that_cant_be_read(read, tmp_path):
    (problem,) = problems(read, 'listen = "unix:/a"\ntoken_file = "token"')
    assert "can't be read: No such file or directory" in problem
    (tmp_path / "token").mkdir()
    (problem,) = problems(read, 'listen = "unix:/a"\ntoken_file = "token"')
    assert "can't be read: Is a directory" in problem


def test_a_pipe_isnt_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "token")
    (problem,) = problems(read, 'listen = "unix:/a"\ntoken_file = "token"')
    assert "isn't a regular file" in problem


@pytest.mark.parametrize(
    ("mode", "warned"),
    [(0o600, False), (0o640, False), (0o400, False), (0o644, True), (0o660, True), (0o604, True)],
)
def test_a_token_that_others_see_is_warned_of(read, token, mode, warned):
    path = token(mode=mode)
    warning = in_others_sight(read('listen = "unix:/a"\ntoken_file = "token"').admin)
    assert bool(warning) is warned
    if warned:
        assert f"mode {mode:03o}" in warning
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_socket_is_its_owners_unless_something_else_is_said(read):
    config = read('listen = ["unix:/run/a.sock", "unix:/run/b.sock:mode=660"]')
    assert [each.options["mode"] for each in config.admin.listen] == ["600", "660"]


@pytest.mark.parametrize("section", ["listeners", "connectors"])
def test_its_name_is_its_own(read, section):
    key = "listen" if section == "listeners" else "connect"
    more = f'[{section}.admin]\n{key} = "tcp:host:7000"\n'.replace(
        "host:", "" if key == "listen" else "host:"
    )
    (problem,) = problems(read, 'listen = "unix:/a"', more)
    assert problem == "the admin side has this name ([admin]); choose another"


def test_it_shares_no_address_with_a_listener(read):
    (problem,) = problems(read, 'listen = "tcp:9999:interface=127.0.0.1"')
    assert "is taken by" in problem


def test_what_is_printed_has_no_token(read, token):
    token()
    config = read('listen = "unix:/a"\ntoken_file = "token"\nhosts = ["Status.Example"]')
    text = dump(config)
    assert TOKEN not in text
    assert TOKEN not in repr(config)
    assert 'listen = ["unix:/a:mode=600"]' in text
    assert 'hosts = ["status.example"]' in text


def test_another_token_in_the_same_file_is_the_same_configuration(read, token):
    token()
    one = read('listen = "unix:/a"\ntoken_file = "token"')
    token("another-token-altogether")
    assert read('listen = "unix:/a"\ntoken_file = "token"') == one
