import base64
import contextlib
import json
import os
import re
import resource
import signal
import stat
from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent
from zope.interface.verify import verifyClass, verifyObject

from tcpd.errors import ConfigError, TcpdError
from tcpd.events import Bus, Identity
from tcpd.fields import CommandLine, Place
from tcpd.handlers import logging as handler
from tcpd.handlers.echo import Echo
from tcpd.handlers.logging import Logging
from tcpd.handlers.recording import Record, append, file_lines, hex_rows, path_for
from tcpd.interfaces import IHandlerUser, ISessionFactory
from tcpd.registry import build_handler
from tcpd.session import Origin, Session
from tcpd.toml_file import TomlFile

PEER = IPv4Address("TCP", "192.0.2.7", 4321)


class TappedTransport(StringTransport):
    """A StringTransport with what tcpd's own transports have besides."""

    bytes_in = bytes_out = 0
    close_cause = ""
    tap = None


def configured(options=None, name="logging"):
    problems: list[ConfigError] = []
    at = Place(CommandLine())
    factory = build_handler(name, options or {}, at / "handler", at, problems=problems)
    assert problems == []
    factory.now = lambda: 86400.25
    return factory


def complaints(options):
    problems: list[ConfigError] = []
    at = Place(CommandLine())
    assert build_handler("logging", options, at / "handler", at, problems=problems) is None
    return [str(problem) for problem in problems]


def connected(factory, peer=PEER):
    protocol = factory.buildProtocol(peer)
    transport = StringTransport(peerAddress=peer)
    protocol.makeConnection(transport)
    return protocol, transport


def in_session(factory, transport=None):
    """Connect as tcpd does; gives the session and its protocol."""
    transport = transport or TappedTransport(peerAddress=PEER)
    origin = Origin(name="web", handler="logging", role="listener", bus=Bus(), clock=Clock())
    session = Session(origin, transport)
    protocol = factory.buildSession(session)
    protocol.makeConnection(transport)
    return session, protocol, transport


def lines_of(events):
    return [formatEvent(event) for event in events]


# -- to the daemon's log ------------------------------------------------------------------------


def test_what_a_peer_sends_is_logged_escaped_with_session_direction_and_offset(logged):
    session, protocol, transport = in_session(Logging())
    transport.tap("in", b"hello\r\n")
    protocol.dataReceived(b"hello\r\n")
    transport.tap("in", b"\x1b[2J{who}\xff\xc2\x85")
    first, second = lines_of(logged)
    assert first == rf"{session.id} (192.0.2.7:4321) in 0+7: hello\r\n"
    assert second == (rf"{session.id} (192.0.2.7:4321) in 7+12: \x1b[2J{{who}}\xff\u0085")
    assert transport.value() == b""
    assert logged[0]["log_source"] is session


def test_a_hex_dump_is_logged_a_row_an_event(logged):
    _, _, transport = in_session(Logging(format="hex"))
    transport.tap("in", b"0123456789abcdefXYZ")
    transport.tap("in", b"\x00")
    rows = [line.partition(" in ")[2] for line in lines_of(logged)]
    assert rows == [
        "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|",
        "00000010  58 59 5a                                          |XYZ|",
        "00000013  00                                                |.|",
    ]


def test_base64_is_logged(logged):
    _, _, transport = in_session(Logging(format="base64"))
    transport.tap("in", b"\x00\xff")
    assert lines_of(logged)[0].endswith(" in 0+2: AP8=")


# -- banner, end of stream ------------------------------------------------------------------------


def test_a_banner_is_said_and_recorded(logged):
    protocol, transport = connected(configured({"banner": "220 ready\r\n"}))
    protocol.dataReceived(b"HELO x\r\n")
    assert transport.value() == b"220 ready\r\n"
    assert [line.split(" ", 2)[2] for line in lines_of(logged)] == [
        r"out 0+11: 220 ready\r\n",
        r"in 0+8: HELO x\r\n",
    ]


def test_without_a_banner_nothing_is_said_and_the_end_of_the_peers_side_closes():
    protocol, transport = connected(Logging())
    protocol.dataReceived(b"x")
    assert transport.value() == b""
    assert verifyObject(IHalfCloseableProtocol, handler.Listen(b""))
    assert IHalfCloseableProtocol.providedBy(protocol)
    assert not transport.disconnecting
    protocol.readConnectionLost()
    assert transport.disconnecting


# -- before another handler -----------------------------------------------------------------------


def test_in_tcpd_the_handler_behind_is_connected_to_the_transport_itself(logged):
    _, protocol, transport = in_session(configured({"then": "echo"}))
    assert type(protocol).__name__ == "EchoProtocol"
    assert protocol.transport is transport
    transport.tap("in", b"ab")
    transport.tap("out", b"ab")
    transport.tap("out", b"c")
    places = [line.split(" ", 2)[2] for line in lines_of(logged)]
    assert places == ["in 0+2: ab", "out 0+2: ab", "out 2+1: c"]


def test_a_tap_that_is_there_already_keeps_its_copy(logged):
    seen = []
    transport = TappedTransport(peerAddress=PEER)
    transport.tap = lambda direction, data: seen.append((direction, data))
    in_session(Logging(), transport)
    transport.tap("in", b"x")
    assert seen == [("in", b"x")]
    assert len(logged) == 1


def test_on_a_transport_without_a_tap_both_directions_are_recorded_too(logged):
    protocol, transport = connected(configured({"then": "echo"}))
    protocol.dataReceived(b"ab")
    assert transport.value() == b"ab"
    assert [line.split(" ", 2)[2] for line in lines_of(logged)] == ["in 0+2: ab", "out 0+2: ab"]
    protocol.readConnectionLost()
    assert transport.disconnecting


def test_the_wrapper_hides_nothing_of_the_transport_or_the_protocol(logged):
    protocol, transport = connected(configured({"then": "chargen", "then_options": {"limit": 5}}))
    assert verifyObject(IPullProducer, transport.producer)
    transport.producer.resumeProducing()
    assert transport.value() == b' !"#$'
    assert transport.producer is None
    assert transport.disconnecting

    class Plain(Protocol):
        extra = "mine"
        lost = False

        def connectionMade(self):
            self.transport.writeSequence([b"a", b"b"])

        def connectionLost(self, reason):
            self.lost = True

    logging = Logging(then="plain")
    logging.use_handlers(lambda *_: Factory.forProtocol(Plain))
    protocol, transport = connected(logging)
    assert transport.value() == b"ab"
    assert not IHalfCloseableProtocol.providedBy(protocol)
    assert protocol.extra == "mine"
    assert protocol.transport.getPeer() == PEER
    protocol.connectionLost(None)
    assert protocol.lost


def test_a_session_of_a_foreign_transport_is_recorded_through_the_wrapper(logged):
    class Relayed(StringTransport):
        bytes_in = bytes_out = 0
        close_cause = ""

    session, protocol, transport = in_session(
        configured({"then": "echo"}), Relayed(peerAddress=PEER)
    )
    protocol.dataReceived(b"x")
    assert transport.value() == b"x"
    assert lines_of(logged) == [
        f"{session.id} (192.0.2.7:4321) in 0+1: x",
        f"{session.id} (192.0.2.7:4321) out 0+1: x",
    ]


def test_a_session_aware_handler_behind_is_given_the_session():
    class Aware:
        started = stopped = 0

        def doStart(self):
            self.started += 1

        def doStop(self):
            self.stopped += 1

        def buildSession(self, session):
            self.session = session
            return Protocol() if session.peer == PEER else None

    aware = Aware()
    logging = Logging(then="aware")
    logging.use_handlers(lambda *_: aware)
    logging.doStart()
    session, _, _ = in_session(logging)
    assert aware.session is session
    logging.doStop()
    assert (aware.started, aware.stopped) == (1, 1)


def test_a_handler_behind_that_refuses_refuses():
    class Refusing(Factory):
        def buildProtocol(self, addr):
            return None

    logging = Logging(then="no")
    logging.use_handlers(lambda *_: Refusing())
    assert logging.buildProtocol(PEER) is None
    transport = TappedTransport(peerAddress=PEER)
    with pytest.raises(AttributeError):
        in_session(logging, transport)
    assert transport.tap is None


def test_what_it_promises():
    assert verifyClass(IHandlerUser, Logging)
    assert verifyClass(ISessionFactory, Logging)
    assert Logging.noisy is False
    with pytest.raises(TcpdError, match="use_handlers"):
        Logging(then="echo").buildProtocol(PEER)


# -- files --------------------------------------------------------------------------------------


def test_a_file_gets_a_line_a_record_and_is_the_owners_alone(tmp_path):
    path = tmp_path / "peers.log"
    factory = configured({"path": str(path), "banner": "hi"})
    session, _, transport = in_session(factory)
    transport.tap("in", b"one\n")
    transport.tap("out", b"two")
    _, _, v6 = in_session(
        factory, TappedTransport(peerAddress=IPv6Address("TCP", "2001:db8::1", 5))
    )
    v6.tap("in", b"three")
    lines = path.read_text().splitlines()
    begin = f"1970-01-02T00:00:00.250Z {session.id} 192.0.2.7:4321"
    assert lines[:2] == [rf"{begin} in 0+4: one\n", f"{begin} out 0+3: two"]
    assert lines[2].endswith(" [2001:db8::1]:5 in 0+5: three")
    assert len(lines) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_placeholder_makes_a_file_for_each(tmp_path):
    factory = configured({"path": str(tmp_path / "{listener}-{session}.txt")})
    first, _, one = in_session(factory)
    second, _, two = in_session(factory)
    one.tap("in", b"1")
    two.tap("in", b"2")
    assert {each.name for each in tmp_path.iterdir()} == {
        f"web-{first.id}.txt",
        f"web-{second.id}.txt",
    }


def who(**changes):
    return Identity(**{
        "session_id": "ab-1",
        "listener": "web",
        "handler": "logging",
        "client_address": "192.0.2.7",
        "client_port": 1,
        "local_address": "",
        **changes,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        (who(), "web 192.0.2.7 ab-1 19700101T000000.000Z"),
        (who(client_address="2001:db8::1"), "web 2001:db8::1 ab-1 19700101T000000.000Z"),
        (who(client_address="../../etc/x\n"), "web _.._etc_x_ ab-1 19700101T000000.000Z"),
        (who(listener=".."), "_ 192.0.2.7 ab-1 19700101T000000.000Z"),
        (who(listener="a/b\0{session}"), "a_b__session_ 192.0.2.7 ab-1 19700101T000000.000Z"),
    ],
)
def test_nothing_that_fills_a_placeholder_leaves_the_directory(identity, name):
    path = path_for(Path("/records/{listener} {peer} {session} {time}"), identity, 0.0)
    assert path == f"/records/{name}"


def test_hex_in_a_file_is_indented_below_its_heading(tmp_path):
    path = tmp_path / "x"
    _, _, transport = in_session(configured({"path": str(path), "format": "hex"}))
    transport.tap("in", b"0123456789abcdefX")
    heading, *rows = path.read_text().splitlines()
    assert heading.endswith(" in 0+17")
    assert rows == ["  " + row for row in hex_rows(b"0123456789abcdefX")]


def test_jsonl_gives_identity_and_exact_bytes(tmp_path):
    path = tmp_path / "x"
    session, _, transport = in_session(
        configured({"path": str(path), "format": "jsonl", "max_bytes": 300})
    )
    everything = bytes(range(256))
    transport.tap("in", everything)
    transport.tap("out", everything)
    first, second, last = map(json.loads, path.read_text().splitlines())
    assert first["session.id"] == session.id
    assert first["client.address"] == "192.0.2.7"
    assert first["time"] == "1970-01-02T00:00:00.250Z"
    assert (first["direction"], first["offset"]) == ("in", 0)
    assert base64.b64decode(first["data"]) == everything
    assert base64.b64decode(second["data"]) == everything[:44]
    assert last["stopped"] == "max_bytes"


UNESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\"}


def unescaped(text):
    def one(match):
        if match[1]:
            return bytes.fromhex(match[1]).decode("utf-8", "surrogateescape")
        if match[2] or match[3]:
            return chr(int(match[2] or match[3], 16))
        return UNESCAPED[match[4]]

    pattern = r"\\(?:x(..)|u(....)|U(........)|(.))"
    return re.sub(pattern, one, text).encode("utf-8", "surrogateescape")


def test_the_text_shape_loses_nothing():
    data = bytes(range(256)) + "é\u2028\U000e0001 \\x41".encode()
    record = Record(at=0.0, who=who(), direction="in", offset=0, data=data)
    line = file_lines("text", record)
    assert line.isprintable() is False  # its one newline
    assert line[:-1].isprintable()
    assert unescaped(line[:-1].partition(": ")[2]) == data


def test_a_rotated_file_is_found_anew(tmp_path):
    path = tmp_path / "x"
    _, _, transport = in_session(configured({"path": str(path)}))
    transport.tap("in", b"1")
    path.rename(tmp_path / "x.1")
    transport.tap("in", b"2")
    assert path.read_text().endswith("in 1+1: 2\n")


def test_no_descriptor_is_held(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    factory = configured({"path": str(tmp_path / "{session}")})
    for _ in range(20):
        in_session(factory)[2].tap("in", b"x")
    assert len(os.listdir("/proc/self/fd")) == before


# -- bounds -------------------------------------------------------------------------------------


def test_long_data_is_split_into_records(tmp_path):
    path = tmp_path / "x"
    _, _, transport = in_session(configured({"path": str(path)}))
    transport.tap("in", b"a" * 10000)
    lines = path.read_text().splitlines()
    assert [re.search(r" in (\d+\+\d+): ", line)[1] for line in lines] == [
        "0+4096",
        "4096+4096",
        "8192+1808",
    ]


def test_what_is_read_at_once_is_written_at_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(handler, "append", lambda path, lines: written.append(lines))
    _, _, transport = in_session(configured({"path": str(tmp_path / "x")}))
    transport.tap("in", b"a" * 100_000)
    (lines,) = written
    assert lines.count("\n") == 25


def test_a_recording_ends_at_max_bytes_exactly_and_says_so(tmp_path, logged):
    path = tmp_path / "x"
    _, _, transport = in_session(configured({"path": str(path), "max_bytes": 5000}))
    transport.tap("in", b"a" * 4999)
    transport.tap("out", b"b")
    assert "no further" not in path.read_text()
    transport.tap("in", b"c")
    transport.tap("out", b"d")
    text = path.read_text()
    assert (text.count("a" * 100), text.count(": b\n")) == (49, 1)
    assert ": c" not in text
    assert text.endswith("is recorded no further: max_bytes is reached\n")
    assert text.count("no further") == 1


def test_single_bytes_are_bounded_by_max_records(logged):
    _, _, transport = in_session(configured({"max_records": 3}))
    for _ in range(10):
        transport.tap("in", b"x")
    lines = lines_of(logged)
    assert len(lines) == 4
    assert lines[3].endswith("is recorded no further: max_records is reached")


def test_a_symbolic_link_is_never_written_through(tmp_path, logged):
    target = tmp_path / "target"
    target.write_text("")
    path = tmp_path / "x"
    _, _, transport = in_session(configured({"path": str(path)}))
    path.symlink_to(target)
    transport.tap("in", b"x")
    assert target.read_text() == ""
    assert "a symbolic link is never followed" in lines_of(logged)[0]


def test_a_pipe_or_device_is_not_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for a reader"))
    signal.alarm(10)
    try:
        with pytest.raises(OSError, match="No such device"):
            append(str(tmp_path / "pipe"), "x")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="isn't a regular file"):
            append(str(tmp_path / "pipe"), "x")
    finally:
        os.close(reader)


@contextlib.contextmanager
def largest_file(size):
    """Let the kernel refuse to write beyond a size, as a full disk does: first in part."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_a_full_disk_loses_records_counts_them_and_says_so_once(tmp_path, logged):
    path = tmp_path / "x"
    factory = configured({"path": str(path), "then": "echo"})
    _, protocol, transport = in_session(factory)
    with largest_file(200):
        for _ in range(52):
            transport.tap("in", b"1234567890")
        protocol.dataReceived(b"still served")
    assert transport.value() == b"still served"
    # Two lines fitted, and what fitted of the third was taken back; then writing resumes.
    transport.tap("in", b"again")
    lines = path.read_text().splitlines()
    assert [line.partition(" in ")[2] for line in lines] == [
        "0+10: 1234567890",
        "10+10: 1234567890",
        "520+5: again",
    ]
    (told,) = lines_of(logged)
    assert told.startswith("can't record: [Errno ")
    assert told.endswith(f": '{path}'; sessions go on, what is lost is counted")
    factory.now = lambda: 86400.25 + 61
    with largest_file(path.stat().st_size):
        transport.tap("in", b"x")
    factory.doStart()
    factory.doStop()
    assert len(logged) == 3
    assert lines_of(logged)[2].startswith("51 records with 501 bytes were not recorded: ")


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": "hx"}, "--option format: expected 'text' or 'hex' or 'base64' or 'jsonl', not"),
        ({"format": "jsonl"}, "--option format: 'jsonl' needs a path; for the daemon's log choose"),
        ({"path": "/nowhere/x"}, "--option path: there is no directory '/nowhere'"),
        ({"path": "/tmp"}, "--option path: '/tmp' is a directory; for a file a session: '/tmp/{se"),
        ({"path": "/tmp/{sesion}"}, "--option path: unknown placeholder '{sesion}'; did you mean"),
        ({"path": "/tmp/{peer}/x"}, "--option path: '/tmp/{peer}/x' has a placeholder in a direct"),
        ({"max_bytes": 0}, "--option max_bytes: expected 1B or more, not 0B"),
        ({"then": "ecko"}, "--option then: no handler 'ecko'; did you mean 'echo'?"),
        ({"then_options": {"a": 1}}, "--option then_options: there is no handler in 'then'"),
        ({"then": "echo", "then_options": {"a": 1}}, "--option then_options.a: unknown key"),
        ({"then": "echo", "banner": "x"}, "--option banner: the handler in 'then' speaks instead"),
        (
            {"then": "logging", "then_options": {"then": "dscard"}},
            "--option then_options.then: no handler 'dscard'; did you mean 'discard'?",
        ),
    ],
)
def test_a_mistake_is_a_configuration_error_at_its_place(options, expected):
    (complaint,) = complaints(options)
    assert complaint.startswith(expected)


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({"path": "/tmp/{foo}", "then": "echoo"}, ["path", "then"]),
        ({"max_bytes": 0, "then": "echoo", "banner": "x"}, ["max_bytes", "banner", "then"]),
        ({"fromat": "hex", "path": "/nowhere/x"}, ["fromat", "path"]),
        ({"path": 5, "format": "jsonl"}, ["path"]),
        ({"then": 5, "then_options": {"a": 1}}, ["then"]),
        ({"thn": "echo", "then_options": {"a": 1}}, ["thn"]),
    ],
)
def test_a_mistake_hides_no_other_but_what_may_follow_from_it(options, at):
    found = complaints(options)
    assert [line.split(": ")[0] for line in found] == [f"--option {key}" for key in at]


def test_a_symbolic_link_is_refused_in_the_configuration(tmp_path):
    (tmp_path / "x").symlink_to("/dev/null")
    (complaint,) = complaints({"path": str(tmp_path / "x")})
    assert complaint == (
        f"--option path: '{tmp_path}/x' is a symbolic link, which is never followed"
    )


def test_a_mistake_in_the_other_handlers_options_has_its_line():
    file = TomlFile.parse(
        'format = "hex"\nthen = "chargen"\nthen_options = { limit = "big" }\n', "t"
    )
    problems: list[ConfigError] = []
    at = Place(file)
    assert build_handler("logging", file.table, at, at, problems=problems) is None
    (problem,) = problems
    assert str(problem).startswith("t:3: then_options.limit: ")


def test_handlers_nest():
    factory = configured({"then": "logging", "then_options": {"then": "echo"}})
    protocol, transport = connected(factory)
    protocol.dataReceived(b"x")
    assert transport.value() == b"x"
    assert isinstance(factory._next._next, Echo)
