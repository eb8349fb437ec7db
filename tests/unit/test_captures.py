"""Captures: which sessions they have, their files, their limits, and what is lost."""

import json
import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.capture_house import CaptureHouse
from helpers.packets import conversations, read

from tcpd.capture import files, writer
from tcpd.capture.captures import CaptureTotals


@pytest.fixture
def house(tmp_path: Path):
    house = CaptureHouse(tmp_path)
    yield house
    house.captures.finish()


def test_the_sessions_of_a_listener_are_written_to_its_file(house: CaptureHouse) -> None:
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


def test_who_is_not_captured_has_no_tap_and_is_not_asked_about(house: CaptureHouse) -> None:
    session = house.session()
    assert (session.transport.tap, house.bus.at_begins, house.bus.at_ends) == (None, [], [])
    house.configure("other")
    assert house.session().transport.tap is None
    house.captures.configure({})
    assert (house.bus.at_begins, house.bus.at_ends) == ([], [])


def test_how_a_session_ended_is_in_it(house: CaptureHouse) -> None:
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


def test_half_a_close_is_where_it_was_noticed(house: CaptureHouse) -> None:
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


def test_a_session_each_has_a_file_and_only_so_many_are_kept(house: CaptureHouse) -> None:
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


def test_a_full_file_is_put_aside(house: CaptureHouse) -> None:
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


def test_what_an_earlier_run_has_left_is_put_aside(house: CaptureHouse) -> None:
    (house.path / "web.pcapng").write_text("earlier")
    house.configure()
    house.session()
    house.captures.finish()
    assert (house.path / "web.pcapng.1").read_text() == "earlier"


def test_a_link_is_not_followed(house: CaptureHouse) -> None:
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
    house: CaptureHouse, monkeypatch: pytest.MonkeyPatch
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
    house: CaptureHouse, monkeypatch: pytest.MonkeyPatch
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


def test_what_is_written_is_what_is_in_the_files(house: CaptureHouse) -> None:
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


def test_totals_never_get_less(house: CaptureHouse, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_capture_ends_at_its_size_or_time(house: CaptureHouse) -> None:
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


def test_only_the_beginning_of_a_session_if_so_wanted(house: CaptureHouse) -> None:
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


def test_a_reload_changes_sessions_to_come_and_the_file_goes_on(house: CaptureHouse) -> None:
    house.configure()
    old = house.session()
    house.configure(session_size=2)
    new = house.session()
    for each in (old, new):
        house.say(each, b"12345")
    house.captures.finish()
    assert house.said() == [(b"12345", b""), (b"12", b"")]
    assert os.listdir(house.path) == ["web.pcapng"]


def test_a_session_stays_in_the_capture_that_it_began_in(house: CaptureHouse) -> None:
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


def test_reopening_begins_a_new_file(house: CaptureHouse) -> None:
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
