"""Who uses a UNIX socket, asked of real ones."""

import errno
import os
import socket
from pathlib import Path
from unittest import mock

import pytest

from tcpd.net.unix_user import is_listened_to, user_of


@pytest.fixture
def listening(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen(0)
        yield os.fsencode(tmp_path / "s")


def test_the_process_that_listens(listening: bytes) -> None:
    assert user_of(listening) == f"process {os.getpid()}"


def test_of_another_name_space_there_is_no_number(listening: bytes) -> None:
    hidden = mock.Mock(return_value=bytes(12))  # as the kernel has it then
    with mock.patch.object(socket.socket, "getsockopt", hidden):
        assert user_of(listening) == "another process"


def test_a_full_backlog_is_in_use(listening: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(listening)
        with socket.socket(socket.AF_UNIX) as second:
            second.setblocking(False)
            with pytest.raises(BlockingIOError):  # what this is about
                second.connect(listening)
        assert user_of(listening) == "another process"


def test_a_datagram_socket_is_in_use(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "d")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        assert user_of(path) == "another process"
    assert user_of(path) is None


def test_what_may_not_be_asked_may_be_in_use(listening: bytes) -> None:
    refusal = PermissionError(errno.EACCES, "Permission denied")
    with mock.patch.object(socket.socket, "connect", side_effect=refusal):
        assert user_of(listening) == (
            f"another user, or left by one: user {os.geteuid()} may not connect to it"
        )


def test_a_socket_that_was_left_is_nobodys(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
    assert user_of(path) is None


def test_where_nothing_is_there_is_nobody_to_ask(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        user_of(os.fsencode(tmp_path / "s"))


def test_only_a_refusal_says_that_nobody_listens(listening: bytes, tmp_path: Path) -> None:
    assert is_listened_to(listening)
    dead = os.fsencode(tmp_path / "dead")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(dead)
        assert is_listened_to(dead)
    assert not is_listened_to(dead)


def test_our_own_new_socket_may_be_one_that_we_may_not_connect_to(listening: bytes) -> None:
    refusal = PermissionError(errno.EACCES, "Permission denied")  # a mode of 060, say
    with mock.patch.object(socket.socket, "connect", side_effect=refusal):
        assert not is_listened_to(listening)
