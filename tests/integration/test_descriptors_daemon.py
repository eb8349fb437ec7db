"""The limit of open files of a real daemon: raised where it can be, told of where it can't."""

import resource
import signal
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from helpers.daemon import BIN, Daemon, running

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
LISTENER = """
[listeners.{name}]
listen = "unix:{name}.sock"
limits = {{ sessions = {sessions} }}
"""


def limited(soft: int, hard: int, cwd: Path, *twistd: str) -> AbstractContextManager[Daemon]:
    """Run a daemon that may open so many files."""
    return running(
        *("prlimit", f"--nofile={soft}:{hard}"),
        *(BIN / "twistd", "-n", *twistd, "tcpd", "--config=tcpd.toml"),
        cwd=cwd,
    )


def limits_of(daemon: Daemon) -> list[str]:
    """Return how many files it may open, and how many it could have itself allowed."""
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    (line,) = [each for each in limits.splitlines() if each.startswith("Max open files")]
    return line.split()[3:5]


def configure(directory: Path, **sessions: int) -> None:
    (directory / "tcpd.toml").write_text(
        "".join(LISTENER.format(name=name, sessions=cap) for name, cap in sessions.items())
    )


@pytest.mark.skipif(HARD != -1 and HARD < 1600, reason="so few files may be opened here")
def test_the_limit_is_raised_in_silence(tmp_path: Path) -> None:
    configure(tmp_path, main=1200)
    with limited(128, 1600, tmp_path) as daemon:
        daemon.wait_for("listens on unix:main.sock")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("nothing has changed")  # so the start is over
        assert limits_of(daemon) == ["1329", "1600"]
        daemon.stop()
    assert "warn" not in daemon.output


def test_what_does_not_fit_is_told_at_the_start_and_when_it_changes(tmp_path: Path) -> None:
    configure(tmp_path, one=300, two=300)
    with limited(128, 512, tmp_path) as daemon:
        daemon.wait_for(r"warn: listeners allow up to 600 sessions, but .* only 512 files; raise ")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("nothing has changed")
        configure(tmp_path, one=300, two=400)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("warn: listeners allow up to 700 sessions")
        configure(tmp_path, one=100, two=100)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("the configuration was read again in .*: 2 changes")
        daemon.stop()
    assert daemon.output.count("listeners allow up to") == 2


def test_with_the_select_reactor_the_limit_stays(tmp_path: Path) -> None:
    configure(tmp_path, main=2000)
    with limited(128, 512, tmp_path, "--reactor=select") as daemon:
        daemon.wait_for("the select reactor can watch only 1024 files; choose another")
        assert limits_of(daemon) == ["128", "512"]
        daemon.stop()
