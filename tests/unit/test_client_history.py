"""The history's file: where it is, who may read it, and how much of it is kept."""

import os
import stat
from pathlib import Path

import pytest
from prompt_toolkit.history import FileHistory, InMemoryHistory

from tcpd.client import history
from tcpd.client.history import history_path, open_history


def test_it_is_in_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/joe")
    assert history_path({"XDG_STATE_HOME": "/s"}) == Path("/s/tcpd/client_history")
    at_home = Path("/home/joe/.local/state/tcpd/client_history")
    # The specification has a relative path ignored.
    assert history_path({}) == history_path({"XDG_STATE_HOME": "rel"}) == at_home


def test_it_is_the_users_alone_even_if_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "tcpd" / "h"
    before = os.umask(0)
    try:
        kept, problem = open_history(path)
        kept.append_string("secret")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.chmod(0o644)
        again, _ = open_history(path)
    finally:
        os.umask(before)
    assert problem == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(again.load_history_strings()) == ["secret"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("")
    (tmp_path / "h").symlink_to(target)
    kept, problem = open_history(tmp_path / "h")
    assert isinstance(kept, InMemoryHistory)
    assert problem.startswith(f"no history: {tmp_path}/h: ")


def test_something_that_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "h")
    kept, problem = open_history(tmp_path / "h")
    assert isinstance(kept, InMemoryHistory)
    assert "not a regular file" in problem


def test_the_older_half_is_dropped_when_it_grows_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SIZE", 4000)
    path = tmp_path / "h"
    kept, _ = open_history(path)
    for number in range(200):
        kept.append_string(f"line {number}")
    again, problem = open_history(path)
    lines = list(again.load_history_strings())
    assert problem == ""
    assert lines[0] == "line 199"
    assert lines == [f"line {number}" for number in range(199, 199 - len(lines), -1)]
    assert path.stat().st_size <= 2000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["h"]


def test_a_line_that_can_not_be_kept_is_dropped(tmp_path: Path) -> None:
    kept, _ = open_history(tmp_path / "h")
    assert isinstance(kept, FileHistory)
    (tmp_path / "h").unlink()
    (tmp_path / "h").mkdir()
    kept.append_string("x")
    assert kept.get_strings() == ["x"]
