"""The pid file: who may have it, what is left of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tcpd.errors import ConfigError, TcpdError
from tcpd.pid_file import PidFile

DEAD = 2**22 + 1  # above the kernel's limit for numbers (pid_max in proc(5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pid"


def test_it_is_written_and_removed(path: Path) -> None:
    file = PidFile(path)
    assert file.claim() == 0
    assert path.read_text() == ""
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    file.write()
    file.remove()
    assert not path.exists()
    file.remove()


def test_a_relative_path_means_the_same_after_a_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = PidFile(Path("pid"))
    file.claim()
    monkeypatch.chdir("/")
    file.write()
    assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
    file.remove()
    assert not (tmp_path / "pid").exists()


def test_one_that_is_claimed_and_never_written_is_removed_too(path: Path) -> None:
    file = PidFile(path)
    file.claim()
    file.remove()
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "\n", f"{DEAD}", f"{DEAD}\n"])
def test_what_a_dead_process_left_behind_is_taken_over(path: Path, content: str) -> None:
    path.write_text(content)
    file = PidFile(path)
    assert file.claim() == (DEAD if content.strip() else 0)
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()


def test_a_number_that_is_another_process_now_is_taken_over(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        path.write_text(f"{child.pid}\n")
        os.utime(path, (0, 0))  # written before that process began
        file = PidFile(path)
        assert file.claim() == child.pid
        file.remove()
    finally:
        child.communicate(b"\n")


def test_a_running_process_that_knows_no_lock_keeps_its_file(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        path.write_text(f"{child.pid}\n")
        with pytest.raises(TcpdError, match=f"it names process {child.pid}, which runs"):
            PidFile(path).claim()
        assert path.read_text() == f"{child.pid}\n"
    finally:
        child.communicate(b"\n")


def test_one_of_a_process_that_is_over_but_not_reaped_is_taken_over(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie, until it is asked for
        path.write_text(f"{child.pid}\n")
        file = PidFile(path)
        assert file.claim() == child.pid
        file.remove()
    finally:
        child.wait()


def test_a_locked_one_is_taken(path: Path) -> None:
    first = PidFile(path)
    first.claim()
    first.write()
    os.utime(path, (0, 0))  # the lock counts, whatever else it looks like
    with pytest.raises(TcpdError, match=f"process {os.getpid()} runs, and uses it"):
        PidFile(path).claim()
    first.remove()
    second = PidFile(path)
    assert second.claim() == 0
    second.remove()


def link(path: Path) -> None:
    path.symlink_to("target")


def directory(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def text(path: Path) -> None:
    path.write_text("precious\n")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (link, "is a symbolic link; name its target"),
        (directory, "can't be written: Is a directory"),
        (fifo, "isn't a file"),
        (text, "holds something else than a process's number; name another"),
    ],
)
def test_what_is_no_pid_file_is_left_alone(path: Path, make, problem: str) -> None:
    make(path)
    with pytest.raises(ConfigError) as caught:
        PidFile(path).claim()
    assert str(caught.value) == f"--pidfile: '{path}' {problem}"
    if make is text:
        assert path.read_text() == "precious\n"


def test_one_without_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be written: No such file or directory"):
        PidFile(tmp_path / "none" / "pid").claim()


def test_a_file_that_somebody_has_put_in_its_place_is_left_alone(path: Path) -> None:
    file = PidFile(path)
    file.claim()
    file.write()
    path.unlink()
    path.write_text("other")
    file.remove()
    assert path.read_text() == "other"


def test_a_child_does_not_remove_it(path: Path) -> None:
    file = PidFile(path)
    file.claim()
    file.write()
    child = os.fork()
    if not child:
        file.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()


def test_a_child_that_writes_it_is_who_removes_it(path: Path) -> None:
    file = PidFile(path)
    file.claim()
    child = os.fork()
    if not child:  # as twistd does in daemon mode
        file.write()
        ours = path.read_text() == f"{os.getpid()}\n"
        file.remove()
        os._exit(0 if ours and not path.exists() else 1)
    assert os.waitpid(child, 0)[1] == 0
