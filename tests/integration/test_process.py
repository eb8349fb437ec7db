"""What the process leaves to the system, and takes over from it: daemon mode, files, privileges."""

import contextlib
import ctypes
import grp
import os
import pwd
import re
import select
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from helpers.daemon import BIN, PATIENCE, tcpd

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="to give up root's privileges takes root")


def wait_until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def start_daemon(
    directory: Path, *arguments: str, twistd: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run twistd as people do: it returns once the daemon runs, or could not start."""
    return subprocess.run(
        [BIN / "twistd", "--pidfile=pid", "--logfile=log", *twistd, "tcpd", *arguments],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@contextlib.contextmanager
def reaper() -> Iterator[None]:
    """Make us the parent of processes whose own has gone, so that we are told how they end."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def end_of(pid: int) -> int:
    """Return the exit status of a process that we have become the parent of."""
    watch = os.pidfd_open(pid)
    try:
        if not select.select([watch], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(watch)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def port_in(log: Path) -> int:
    match = re.search(r"listens on [^ ]*:(\d+) ", log.read_text())
    assert match is not None
    return int(match[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("reactor", ["tcpd", "epoll", "asyncio"])
def test_a_daemon_ends_with_status_0_and_leaves_nothing(
    tmp_path: Path, reactor: str, number: int
) -> None:
    with reaper():
        flags = ("--port=0", "--listen=unix:a.sock")
        done = start_daemon(tmp_path, *flags, twistd=(f"--reactor={reactor}",))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        pid = int((tmp_path / "pid").read_text())
        with socket.create_connection(("127.0.0.1", port_in(tmp_path / "log")), PATIENCE) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            os.kill(pid, number)
            assert sock.recv(1) == b""
        assert end_of(pid) == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log"]
    assert ", shutdown [" in (tmp_path / "log").read_text()


def test_a_second_daemon_is_told_of_the_first(tmp_path: Path) -> None:
    with reaper():
        assert start_daemon(tmp_path, "--port=0").returncode == 0
        pid = int((tmp_path / "pid").read_text())
        second = start_daemon(tmp_path, "--port=0")
        assert second.returncode == 1
        said = f"tcpd: --pidfile: 'pid' is taken: process {pid} runs, and uses it\n"
        assert second.stderr == said
        os.kill(pid, signal.SIGTERM)
        assert end_of(pid) == 0


def test_what_a_killed_daemon_left_behind_is_taken_over(tmp_path: Path) -> None:
    with reaper():
        for listen in ("a.sock", "a.sock", "a.sock:lockfile=0"):
            assert start_daemon(tmp_path, f"--listen=unix:{listen}").returncode == 0
            pid = int((tmp_path / "pid").read_text())
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(str(tmp_path / "a.sock"))
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"
            os.kill(pid, signal.SIGKILL)
            assert end_of(pid) == -signal.SIGKILL
            assert stat.S_ISSOCK((tmp_path / "a.sock").stat().st_mode)
            assert (tmp_path / "pid").read_text() == f"{pid}\n"
        with tcpd("--listen=unix:a.sock", cwd=tmp_path, twistd=("--pidfile=pid",)) as daemon:
            daemon.wait_for(f"process {pid} has left its pid file behind, which is ours now")
            assert daemon.stop() == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log"]


def test_a_start_that_fails_leaves_no_pid_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = f"--listen=tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        with reaper():
            assert start_daemon(tmp_path, flags).returncode == 1
            # The process that tells its parent ends a moment later.
            wait_until(lambda: not (tmp_path / "pid").exists())
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)


# -- privileges ------------------------------------------------------------------------------


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that anybody can reach and root alone may write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def ids(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def free_low_port() -> int:
    for port in range(1023, 600, -1):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("every port is taken")


@as_root
def test_as_root_it_opens_what_takes_root_and_is_then_somebody_else(directory: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "all.pem")
    os.chmod(directory / "all.pem", 0o600)
    mine, port = directory / "mine", free_low_port()
    mine.mkdir()
    os.chown(mine, NOBODY, NOBODY)
    (directory / "tcpd.toml").write_text(
        f"""
        [listeners.low]
        listen = "tcp:{port}:interface=127.0.0.1"
        tls = {{ certificate = "all.pem" }}
        [listeners.unix]
        listen = ["unix:mine/a.sock:mode=660", "unix:b.sock:mode=600"]
        [log]
        file = "mine/tcpd.log"
        """
    )
    log = mine / "tcpd.log"
    flags = ("--config=tcpd.toml",)
    with reaper():
        done = start_daemon(directory, *flags, twistd=("--uid=65534", "--gid=65534"))
        assert (done.returncode, done.stderr) == (0, "")
        pid = int((directory / "pid").read_text())
        wait_until(lambda: "set uid/gid" in log.read_text())
        status = ids(pid)
        assert set(status["Uid"]) == set(status["Gid"]) == {str(NOBODY)}
        groups = {each.gr_gid for each in grp.getgrall() if "nobody" in each.gr_mem} | {NOBODY}
        assert set(map(int, status["Groups"])) <= groups
        for kind in ("CapPrm", "CapEff", "CapAmb", "CapInh"):
            assert int(status[kind][0], 16) == 0
        # It may connect who is the daemon's user, or in its group; and nobody needs root for it.
        for name, mode in (("mine/a.sock", 0o660), ("b.sock", 0o600)):
            found = (directory / name).stat()
            assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)
            assert stat.S_IMODE(found.st_mode) == mode
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(mine / "a.sock"))
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
        # A log that is moved away is opened anew, where its directory allows that.
        assert (log.stat().st_uid, log.stat().st_gid) == (NOBODY, NOBODY)
        log.rename(mine / "tcpd.log.1")
        os.kill(pid, signal.SIGUSR1)
        wait_until(log.exists)
        assert log.stat().st_uid == NOBODY
        os.kill(pid, signal.SIGTERM)
        assert end_of(pid) == 0
        # What lies in a directory of root's can't be removed: the pid file is empty, the socket
        # stale, and both are taken over.
        assert (directory / "pid").read_text() == ""
        assert sorted(each.name for each in mine.iterdir()) == ["tcpd.log", "tcpd.log.1"]
        assert (directory / "b.sock").exists()
        both = (mine / "tcpd.log.1").read_text() + log.read_text()
        assert "Traceback" not in both
        again = start_daemon(directory, *flags, twistd=("--uid=nobody",))
        assert (again.returncode, again.stderr) == (0, "")
        pid = int((directory / "pid").read_text())
        wait_until(lambda: log.read_text().count("set uid/gid") == 1)
        assert set(ids(pid)["Gid"]) == {str(pwd.getpwnam("nobody").pw_gid)}
        os.kill(pid, signal.SIGTERM)
        assert end_of(pid) == 0
    assert "Traceback" not in log.read_text()


@as_root
def test_a_log_that_is_there_keeps_its_owner(directory: Path) -> None:
    (directory / "log").touch()
    with reaper():
        assert start_daemon(directory, "--port=0", twistd=("--uid=nobody",)).returncode == 0
        pid = int((directory / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        assert end_of(pid) == 0
    assert (directory / "log").stat().st_uid == 0
    assert "Server Shut Down" in (directory / "log").read_text()


@as_root
def test_a_user_that_does_not_exist_needs_a_group(directory: Path) -> None:
    done = start_daemon(directory, "--port=0", twistd=("--uid=4000000",))
    assert done.returncode == 1
    assert done.stderr == "tcpd: --uid 4000000: there is no such user; add --gid\n"
