"""Records in the journal: fields that journald takes, whatever a peer sent, however much."""

import fcntl
import os
import socket
import threading

import pytest
from helpers.sinks import identity, record, records, said
from hypothesis import given
from hypothesis import strategies as st

from tcpd.escape import escape_text
from tcpd.events import HandlerFailed
from tcpd.sinks.journal import Journal
from tcpd.sinks.journal_protocol import encode, field_name
from tcpd.sinks.sink import TryAgainError


def decode(datagram):
    """Return the fields of a datagram, as journald reads it."""
    fields = []
    while datagram:
        line, newline, rest = datagram.partition(b"\n")
        assert newline
        key, equals, value = line.partition(b"=")
        if equals:
            datagram = rest
        else:
            length = int.from_bytes(rest[:8], "little")
            value, datagram = rest[8 : 8 + length], rest[8 + length :]
            assert datagram[:1] == b"\n"
            datagram = datagram[1:]
        fields.append((key.decode(), value.decode()))
    return fields


@pytest.fixture
def journald(tmp_path):
    """A socket like journald's, and a sink that writes to it."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(20)
        sink = Journal(socket=path)
        yield server, sink
        sink.close()


def receive(server):
    data, ancillary, _, _ = server.recvmsg(1 << 20, 1024)
    if not ancillary:
        return dict(decode(data))
    assert data == b""
    ((_, _, rights),) = ancillary
    fd = int.from_bytes(rights, "little")
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    data = os.pread(fd, 1 << 22, 0)
    os.close(fd)
    return dict(decode(data))


def test_a_record_is_a_datagram_with_a_field_for_each_of_its_own(journald):
    server, sink = journald
    sink.open()
    sink.write(records(2))
    fields = receive(server)
    assert fields == {
        "MESSAGE": "session.closed 192.0.2.1:5000 main: peer-closed",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "tcpd",
        "TCPD_EVENT_NAME": "session.closed",
        "TCPD_EVENT_SEQUENCE": "1",
        "TCPD_SERVICE_INSTANCE_ID": "ab12cd34",
        "TCPD_SESSION_ID": "ab12cd34-1",
        "TCPD_LISTENER": "main",
        "TCPD_HANDLER": "echo",
        "TCPD_CLIENT_ADDRESS": "192.0.2.1",
        "TCPD_CLIENT_PORT": "5000",
        "TCPD_NETWORK_LOCAL_ADDRESS": "192.0.2.9:80",
        "TCPD_BYTES_IN": "10",
        "TCPD_BYTES_OUT": "20",
        "TCPD_DURATION": "1.5",
        "TCPD_CLOSE_REASON": "peer-closed",
    }
    assert receive(server)["TCPD_SESSION_ID"] == "ab12cd34-2"


def test_a_value_cannot_become_another_field(journald):
    server, sink = journald
    sink.open()
    hostile = {"user": "eve\nPRIORITY=0\nMESSAGE=forged", "a\n=b": "x", "message": "forged"}
    sink.write([record(event=said("e", **hostile))])
    fields = receive(server)
    assert fields["TCPD_USER"] == hostile["user"]
    assert fields["TCPD_A__B"] == "x"
    assert (fields["PRIORITY"], fields["MESSAGE"]) == ("6", "e 192.0.2.1:5000 main")


def test_the_message_shows_what_a_handler_failed_on_as_its_field_does(journald):
    server, sink = journald
    sink.open()
    sink.write([record(event=HandlerFailed(identity=identity(), error=escape_text("a\n\x1b\\")))])
    fields = receive(server)
    assert fields["TCPD_ERROR"] == r"a\n\x1b\\"
    assert fields["MESSAGE"] == rf"handler.failed 192.0.2.1:5000 main: {fields['TCPD_ERROR']}"


def test_a_name_that_only_the_journal_takes_for_one_of_ours_is_not(journald):
    server, sink = journald
    sink.open()
    forged = dict.fromkeys(("client-address", "EVENT.name", "session_id", "user"), "forged")
    sink.write([record(event=said("e", **forged))])
    fields = receive(server)
    assert [name for name, value in fields.items() if value == "forged"] == ["TCPD_USER"]
    assert fields["TCPD_CLIENT_ADDRESS"] == "192.0.2.1"


def test_what_no_datagram_can_hold_goes_as_a_file(journald):
    server, sink = journald
    sink.open()
    assert sink._connection is not None
    sink._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    large = "x" * 8000
    sink.write([record(event=said("e", large=large, other=large))])
    fields = receive(server)
    assert fields["TCPD_LARGE"] == fields["TCPD_OTHER"] == large


def test_a_journald_that_is_away_is_tried_again(tmp_path):
    sink = Journal(socket=tmp_path / "none")
    with pytest.raises(TryAgainError, match="No such file"):
        sink.open()


def test_a_journald_that_was_started_anew_gets_the_rest(journald, tmp_path):
    server, sink = journald
    sink.open()
    sink.write(records(1))
    server.close()
    with pytest.raises(TryAgainError, match="Connection refused") as caught:
        sink.write(records(3))
    assert caught.value.written == 0
    os.unlink(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "socket"))
        sink.close()
        sink.open()
        sink.write(records(3))
        assert [receive(again)["TCPD_EVENT_SEQUENCE"] for _ in range(3)] == ["1", "2", "3"]


def test_a_journald_that_is_busy_is_waited_for(journald):
    server, sink = journald
    sink.open()
    thread = threading.Thread(target=sink.write, args=(records(2000),))
    thread.start()
    got = [receive(server)["TCPD_EVENT_SEQUENCE"] for _ in range(2000)]
    thread.join()
    assert got == [str(number) for number in range(1, 2001)]


def test_names_are_as_journald_wants_them():
    assert field_name("client.address") == "TCPD_CLIENT_ADDRESS"
    assert field_name("\u00e9\n=x" * 50) == ("TCPD_" + "___X" * 50)[:64]
    with pytest.raises(ValueError, match="takes no field"):
        encode([("_PID", "1")])


NAMES = st.text("ABCXYZ_09", min_size=1, max_size=20).map(lambda name: "T" + name)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(NAMES, TEXTS)))
def test_what_is_encoded_is_what_journald_reads(fields):
    assert decode(encode(fields)) == fields
