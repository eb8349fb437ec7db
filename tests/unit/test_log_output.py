"""Where log lines go, and what becomes of those that can't go there."""

import errno
import fcntl
import io
import json
import os
import stat
import sys

import pytest
from twisted.logger import LogLevel

from tcpd.errors import TcpdError
from tcpd.sinks.log_format import format_journal, format_json, format_text
from tcpd.sinks.log_output import (
    LogOutput,
    choose_log_output,
    open_log_file,
    runs_under_journald,
    with_level,
)


def event(text="hello", level=LogLevel.info, namespace="tcpd.test"):
    return {
        "log_time": 0.0,
        "log_level": level,
        "log_namespace": namespace,
        "log_format": "{text}",
        "text": text,
    }


@pytest.fixture
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_usual_umask")
def test_a_file_is_made_for_its_owner_and_group_only(tmp_path):
    open_log_file(tmp_path / "log").close()
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


def test_a_file_is_appended_to(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    LogOutput(format_text, open_log_file(path))(event())
    assert path.read_text() == "before\n1970-01-01T00:00:00.000Z info: hello\n"


def test_each_line_is_there_at_once(tmp_path):
    path = tmp_path / "log"
    output = LogOutput(format_text, open_log_file(path))
    for n in range(3):
        output(event())
        assert len(path.read_text().splitlines()) == n + 1


def make_link(path):
    (path.parent / "target").write_text("")
    path.symlink_to(path.parent / "target")


def make_dangling_link(path):
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (make_link, r"/log': it is a symbolic link; name its target$"),
        (make_dangling_link, r"/log': it is a symbolic link; name its target$"),
        (lambda path: path.mkdir(), r"/log': Is a directory$"),
        (os.mkfifo, r"/log': No such device or address$"),  # at once, with nobody there to read
    ],
)
def test_what_can_not_be_the_log_file_is_refused_with_why(tmp_path, make, problem):
    make(tmp_path / "log")
    with pytest.raises(TcpdError, match=rf"^cannot write the log to '.*{problem}"):
        open_log_file(tmp_path / "log")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TcpdError, match="/none/log': No such file or directory"):
        open_log_file(tmp_path / "none" / "log")


def test_reopening_follows_a_file_that_was_moved_away(tmp_path):
    path = tmp_path / "log"
    output = LogOutput(format_text, open_log_file(path), path)
    output(event("one"))
    path.rename(tmp_path / "log.1")
    output(event("two"))
    output.reopen()
    output(event("three"))
    assert [line.split()[-1] for line in (tmp_path / "log.1").read_text().splitlines()] == [
        "one",
        "two",
    ]
    assert path.read_text().split()[-1] == "three"


def test_a_file_that_can_not_be_reopened_is_written_on(tmp_path):
    path = tmp_path / "log"
    output = LogOutput(format_text, open_log_file(path), path)
    path.rename(tmp_path / "log.1")
    make_link(path)
    with pytest.raises(TcpdError, match="symbolic link"):
        output.reopen()
    output(event("two"))
    assert "two" in (tmp_path / "log.1").read_text()
    assert output.lost == 0


def test_reopening_closes_the_old_file(tmp_path):
    path = tmp_path / "log"
    output = LogOutput(format_text, open_log_file(path), path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        output.reopen()
    assert len(os.listdir("/proc/self/fd")) == before


def test_standard_output_is_not_reopened():
    output = LogOutput(format_text, sys.__stdout__)
    output.reopen()
    assert output.lost == 0


class Pipe:
    """A pipe that holds a page, and what comes out of it."""

    def __init__(self):
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        self.stream = os.fdopen(writing, "w")

    def read(self):
        os.set_blocking(self.reading, False)
        data = b""
        try:
            while chunk := os.read(self.reading, 65536):
                data += chunk
        except BlockingIOError:
            pass
        return data.decode()


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    os.close(pipe.reading)
    pipe.stream.close()


def fill(output, text):
    """Write until lines are lost; give how many were written."""
    for n in range(10_000):
        output(event(f"{n} {text}"))
        if output.lost:
            return n
    raise AssertionError("a pipe without end")


@pytest.mark.parametrize("form", [format_text, format_json, format_journal])
def test_a_reader_that_does_not_read_costs_lines_which_are_counted(pipe, form):
    output = LogOutput(form, pipe.stream)
    written = fill(output, "x" * 200)
    output(event("lost too"))
    assert output.lost == 2
    first = pipe.read()
    output(event("after"))
    assert output.lost == 0
    lines = (first + pipe.read()).splitlines()
    whole = [line for line in lines if "x" * 200 in line]
    assert len(whole) == written
    assert "records lost before this one, since they could not be written: 2" in lines[-2]
    assert "after" in lines[-1]
    if form is format_json:
        assert json.loads(lines[-2])["lost"] == 2
        assert json.loads(lines[-1])["message"] == "after"
    if form is format_journal:
        assert lines[-2].startswith("<4>")


def test_a_line_that_was_broken_off_does_not_swallow_the_next(pipe):
    output = LogOutput(format_json, pipe.stream)
    fill(output, "x" * 5000)  # more than the pipe takes
    first = pipe.read()
    assert not first.endswith("\n")
    output(event("after"))
    broken, loss, after = (first + pipe.read()).splitlines()[-3:]
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(broken)
    assert json.loads(loss)["lost"] == 1
    assert json.loads(after)["message"] == "after"


def test_a_reader_that_has_gone_is_no_error(pipe):
    output = LogOutput(format_text, pipe.stream)
    os.close(pipe.reading)
    pipe.reading = os.open(os.devnull, os.O_RDONLY)
    output(event())
    assert output.lost == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_loses_and_counts():
    with open("/dev/full", "w") as full:
        output = LogOutput(format_text, full)
        for _ in range(3):
            output(event())
        assert output.lost == 3
        with pytest.raises(OSError, match="No space") as caught:
            os.write(full.fileno(), b"x")
        assert caught.value.errno == errno.ENOSPC


def test_a_line_that_can_not_be_formatted_is_lost_and_no_error(tmp_path):
    def broken(event):
        raise RuntimeError("a bug")

    with open(tmp_path / "log", "w") as stream:
        output = LogOutput(broken, stream)
        output(event())
    assert output.lost == 1


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error", "critical"])
def test_levels_below_the_chosen_one_are_left_out(tmp_path, level):
    path = tmp_path / "log"
    observer = with_level(LogOutput(format_text, open_log_file(path)), level)
    levels = ["debug", "info", "warn", "error", "critical"]
    for each in levels:
        observer(event(each, LogLevel.levelWithName(each)))
    written = [line.split()[-1] for line in path.read_text().splitlines()]
    assert written == levels[levels.index(level) :]


def test_a_connectors_every_try_is_left_out_but_not_its_warnings(tmp_path):
    path = tmp_path / "log"
    observer = with_level(LogOutput(format_text, open_log_file(path)), "debug")
    noisy = "twisted.application._client_service.ClientService"
    observer(event("a try", LogLevel.info, noisy))
    observer(event("a warning", LogLevel.warn, noisy))
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["warning"]


def test_a_stream_is_journalds_if_the_environment_names_it(tmp_path):
    with open(tmp_path / "stream", "w") as stream:
        status = os.fstat(stream.fileno())
        mine = f"{status.st_dev}:{status.st_ino}"
        assert runs_under_journald({"JOURNAL_STREAM": mine}, stream)
        assert not runs_under_journald({"JOURNAL_STREAM": "1:1"}, stream)
        assert not runs_under_journald({}, stream)
    assert not runs_under_journald({"JOURNAL_STREAM": mine}, io.StringIO())


@pytest.mark.parametrize(
    ("form", "named", "line"),
    [
        ("text", True, "<6>hello\n"),
        ("text", False, "1970-01-01T00:00:00.000Z info: hello\n"),
        ("json", True, None),
    ],
)
def test_standard_output_gets_what_its_reader_understands(monkeypatch, tmp_path, form, named, line):
    with open(tmp_path / "stream", "w") as stream:
        monkeypatch.setattr(sys, "__stdout__", stream)
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"} if named else {}
        choose_log_output(form, None, environ)(event())
    text = (tmp_path / "stream").read_text()
    assert text == line if line else json.loads(text)["message"] == "hello"


def test_a_file_is_never_written_for_journald(tmp_path):
    path = tmp_path / "log"
    path.touch()
    status = path.stat()
    environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    choose_log_output("text", path, environ)(event())
    assert path.read_text().startswith("1970")


def test_what_was_gathered_comes_before_what_follows(tmp_path):
    path = tmp_path / "log"
    output = LogOutput(format_text, open_log_file(path))
    assert output.gather(lambda: format_text(event("first")))
    assert not output.gather(lambda: format_text(event("second")))
    output(event("third"))
    assert [line.split(": ")[1] for line in path.read_text().splitlines()] == [
        "first", "second", "third",
    ]  # fmt: skip
    assert output.gather(lambda: format_text(event("fourth")))


def test_what_was_gathered_goes_to_the_file_that_was_open(tmp_path):
    path = tmp_path / "log"
    output = LogOutput(format_text, open_log_file(path), path)
    output.gather(lambda: format_text(event()))
    path.rename(tmp_path / "old")
    output.reopen()
    assert (tmp_path / "old").read_text().endswith("hello\n")
    assert path.read_text() == ""


def test_all_that_was_gathered_counts_as_lost_if_it_is():
    with open("/dev/full", "w") as full:
        output = LogOutput(format_text, full)
        output.gather(lambda: format_text(event()))
        output.gather(lambda: format_text(event()))
        output.flush()
        assert output.lost == 2
        output(event())
        assert output.lost == 3
