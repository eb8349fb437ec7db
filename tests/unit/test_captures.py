"""Captures: which sessions they have, their files, their limits, and what is lost."""

import errno
import json
import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.packets import conversations, read
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpd.capture import files, writer
from tcpd.capture.captures import CaptureError, Captures, CaptureTotals, CaptureWishError
from tcpd.capture.settings import CaptureConfig, LiveCaptureConfig
from tcpd.events import Bus
from tcpd.session import Origin, Session


class Reactor(Clock):
    """A clock that takes calls from threads; nobody waits for those."""

    def callFromThread(self, call, *arguments):
        pass


class Transport:
    """What a session needs of a transport."""

    def __init__(self, port: int) -> None:
        self.tap = None
        self.bytes_in = self.bytes_out = 0
        self.close_cause = "peer-closed"
        self.tls = None
        self.was_reset = self.peer_finished = self.write_finished = False
        self.peer, self.host = IPv4Address("TCP", "192.0.2.1", port), IPv4Address("TCP", "::", 80)
        self.host = IPv4Address("TCP", "192.0.2.9", 80)

    def getPeer(self):
        return self.peer

    def getHost(self):
        return self.host


class House:
    """Listeners with sessions, as far as captures know them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bus = Bus()
        self.reactor = Reactor()
        self.sessions: list[Session] = []
        self.captures = Captures(self.bus, self.reactor, self.of)

    def of(self, name: str) -> list[Session]:
        return [each for each in self.sessions if each.listener == name]

    def configure(self, listener: str = "web", **options) -> None:
        config = CaptureConfig(path=options.pop("path", self.path), **options)
        self.captures.configure({listener: config}, LiveCaptureConfig(path=self.path))

    def session(self, listener: str = "web") -> Session:
        origin = Origin(
            name=listener, handler="echo", role="listener", bus=self.bus, clock=self.reactor
        )
        session = Session(origin, Transport(5000 + len(self.sessions)))
        self.sessions.append(session)
        session.begin()
        return session

    def say(self, session: Session, data: bytes, answer: bytes = b"") -> None:
        transport = session.transport
        for side, each in (("in", data), ("out", answer)):
            if each:
                if transport.tap is not None:
                    transport.tap(side, each)
                setattr(transport, f"bytes_{side}", getattr(transport, f"bytes_{side}") + len(each))

    def end(self, session: Session, cause: str = "peer-closed") -> None:
        session.transport.close_cause = cause
        session.transport.tap = None  # as tcpd's own do it, before they tell of the end
        session.transport_closed(Failure(ConnectionDone()))
        self.sessions.remove(session)

    def said(self, name: str = "web.pcapng") -> list[tuple[bytes, bytes]]:
        """Return what each session in a file has said and heard."""
        found = conversations(read((self.path / name).read_bytes()).packets)
        return [(each.sent.get(each.began, b""), each.sent.get(each.other, b"")) for each in found]


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path)
    yield house
    house.captures.finish()


def test_the_sessions_of_a_listener_are_written_to_its_file(house: House) -> None:
    house.configure()
    first, second, other = house.session(), house.session(), house.session("other")
    house.say(first, b"one", b"uno")
    house.say(second, b"two", b"dos")
    house.say(other, b"not me")
    house.end(first)
    house.captures.finish()
    assert house.said() == [(b"one", b"uno"), (b"two", b"dos")]
    assert os.listdir(house.path) == ["web.pcapng"]
    assert stat.S_IMODE((house.path / "web.pcapng").stat().st_mode) == 0o600


def test_who_is_not_captured_has_no_tap_and_is_not_asked_about(house: House) -> None:
    session = house.session()
    assert (session.transport.tap, house.bus.at_begins, house.bus.at_ends) == (None, [], [])
    house.configure("other")
    assert house.session().transport.tap is None
    house.captures.configure({})
    assert (house.bus.at_begins, house.bus.at_ends) == ([], [])


def test_how_a_session_ended_is_in_it(house: House) -> None:
    house.configure()
    ends = []
    for cause, was_reset in (
        ("peer-closed", False), ("handler-closed", False), ("peer-reset", False), ("idle", True),
    ):  # fmt: skip
        session = house.session()
        session.transport.was_reset = was_reset
        house.end(session, cause)
        ends.append(session.transport.peer.host)
    house.captures.finish()
    found = conversations(read((house.path / "web.pcapng").read_bytes()).packets)
    hosts = [[host for host, _ in each.finished] for each in found]
    assert hosts == [["192.0.2.1", "192.0.2.9"], ["192.0.2.9", "192.0.2.1"], [], []]
    assert [each.reset and each.reset[0] for each in found] == [
        None, None, "192.0.2.1", "192.0.2.9",
    ]  # fmt: skip


def test_half_a_close_is_where_it_was_noticed(house: House) -> None:
    house.configure()
    session = house.session()
    house.say(session, b"question")
    session.transport.peer_finished = True
    house.say(session, b"", b"answer")
    house.end(session)
    house.captures.finish()
    (found,) = conversations(read((house.path / "web.pcapng").read_bytes()).packets)
    kinds = [each.data or each.flags & 1 for each in found.packets]
    assert kinds.index(1) < kinds.index(b"answer")


def test_a_session_each_has_a_file_and_only_so_many_are_kept(house: House) -> None:
    house.configure(files="session", keep=3)
    ids = []
    for n in range(6):
        session = house.session()
        house.say(session, b"%d" % n)
        ids.append(session.id)
        house.end(session)
    stays = house.session()
    house.say(stays, b"on")
    house.captures.finish()
    names = {f"web-{each}.pcapng" for each in (*ids[-2:], stays.id)}
    assert set(os.listdir(house.path)) == names
    assert house.said(f"web-{ids[-1]}.pcapng") == [(b"5", b"")]


def test_what_was_put_aside_for_a_session_that_ended_is_removed_too(tmp_path: Path) -> None:
    mine = re.compile(r"([a-z]+)(\.\d+)?")
    some = files.Files(tmp_path, lambda: b"", rotate_size=2, keep=3, mine=mine)
    for _ in range(2):
        some.append("running", b"xx")
    for name in ("first", "second", "third"):
        for _ in range(3):
            some.append(name, b"xx")
        some.done(name)
    running, ended = {"running", "running.1"}, {"third", "third.1", "third.2"}
    assert set(os.listdir(tmp_path)) == running | ended
    some.done("running")
    assert set(os.listdir(tmp_path)) == running | {"third"}
    some.close()


def test_a_full_file_is_put_aside(house: House) -> None:
    house.configure(rotate_size=10_000, keep=2)
    session = house.session()
    for n in range(20):
        house.say(session, bytes([n]) * 3000)
    house.end(session)
    house.captures.finish()
    assert sorted(os.listdir(house.path)) == ["web.pcapng", "web.pcapng.1", "web.pcapng.2"]
    assert all(each.stat().st_size <= 10_000 for each in house.path.iterdir())
    for each in house.path.iterdir():
        assert len(read(each.read_bytes()).sections) == 1


def test_what_an_earlier_run_has_left_is_put_aside(house: House) -> None:
    (house.path / "web.pcapng").write_text("earlier")
    house.configure()
    house.session()
    house.captures.finish()
    assert (house.path / "web.pcapng.1").read_text() == "earlier"


def test_a_link_is_not_followed(house: House) -> None:
    target = house.path / "target"
    (house.path / "web.pcapng").symlink_to(target)
    house.configure()
    house.say(house.session(), b"secret")
    status = house.captures.status()[0]
    house.captures.finish()
    assert status.lost_pieces == 0
    assert not target.exists()
    assert (house.path / "web.pcapng").is_symlink()


def test_two_do_not_write_to_one_file(tmp_path: Path) -> None:
    mine, other = (files.Files(tmp_path, lambda: b"") for _ in range(2))
    mine.append("web", b"1")
    with pytest.raises(files.Misplaced, match="another process"):
        other.append("web", b"2")
    mine.close()
    other.append("web", b"2")
    assert (tmp_path / "web.1").read_bytes() == b"1"
    other.close()


def test_a_file_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    directory = tmp_path / "there"
    directory.mkdir()
    some = files.Files(directory, lambda: b"header ")
    some.append("web", b"one ")
    (directory / "web").unlink()
    some.append("web", b"two ")
    assert (directory / "web").read_bytes() == b"header two "
    (directory / "web").unlink()
    directory.rmdir()
    with pytest.raises(FileNotFoundError):
        some.append("web", b"three ")
    directory.mkdir()
    some.append("web", b"three ")
    assert (directory / "web").read_bytes() == b"header three "
    some.close()


def test_few_descriptors_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_OPEN", 3)
    many = files.Files(tmp_path, lambda: b"")
    before = len(os.listdir("/proc/self/fd"))
    for turn in (b"1", b"2"):
        for n in range(10):
            many.append(f"{n}", turn)
            assert len(os.listdir("/proc/self/fd")) <= before + 3
    many.close()
    assert {each.read_bytes() for each in tmp_path.iterdir()} == {b"12"}
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_full_disk_took_half_of_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = files.Files(tmp_path, lambda: b"header ")
    some.append("web", b"one ")
    true_write = os.write

    def half(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", full)
        return true_write(fd, data[:2])

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        some.append("web", b"two ")
    assert (tmp_path / "web").read_bytes() == b"header one "
    monkeypatch.setattr(os, "write", true_write)
    some.append("web", b"two ")
    assert (tmp_path / "web").read_bytes() == b"header one two "
    some.close()


def test_what_the_disk_cannot_take_is_lost_counted_and_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.configure(queue_size=20_000)
    true_append, broken = files.Files.append, SimpleNamespace(now=True)

    def append(self, name, data):
        if broken.now:
            raise OSError(28, "No space left on device")
        true_append(self, name, data)

    monkeypatch.setattr(files.Files, "append", append)
    monkeypatch.setattr(writer, "FIRST_PAUSE", 0.001)
    session = house.session()
    for _ in range(100):
        house.say(session, bytes(1000))
    lost = house.captures.status()[0]
    assert lost.lost_pieces == lost.lost_bytes // 1000
    assert 80 <= lost.lost_pieces < 100
    broken.now = False
    capture = house.captures._configured["web"]
    while capture.status().waiting:
        pass
    house.say(session, b"again")
    house.end(session)
    house.captures.finish()
    packets = read((house.path / "web.pcapng").read_bytes()).packets
    (told,) = [each for each in packets if each.data == b"again"]
    assert told.comment == (
        f"tcpd has lost {lost.lost_pieces} pieces with {lost.lost_bytes} bytes before this"
    )
    whole = packets[0].seq + 1 + 100_000
    assert told.seq == whole


def test_what_is_given_up_at_the_end_is_counted_in_bytes_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append(self, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Files, "append", append)
    monkeypatch.setattr(writer, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(writer, "STOP", 0.01)
    house.configure()
    session = house.session()
    house.say(session, bytes(1000), bytes(2000))
    capture = house.captures._configured["web"]
    house.captures.finish()
    assert capture.status().lost_bytes == 3000


def test_what_is_written_is_what_is_in_the_files(house: House) -> None:
    house.configure(files="session")
    for n in range(3):
        session = house.session()
        house.say(session, b"%d" % n)
        house.end(session)
    house.captures.start("web")
    captures = house.captures._all()
    house.captures.finish()
    assert len(os.listdir(house.path)) == 4
    sizes = sum(each.stat().st_size for each in house.path.iterdir())
    assert sum(each.status().written for each in captures) == sizes


def test_totals_never_get_less(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.configure()
    assert house.captures.totals()["web"] == CaptureTotals()
    session = house.session()
    house.say(session, b"first")
    house.captures.start("web")
    house.say(session, b"second")
    house.captures.stop("web")
    house.end(session)
    live = [each for each in house.captures._all() if each.kind == "live"]
    for each in live:
        each.wait()
    while house.captures._configured["web"].status().waiting:
        pass
    before = house.captures.totals()["web"].written
    house.captures._settle()
    assert not [each for each in house.captures._all() if each.kind == "live"]
    assert house.captures.totals()["web"].written >= before
    assert house.captures.totals()["web"].written > live[0].status().written > 0
    house.captures.configure({})
    house.captures._settle()
    assert house.captures.totals()["web"].written >= before


def test_a_capture_ends_at_its_size_or_time(house: House) -> None:
    house.configure(max_size=5000)
    session = house.session()
    house.say(session, bytes(10_000))
    assert session.transport.tap is None
    house.reactor.advance(0)
    assert house.session().transport.tap is None
    assert house.captures.status()[0].state == "full"
    house.configure("timed", max_time=10.0)
    session = house.session("timed")
    house.reactor.advance(9)
    assert session.transport.tap is not None
    house.reactor.advance(1)
    assert session.transport.tap is None


def test_only_the_beginning_of_a_session_if_so_wanted(house: House) -> None:
    house.configure(session_size=7)
    session = house.session()
    assert house.captures.of(session) is not None
    house.say(session, b"12345", b"67890")
    house.say(session, b"more")
    assert session.transport.tap is None
    assert house.captures.of(session) is None  # nobody is told that it is captured still
    house.end(session)
    house.captures.finish()
    assert house.said() == [(b"12345", b"67")]


def test_a_reload_changes_sessions_to_come_and_the_file_goes_on(house: House) -> None:
    house.configure()
    old = house.session()
    house.configure(session_size=2)
    new = house.session()
    for each in (old, new):
        house.say(each, b"12345")
    house.captures.finish()
    assert house.said() == [(b"12345", b""), (b"12", b"")]
    assert os.listdir(house.path) == ["web.pcapng"]


def test_a_session_stays_in_the_capture_that_it_began_in(house: House) -> None:
    house.configure()
    old = house.session()
    house.configure(format="jsonl")
    new = house.session()
    house.captures.configure({})
    none = house.session()
    for each in (old, new, none):
        house.say(each, b"12345")
        house.end(each)
    house.captures.finish()
    assert house.said() == [(b"12345", b"")]
    lines = [json.loads(each) for each in (house.path / "web.jsonl").read_text().splitlines()]
    assert [each["capture"] for each in lines] == ["opened", "data", "closed"]
    assert lines[1]["session.id"] == new.id


def test_reopening_begins_a_new_file(house: House) -> None:
    house.configure()
    session = house.session()
    house.say(session, b"one")
    capture = house.captures._configured["web"]
    while capture.status().waiting:
        pass
    os.rename(house.path / "web.pcapng", house.path / "moved")
    house.captures.reopen()
    house.say(session, b"two")
    house.captures.finish()
    assert house.said("moved") == [(b"one", b"")]
    assert house.said() == [(b"two", b"")]


# -- live --------------------------------------------------------------------------------------


def test_one_session_can_be_captured_while_it_runs(house: House) -> None:
    house.configure("other")
    session, neighbour = house.session(), house.session()
    house.say(session, b"before", b"b")
    capture = house.captures.start(session)
    assert neighbour.transport.tap is None
    house.say(session, b"then", b"t")
    status = house.captures.of(session)
    assert status is not None
    assert (status.kind, status.session, status.sessions) == ("live", session.id, 1)
    house.captures.stop(session)
    assert session.transport.tap is None
    house.say(session, b"after")
    house.captures.finish()
    file = Path(capture.status().path)
    assert file.name.startswith(f"web-{session.id}-2")
    packets = read(file.read_bytes()).packets
    assert [each.data for each in packets if each.data] == [b"then", b"t"]
    assert "after 6 bytes in and 1 bytes out" in packets[0].comment


@pytest.mark.parametrize("late", [False, True])
def test_a_capture_of_nothing_is_a_file_that_can_be_read(house: House, late: bool) -> None:
    house.configure("other")
    capture = house.captures.start("web")
    file = Path(capture.status().path)
    assert file.stat().st_mode & 0o777 == 0o600
    empty = read(file.read_bytes())
    assert (len(empty.sections), len(empty.interfaces), empty.packets) == (1, 1, [])
    if late:
        house.say(house.session(), b"late")
    house.captures.stop("web")
    house.captures.finish()
    found = read(file.read_bytes())
    assert (len(found.sections), len(found.interfaces)) == (1, 1)
    assert [each.data for each in found.packets if each.data] == [b"late"] * late


def test_a_capture_whose_file_cannot_even_begin_leaves_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.configure("other")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", full)
        with pytest.raises(CaptureError, match="No space left"):
            house.captures.start("web", file="x")
    assert list(house.path.iterdir()) == []
    house.captures.start("web", file="x")


def test_a_listener_can_be_captured_with_those_who_are_there(house: House) -> None:
    house.configure("other")
    old = house.session()
    house.captures.start("web", format="hexdump", file="mine")
    new = house.session()
    house.say(old, b"old\x1b")
    house.say(new, b"new")
    assert house.captures.stop("web").state == "ended"
    house.captures.finish()
    text = (house.path / "mine.txt").read_text()
    assert "6f 6c 64 1b" in text
    assert "|old.|" in text
    assert "|new|" in text
    assert "\x1b" not in text
    assert text.count("opened") == text.count("joined") == 1


def test_a_capture_of_a_session_ends_with_it(house: House) -> None:
    house.configure("other")
    session = house.session()
    house.captures.start(session, file="x.pcapng")
    house.say(session, b"1")
    house.end(session)
    assert house.captures.of(session) is None
    house.captures.finish()
    (found,) = conversations(read((house.path / "x.pcapng").read_bytes()).packets)
    assert len(found.finished) == 2


def test_what_cannot_be_started_says_why(house: House) -> None:
    session = house.session()
    with pytest.raises(CaptureError, match=r"set 'path' in \[capture\]"):
        house.captures.start(session)
    house.configure("other")
    with pytest.raises(CaptureError, match="no format 'pcap'; did you mean 'pcapng'"):
        house.captures.start(session, format="pcap")
    for name in ("../x", "/etc/x", ".hidden", "a b", "x" * 200, "-x", ".pcapng"):
        with pytest.raises(CaptureError, match="isn't a file's name"):
            house.captures.start(session, file=name)
    (house.path / "there.pcapng").touch()
    (house.path / "link.pcapng").symlink_to("/nowhere/at-all")
    for name in ("there", "link"):
        with pytest.raises(CaptureError, match="is there already"):
            house.captures.start(session, file=name)
    assert session.transport.tap is None
    house.captures.start(session)
    with pytest.raises(CaptureError, match="already"):
        house.captures.start(session)
    with pytest.raises(CaptureError, match="no capture of listener web runs"):
        house.captures.stop("web")
    with pytest.raises(CaptureError, match="as it is configured"):
        house.captures.stop("other")
    other = house.session()
    del other.transport.tap
    with pytest.raises(CaptureError, match="its transport isn't tcpd's"):
        house.captures.start(other)


def test_a_session_that_is_captured_as_one_of_many_says_with_which(house: House) -> None:
    house.configure(session_size=1)
    session = house.session()
    with pytest.raises(CaptureError, match=r"until it ends, as listener web was configured when"):
        house.captures.stop(session)
    house.captures.configure({})
    with pytest.raises(CaptureError, match=r"listener web isn't captured any more, but for sess"):
        house.captures.stop("web")
    house.captures.start("web")
    with pytest.raises(CaptureError, match=r"'tcpdctl capture stop --listener web' ends that"):
        house.captures.stop(session)
    house.captures.stop("web")
    house.say(session, b"12")  # and that was all of it
    with pytest.raises(CaptureError, match=f"no capture of session {session.id} runs"):
        house.captures.stop(session)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"file": "a\0b\\"}, r"'a\0b\\' isn't a file's name"),
        ({"format": "a\0b\\"}, r"there is no format 'a\0b\\'"),
    ],
)
def test_what_could_be_had_at_no_time_is_said_before_all_else(house: House, wish, words) -> None:
    session = house.session()  # and no directory is configured
    with pytest.raises(CaptureWishError) as found:
        house.captures.start(session, **wish)
    assert words in str(found.value)
    assert r"\\\\" not in str(found.value)


def test_a_started_one_ends_by_itself(house: House) -> None:
    house.captures.configure({}, LiveCaptureConfig(path=house.path, max_size=5000, max_time=60.0))
    session = house.session()
    house.captures.start(session)
    house.say(session, bytes(10_000))
    house.reactor.advance(0)
    assert house.captures.of(session) is None
    house.captures.start("web")
    house.reactor.advance(60)
    assert house.captures.of("web") is None
    assert not house.reactor.getDelayedCalls()


@pytest.mark.parametrize("by", ["its session", "an operator"])
def test_one_that_is_full_when_it_is_ended_is_counted_once(house: House, by: str) -> None:
    house.captures.configure({}, LiveCaptureConfig(path=house.path, max_size=5000))
    session = house.session()
    capture = house.captures.start(session)
    house.say(session, bytes(10_000))
    if by == "an operator":
        house.captures.stop(session)
    else:
        house.end(session)
    house.reactor.advance(0)
    capture.wait()
    assert len(house.captures.status()) == 1
    house.captures.configure({})
    assert house.captures.totals()["web"].written == capture.status().written > 10_000
    assert not house.reactor.getDelayedCalls()


def test_a_unix_socket_has_placeholders(house: House) -> None:
    house.configure("other")
    session = house.session()
    session.transport.peer = session.transport.host = UNIXAddress(b"/run/x")
    house.captures.start(session, file="unix")
    house.say(session, b"1")
    house.captures.finish()
    packets = read((house.path / "unix.pcapng").read_bytes()).packets
    assert (packets[0].source, packets[0].target) == ("192.0.2.1", "192.0.2.2")
    assert "UNIX socket" in packets[0].comment
