"""Records in a file: whole lines, rotated and reopened without a loss, never through a link."""

import errno
import fcntl
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from helpers.sinks import record, records, said

from tcpd.sinks import jsonl
from tcpd.sinks.jsonl import JsonLines
from tcpd.sinks.sink import TryAgainError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.fixture
def opened(path):
    """A function that opens a sink for the path; it is closed at the end."""
    made = []

    def open_(**options):
        sink = JsonLines(path=path, **options)
        made.append(sink)
        sink.open()
        return sink

    yield open_
    for sink in made:
        sink.close()


def numbers(path):
    return [json.loads(line)["event.sequence"] for line in path.read_text().splitlines()]


def test_a_record_is_a_line(path, opened):
    sink, some = opened(), records(3)
    sink.write(some[:2])
    sink.write(some[2:])
    assert path.read_text() == "".join(f"{each.line}\n" for each in some)


def test_what_is_there_is_appended_to(path, opened):
    path.write_text(record(7).line + "\n")
    opened().write(records(1))
    assert numbers(path) == [7, 1]


def test_a_line_that_was_broken_off_spoils_no_other(path, opened):
    path.write_text('{"time": "20')
    sink = opened()
    sink.write(records(1))
    sink.write(records(1))
    assert path.read_text().splitlines()[1:] == [record(1).line] * 2


@pytest.mark.parametrize("umask", [0, 0o077])
@pytest.mark.parametrize("mode", ["0640", "0600"])
def test_only_those_can_read_it_who_may(path, opened, mode, umask):
    old = os.umask(umask)
    try:
        opened(mode=mode)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)


def test_one_that_is_there_keeps_its_mode(path, opened):
    path.touch(0o604)
    path.chmod(0o604)
    opened()
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_symbolic_link_is_not_followed(tmp_path, path, opened):
    target = tmp_path / "target"
    sink = opened()
    path.unlink()
    path.symlink_to(target)
    with pytest.raises(TryAgainError, match="is a symbolic link; name its target"):
        sink.write(records(1))
    assert not target.exists()


def test_a_pipe_is_no_file(path):
    sink = JsonLines(path=path)
    os.mkfifo(path)
    with pytest.raises(TryAgainError, match="isn't a regular file"):
        sink.open()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.symlink_to("/dev/null"), "is a symbolic link"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.parent.rmdir(), "there is no directory"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_told_at_once(tmp_path, make, problem):
    (tmp_path / "d").mkdir()
    make(tmp_path / "d" / "f")
    with pytest.raises(ExceptionGroup) as caught:
        JsonLines(path=tmp_path / "d" / "f")
    assert problem in str(caught.value.exceptions[0])


class TestRotation:
    def test_by_size_the_latest_are_kept(self, tmp_path, path, opened):
        line = len(record(1).line) + 1
        sink = opened(rotate_size=2 * line + 10, keep=2)
        for each in records(7):
            sink.write([each])
        assert numbers(path) == [7]
        assert numbers(tmp_path / "events.jsonl.1") == [5, 6]
        assert numbers(tmp_path / "events.jsonl.2") == [3, 4]
        assert len(list(tmp_path.iterdir())) == 3

    def test_a_batch_larger_than_a_file_may_be_goes_into_several(self, tmp_path, path, opened):
        sink = opened(rotate_size=1024)
        sink.write(records(10))
        sink.write(records(1, 11))
        files = [tmp_path / f"events.jsonl.{each}" for each in (5, 4, 3, 2, 1)]
        assert [number for file in (*files, path) for number in numbers(file)] == [*range(1, 12)]
        assert all(file.stat().st_size <= 1024 for file in files)

    def test_a_record_larger_than_a_file_may_be_has_one_alone(self, tmp_path, path, opened):
        sink = opened(rotate_size=1024)
        large = record(2, event=said("x", y="z" * 2000))
        sink.write([record(1), large, record(3)])
        assert numbers(tmp_path / "events.jsonl.2") == [1]
        assert numbers(tmp_path / "events.jsonl.1") == [2]
        assert numbers(path) == [3]

    def test_of_a_batch_for_several_files_what_is_written_does_not_come_again(
        self, tmp_path, path, opened
    ):
        sink = opened(rotate_size=1024, keep=1)
        (tmp_path / "events.jsonl.1").mkdir()
        with pytest.raises(TryAgainError) as caught:
            sink.write(records(5))
        assert numbers(path) == list(range(1, caught.value.written + 1)) != []

    def test_what_is_not_on_the_disk_yet_is_forced_there_first(self, path, opened, monkeypatch):
        forced = []
        sink = opened(rotate_size=1024)
        sink.write(records(2))
        place = path.stat().st_ino
        monkeypatch.setattr(jsonl.os, "fdatasync", lambda fd: forced.append(os.fstat(fd).st_ino))
        sink.write(records(2, 3))
        assert forced == [place]

    def test_by_time_even_if_it_was_not_open_then(self, tmp_path, path, opened):
        day = 86400.0
        sink = opened(rotate_every=day)
        now = sink.clock()
        sink.write(records(1))
        sink.clock = lambda: now + day
        sink.write(records(1, 2))
        assert numbers(tmp_path / "events.jsonl.1") == [1]
        sink.close()
        os.utime(path, (now - 3 * day, now - 3 * day))
        sink.open()
        sink.write(records(1, 3))
        assert (numbers(path), numbers(tmp_path / "events.jsonl.1")) == ([3], [2])

    def test_an_empty_file_is_never_rotated(self, tmp_path, opened):
        sink = opened(rotate_every=60.0)
        sink.clock = lambda: 1.0
        sink.write(records(1))
        assert len(list(tmp_path.iterdir())) == 1

    def test_one_that_fails_loses_nothing(self, tmp_path, path, opened):
        sink = opened(rotate_size=2048, keep=1)
        sink.write(records(5))
        (tmp_path / "events.jsonl.1").mkdir()
        with pytest.raises(TryAgainError, match="directory"):
            sink.write(records(5))
        (tmp_path / "events.jsonl.1").rmdir()
        sink.write(records(5, 6))
        assert numbers(path) == [6, 7, 8, 9, 10]


def test_reopened_after_a_move_it_goes_on_in_a_new_file(tmp_path, path, opened):
    sink = opened()
    sink.write(records(1))
    path.rename(tmp_path / "moved")
    sink.reopen()
    sink.write(records(1, 2))
    assert (numbers(tmp_path / "moved"), numbers(path)) == ([1], [2])


def test_if_it_cannot_be_reopened_the_old_one_stays(path, opened):
    sink = opened()
    path.unlink()
    path.mkdir()
    with pytest.raises(TryAgainError):
        sink.reopen()
    assert sink._fd >= 0


def test_a_file_that_was_moved_or_removed_is_taken_up_anew_without_being_told(path, opened):
    sink = opened()
    sink.write(records(1))
    path.unlink()
    sink.write(records(1, 2))
    assert numbers(path) == [2]


def test_two_that_write_to_one_file_rotate_it_together(tmp_path, path, opened):
    line = len(record(1).line) + 1
    one, other = (opened(rotate_size=max(1024, 3 * line), keep=50) for _ in range(2))
    for number in range(0, 20, 2):
        one.write(records(1, number))
        other.write(records(1, number + 1))
    files = list(tmp_path.iterdir())
    assert len(files) > 3
    assert sorted(number for each in files for number in numbers(each)) == list(range(20))
    assert all(each.stat().st_size <= max(1024, 3 * line) for each in files)


@pytest.mark.parametrize("moves", [1, 5, 1000])
def test_it_writes_to_no_file_that_it_has_not_locked(tmp_path, path, opened, monkeypatch, moves):
    sink = opened()
    flock, locked = fcntl.flock, []

    def lock_and_lose(fd, operation):
        flock(fd, operation)
        if operation == fcntl.LOCK_EX:
            locked.append(os.fstat(fd).st_ino)
            if len(locked) <= moves:
                path.rename(tmp_path / f"moved{len(locked)}")

    monkeypatch.setattr(jsonl.fcntl, "flock", lock_and_lose)
    if moves > jsonl.MOVES:
        with pytest.raises(TryAgainError, match="moved away again and again"):
            sink.write(records(1))
        assert path.read_text() == ""
    else:
        sink.write(records(1))
        assert numbers(path) == [1]
        assert path.stat().st_ino == locked[-1]


def test_a_file_that_another_has_filled_meanwhile_is_full(tmp_path, path, opened, monkeypatch):
    sink, other = opened(rotate_size=1024), opened(rotate_size=1024)
    sink.write(records(2))
    rotate = JsonLines._rotate

    def rotate_and_fill(self):
        rotate(self)
        if self is sink and not (tmp_path / "events.jsonl.2").exists():
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            other.write(records(2, 3))

    monkeypatch.setattr(JsonLines, "_rotate", rotate_and_fill)
    sink.write(records(2, 5))
    assert numbers(tmp_path / "events.jsonl.2") == [1, 2]
    assert numbers(tmp_path / "events.jsonl.1") == [3, 4]
    assert numbers(path) == [5, 6]


def test_it_waits_for_another_process_that_is_amid_a_batch(path, opened):
    sink = opened()
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=sink.write, args=(records(1, 2),))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        other.write(f"{record(1).line}\n")
    thread.join()
    assert numbers(path) == [1, 2]


@pytest.mark.parametrize("partly", [0, 100])
def test_when_the_disk_is_full_nothing_of_the_batch_stays(path, opened, monkeypatch, partly):
    sink = opened()
    sink.write(records(1))
    write = os.write
    room = [partly]

    def full(fd, data):
        if room:
            write(fd, data[: room.pop()])
            return partly
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jsonl.os, "write", full)
    with pytest.raises(TryAgainError, match="No space left on device"):
        sink.write(records(5))
    monkeypatch.undo()
    sink.write(records(2, 2))
    assert numbers(path) == [1, 2, 3]


@pytest.mark.parametrize(
    ("fsync", "after_write", "after_flush"), [("never", 0, 0), ("batch", 2, 2), ("interval", 0, 1)]
)
def test_when_it_is_forced_to_the_disk(opened, monkeypatch, fsync, after_write, after_flush):
    calls = []
    sink = opened(fsync=fsync)
    monkeypatch.setattr(jsonl.os, "fdatasync", calls.append)
    sink.write(records(1))
    sink.write(records(1))
    assert len(calls) == after_write
    sink.flush()
    assert len(calls) == after_flush
    assert sink.flush_every == 1.0


def test_when_forcing_fails_the_batch_is_tried_again(path, opened, monkeypatch):
    def broken(fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    sink = opened(fsync="batch")
    monkeypatch.setattr(jsonl.os, "fdatasync", broken)
    with pytest.raises(TryAgainError, match="Input/output error"):
        sink.write(records(1))
    monkeypatch.undo()
    sink.write(records(1))
    assert numbers(path) == [1]


def test_it_may_be_relative_to_where_tcpd_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sink = JsonLines(path=Path("x.jsonl"))
    sink.open()
    sink.write(records(1))
    sink.close()
    assert numbers(tmp_path / "x.jsonl") == [1]
