"""The access log of a real daemon: one line a session, with the right numbers and reason."""

import json
import re
import select
import signal
import socket
import struct

import pytest
from helpers.daemon import PATIENCE, receive_all, tcpd

HANDLER = """
from twisted.internet.protocol import Protocol

class Behave(Protocol):
    def dataReceived(self, data):
        getattr(self, data.decode().strip(), lambda: self.transport.write(data))()

    def close(self):
        self.transport.write(b"bye")
        self.transport.loseConnection()

    def abort(self):
        self.transport.abortConnection()

    def fail(self):
        self.transport.write(b"never sent")
        raise ValueError("a\\x1b[2Jb\\r\\n2026-01-01 forged\\x85\\u202e\\x00 {log_level}")
"""


@pytest.fixture(params=["text", "json"])
def daemon(request, tmp_path):
    (tmp_path / "behave.py").write_text(HANDLER)
    (tmp_path / "tcpd.toml").write_text(
        "[listeners.main]\n"
        'listen = ["tcp:0:interface=127.0.0.1", "unix:s.sock"]\n'
        'handler = "./behave.py:Behave"\n'
        f'[log]\nformat = "{request.param}"\n'
    )
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        daemon.json = request.param == "json"
        yield daemon


def sessions(daemon, reason):
    """Wait for a session that ended for this reason; give the access log's records so far."""
    daemon.wait_for(rf'"close.reason": "{reason}".*\n' if daemon.json else rf"{reason} \[.*\n")
    return records(daemon)


def records(daemon):
    """Give the access log's records so far."""
    found = []
    for line in daemon.output.splitlines():
        if daemon.json:
            record = json.loads(line)  # every line is an object
            if record["logger"] == "tcpd.access":
                found.append(
                    (
                        f"{record['client.address']}:{record['client.port']}",
                        record["bytes.in"],
                        record["bytes.out"],
                        record["close.reason"],
                    )
                )
        elif match := re.fullmatch(
            r"\S+Z info: (\S+) -> main \(\./behave\.py:Behave\):"
            r" (\d+) bytes in, (\d+) out, [0-9.]+\w+, ([a-z-]+) \[[0-9a-f]+-\d+\]",
            line,
        ):
            found.append((match[1], int(match[2]), int(match[3]), match[4]))
    return found


def say(connection, word):
    connection.sendall(word)
    return connection.getsockname()


def address(name):
    return f"{name[0]}:{name[1]}"


def test_a_peer_that_closes(daemon):
    with daemon.connect() as connection:
        me = say(connection, b"0123456789")
        assert connection.recv(100) == b"0123456789"
    assert sessions(daemon, "peer-closed") == [(address(me), 10, 10, "peer-closed")]


def test_a_peer_that_closes_its_side_only(daemon):
    with daemon.connect() as connection:
        me = say(connection, b"0123456789")
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b"0123456789"
        assert sessions(daemon, "peer-closed") == [(address(me), 10, 10, "peer-closed")]


def test_a_handler_that_closes(daemon):
    with daemon.connect() as connection:
        me = say(connection, b"close")
        assert receive_all(connection) == b"bye"
        assert sessions(daemon, "handler-closed") == [(address(me), 5, 3, "handler-closed")]


def test_a_handler_that_aborts(daemon):
    with daemon.connect() as connection:
        me = say(connection, b"abort")
        assert sessions(daemon, "handler-aborted") == [(address(me), 5, 0, "handler-aborted")]
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_peer_that_resets(daemon):
    with daemon.connect() as connection:
        me = say(connection, b"0123456789")
        assert connection.recv(100) == b"0123456789"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert sessions(daemon, "peer-reset") == [(address(me), 10, 10, "peer-reset")]


def test_a_handler_that_fails_is_one_more_record_and_nothing_of_it_is_raw(daemon):
    with daemon.connect() as neighbour:
        neighbour.sendall(b"hello")
        assert neighbour.recv(100) == b"hello"
        with daemon.connect() as connection:
            me = say(connection, b"fail")
            assert sessions(daemon, "handler-failed") == [(address(me), 4, 0, "handler-failed")]
        neighbour.sendall(b"still here")
        assert neighbour.recv(100) == b"still here"
    daemon.stop()
    lines = daemon.output.splitlines()
    assert all(line.isprintable() for line in lines)
    assert sum("ValueError" in line and "failed in session" in line for line in lines) == 1
    if daemon.json:
        (record,) = [each for each in map(json.loads, lines) if "error" in each]
        assert record["error"].startswith("a\x1b[2Jb\r\n2026")
        assert "dataReceived" in record["traceback"]
    else:
        start = next(n for n, line in enumerate(lines) if "failed in session" in line)
        assert (
            r"ValueError: a\x1b[2Jb\r\n2026-01-01 forged\u0085\u202e\0 {log_level}"
            in (lines[start])
        )
        end = next(n for n in range(start + 1, len(lines)) if not lines[n].startswith("    "))
        assert any("dataReceived" in line for line in lines[start + 1 : end])
        assert re.match(r"\S+Z (info|critical): ", lines[end])


def test_a_unix_peer_has_no_port(daemon, tmp_path):
    daemon.wait_for("listens on unix:s.sock")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "s.sock"))
        connection.sendall(b"hi")
        assert connection.recv(100) == b"hi"
    (found,) = sessions(daemon, "peer-closed")
    assert found[0] in ("unix", "unix:0")
    assert found[1:] == (2, 2, "peer-closed")


def test_every_session_is_there_once(daemon):
    names = set()
    for _ in range(20):
        with daemon.connect() as connection:
            name = address(say(connection, b"x"))
            assert connection.recv(1) == b"x"
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b""
        daemon.wait_for(rf"{name} .*\n")
        names.add(name)
    found = records(daemon)
    assert len(found) == 20
    assert {each[0] for each in found} == names


def test_sessions_that_are_open_at_the_end_are_logged_too(daemon):
    with daemon.connect() as connection:
        me = say(connection, b"hello")
        assert connection.recv(100) == b"hello"
        daemon.stop(signal.SIGTERM)
        assert select.select([connection], [], [], PATIENCE)[0]
    assert records(daemon) == [(address(me), 5, 5, "shutdown")]


def test_the_access_log_can_be_switched_off(tmp_path):
    (tmp_path / "tcpd.toml").write_text(
        '[listeners.main]\nlisten = "tcp:0:interface=127.0.0.1"\n[log]\naccess = false\n'
    )
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        with daemon.connect() as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b""
        daemon.stop()
    assert "bytes in" not in daemon.output
    assert "listener main listens" in daemon.output
