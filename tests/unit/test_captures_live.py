"""Captures that an operator starts and stops while sessions run."""

import errno
from pathlib import Path

import pytest
from helpers.capture_house import CaptureHouse
from helpers.packets import conversations, read
from twisted.internet.address import UNIXAddress

from tcpd.capture import files
from tcpd.capture.captures import CaptureError, CaptureWishError
from tcpd.capture.settings import LiveCaptureConfig


@pytest.fixture
def house(tmp_path: Path):
    house = CaptureHouse(tmp_path)
    yield house
    house.captures.finish()


def test_one_session_can_be_captured_while_it_runs(house: CaptureHouse) -> None:
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
def test_a_capture_of_nothing_is_a_file_that_can_be_read(house: CaptureHouse, late: bool) -> None:
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
    house: CaptureHouse, monkeypatch: pytest.MonkeyPatch
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


def test_a_listener_can_be_captured_with_those_who_are_there(house: CaptureHouse) -> None:
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


def test_a_capture_of_a_session_ends_with_it(house: CaptureHouse) -> None:
    house.configure("other")
    session = house.session()
    house.captures.start(session, file="x.pcapng")
    house.say(session, b"1")
    house.end(session)
    assert house.captures.of(session) is None
    house.captures.finish()
    (found,) = conversations(read((house.path / "x.pcapng").read_bytes()).packets)
    assert len(found.finished) == 2


def test_what_cannot_be_started_says_why(house: CaptureHouse) -> None:
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


def test_a_session_that_is_captured_as_one_of_many_says_with_which(house: CaptureHouse) -> None:
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
def test_what_could_be_had_at_no_time_is_said_before_all_else(
    house: CaptureHouse, wish, words
) -> None:
    session = house.session()  # and no directory is configured
    with pytest.raises(CaptureWishError) as found:
        house.captures.start(session, **wish)
    assert words in str(found.value)
    assert r"\\\\" not in str(found.value)


def test_a_started_one_ends_by_itself(house: CaptureHouse) -> None:
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
def test_one_that_is_full_when_it_is_ended_is_counted_once(house: CaptureHouse, by: str) -> None:
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


def test_a_unix_socket_has_placeholders(house: CaptureHouse) -> None:
    house.configure("other")
    session = house.session()
    session.transport.peer = session.transport.host = UNIXAddress(b"/run/x")
    house.captures.start(session, file="unix")
    house.say(session, b"1")
    house.captures.finish()
    packets = read((house.path / "unix.pcapng").read_bytes()).packets
    assert (packets[0].source, packets[0].target) == ("192.0.2.1", "192.0.2.2")
    assert "UNIX socket" in packets[0].comment
