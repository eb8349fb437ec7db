"""tcpdctl and a real daemon with [admin]: each command, as an operator uses it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from helpers.ctl_run import CTL, Screen
from helpers.daemon import PATIENCE, Daemon, tcpd

CONFIGURATION = """\
[admin]
listen = ["unix:admin.sock:mode=600"]

[capture]
path = "captures"

[listeners.gateway]
listen = "tcp:0:interface=127.0.0.1"
handler = "echo"
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "tcpd.toml").write_text(CONFIGURATION)
    (tmp_path / "captures").mkdir(mode=0o700)
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        daemon.wait_for("listener admin listens")
        yield daemon


@pytest.fixture
def ctl(tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    def ctl(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [*CTL, *arguments],
            cwd=tmp_path,
            env={**os.environ, "TCPDCTL_SOCKET": "admin.sock"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout, done.stderr

    return ctl


def talk(daemon: Daemon, data: bytes = b"hello") -> socket.socket:
    """Return a connection whose session is open for certain."""
    sock = daemon.connect("gateway")
    sock.sendall(data)
    assert sock.recv(65536)
    return sock


def is_over(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_looking(daemon: Daemon, ctl: Callable[..., tuple[int, str, str]]) -> None:
    with talk(daemon) as sock:
        status, out, err = ctl("status")
        assert (status, err) == (0, "")
        assert f"process {daemon.pid}, running for" in out
        assert re.search(r"^gateway +echo +up +1 ", out, re.MULTILINE)
        client = f"127.0.0.1:{sock.getsockname()[1]}"
        status, out, _ = ctl("sessions", "--listener", "gateway", "--sort", "-rate")
        head, row = out.splitlines()
        assert row.index(client) == head.index("CLIENT")
        session_id = row.split()[0]
        assert ctl("sessions", "--filter", "nobody")[1] == ""
        assert ctl("sessions", "--listener", "gatewya")[0] == 4
        status, out, _ = ctl("show", session_id)
        assert status == 0
        assert re.search(r"^tcp\n  state +established$", out, re.MULTILINE)
        assert ctl("show", "nobody")[0] == 4
        assert ctl("handlers")[0] == 0
        assert "echo" in ctl("handlers")[1]
        looks = ("status", "sessions", "captures", "handlers", "top", "loglevel")
        for command in (*looks, f"show {session_id}"):
            status, out, _ = ctl(*command.split(), "--json")
            assert status == 0
            json.loads(out)


def test_closing(daemon: Daemon, ctl: Callable[..., tuple[int, str, str]]) -> None:
    for more in ([], ["--reset"]):
        with talk(daemon) as sock:
            (session,) = json.loads(ctl("sessions", "--json")[1])["sessions"]
            assert ctl("close", session["id"], *more)[0] == 0
            assert is_over(sock)
            daemon.wait_for(rf"{'operator-reset' if more else 'operator-closed'} \[{session['id']}")
            assert ctl("close", session["id"])[0] == 4


def test_steering_a_listener(daemon: Daemon, ctl: Callable[..., tuple[int, str, str]]) -> None:
    assert ctl("suspend", "gateway")[:2] == (0, "listener gateway: suspended\n")
    with daemon.connect("gateway") as sock:  # it waits in the kernel's queue
        sock.sendall(b"x")
        assert "suspended" in ctl("status")[1]
        assert ctl("resume", "gateway")[:2] == (0, "listener gateway: resumed\n")
        assert sock.recv(1) == b"x"
        assert ctl("drain", "gateway")[:2] == (0, "listener gateway: draining, 1 session open\n")
        assert is_over(sock)
    assert ctl("drain", "gatewya")[0] == 4
    assert "did you mean 'gateway'" in ctl("drain", "gatewya")[2]


def test_reload_and_check(
    daemon: Daemon, ctl: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    assert ctl("reload")[:2] == (0, "nothing has changed\n")
    more = '[listeners.shout]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "discard"\n'
    (tmp_path / "tcpd.toml").write_text(CONFIGURATION + more)
    assert ctl("check", "tcpd.toml") == (0, "ok\n", "")
    status, out, _ = ctl("reload")
    assert status == 0
    assert "shout" in out
    (tmp_path / "tcpd.toml").write_text(CONFIGURATION.replace("echo", "ecko"))
    status, _, checked = ctl("check", "tcpd.toml")
    assert status == 78
    status, out, err = ctl("reload")
    assert (status, out) == (78, "")
    assert err.startswith(checked)
    assert "refused" in ctl("status")[1]


def test_the_log_level(daemon: Daemon, ctl: Callable[..., tuple[int, str, str]]) -> None:
    assert ctl("loglevel")[1] == "info\n"
    assert ctl("loglevel", "warn")[:2] == (0, "warn\n")
    assert ctl("loglevel")[1] == "warn\n"


def test_capturing(
    daemon: Daemon, ctl: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with talk(daemon) as sock:
        status, out, err = ctl("capture", "start", "--listener", "gateway", "--format", "hexdump")
        assert (status, err) == (0, "")
        assert re.fullmatch(r"capture of listener gateway: started, .*\n", out)
        sock.sendall(b"captured?")
        sock.recv(100)
        assert "captured" in ctl("sessions")[1]
        status, out, _ = ctl("capture", "stop", "--listener", "gateway")
        assert status == 0
        assert "written" in out
    assert ctl("capture", "stop", "--session", "nobody")[0] == 4


def test_a_connector_is_completed_and_captured(
    tmp_path: Path, ctl: Callable[..., tuple[int, str, str]]
) -> None:
    connector = '[connectors.uplink]\nconnect = "unix:admin.sock"\n'
    (tmp_path / "tcpd.toml").write_text(f"{CONFIGURATION}\n{connector}")
    (tmp_path / "captures").mkdir(mode=0o700)
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        daemon.wait_for("connector uplink is connected")
        line = "tcpdctl capture start --listener "
        assert ctl("__complete", "fish", line)[1].split() == ["gateway", "uplink"]
        assert ctl("__complete", "fish", "tcpdctl drain ")[1].split() == ["gateway"]
        status, out, err = ctl("capture", "start", "--listener", "uplink")
        assert (status, err) == (0, "")
        assert "/captures/uplink-" in out


def test_tail_until_the_daemon_stops(daemon: Daemon, tmp_path: Path) -> None:
    command = [*CTL, "tail", "--socket", "admin.sock", "--event", "session.*", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as tail:
        assert tail.stdout is not None
        end = time.monotonic() + PATIENCE
        while not select.select([tail.stdout], [], [], 0.1)[0]:  # until it has subscribed
            assert time.monotonic() < end
            talk(daemon).close()
        record = json.loads(tail.stdout.readline())
        assert record["event.name"].startswith("session.")
        assert record["listener"] == "gateway"
        assert daemon.stop() == 0
        out, err = tail.communicate(timeout=PATIENCE)
        assert (tail.returncode, err) == (0, "")
        assert json.loads(out.splitlines()[-1])["event.name"] == "end"


def test_tail_until_ctrl_c(daemon: Daemon, tmp_path: Path) -> None:
    command = [*CTL, "tail", "--socket", "admin.sock", "--listener", "gateway"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        end = time.monotonic() + PATIENCE
        while not select.select([tail.stdout], [], [], 0.1)[0]:
            assert time.monotonic() < end
            talk(daemon).close()
        assert re.match(
            r"\S+Z session\.\w+ session\.id=\S+ listener=gateway ", tail.stdout.readline()
        )
        tail.send_signal(signal.SIGINT)
        assert tail.wait(PATIENCE) == 0


def test_top_closes_a_session(daemon: Daemon, tmp_path: Path) -> None:
    where = f"--socket={tmp_path / 'admin.sock'}"
    with talk(daemon) as sock, Screen("top", "--every", "100ms", where) as screen:
        lines = screen.expect(f"127.0.0.1:{sock.getsockname()[1]}")
        assert all(len(line) <= 80 for line in lines)
        screen.type("k")
        screen.expect("close .*yes")
        screen.type("y")
        assert is_over(sock)
        screen.expect("0 of 0 shown")
        screen.type("q")
        assert screen.finish() == 0
        assert screen.is_restored()


def test_top_goes_to_the_last_session_when_those_it_shows_have_ended(
    daemon: Daemon, tmp_path: Path
) -> None:
    where = f"--socket={tmp_path / 'admin.sock'}"
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(talk(daemon)) for _ in range(60)]
        screen = stack.enter_context(Screen("top", "--every", "100ms", "--sort", "age", where))
        screen.expect("19 of 60 shown")
        screen.type("\x1b[6~" * 5)
        screen.expect("42 to 60 of 60 shown")
        for sock in socks[:30]:
            sock.close()
        screen.expect("12 to 30 of 30 shown")
        screen.type("q")
        assert screen.finish() == 0


def test_without_admin_it_says_what_is_missing(ctl: Callable[..., tuple[int, str, str]]) -> None:
    assert ctl("status") == (
        3,
        "",
        (
            "tcpdctl: no daemon listens on admin.sock;"
            " is it running, with [admin] in its configuration?\n"
        ),
    )


def test_over_tls(tmp_path: Path, ctl: Callable[..., tuple[int, str, str]]) -> None:
    """Only --ca-file knows who has signed the certificate."""
    ca = trustme.CA()
    mine = ca.issue_cert("localhost")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "admin.token").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "admin.token").chmod(0o600)
    (tmp_path / "tcpd.toml").write_text(
        "[admin]\n"
        'listen = "ssl:0:interface=127.0.0.1:privateKey=both.pem:certKey=both.pem"\n'
        'token_file = "admin.token"\n'
        '[listeners.gateway]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "echo"\n'
    )
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        port = daemon.port("admin")
        where = ("--url", f"https://localhost:{port}")
        status, _, err = ctl("status", *where)
        assert status == 3
        assert "can't be trusted" in err
        assert "--ca-file" in err
        where = (*where, "--ca-file", "ca.pem")
        assert ctl("status", *where)[0] == 0
        assert ctl("loglevel", "debug", *where)[0] == 1
        assert ctl("loglevel", "DEBUG", *where, "--token-file", "admin.token")[0] == 0
        status, _, err = ctl("status", "--url", f"https://127.0.0.1:{port}", "--ca-file", "ca.pem")
        assert status == 3
        assert "not valid for '127.0.0.1'; --ca-file" in err
        assert "https://" in ctl("status", "--url", f"http://localhost:{port}")[2]
    assert ctl("status", *where, "--ca-file", "tcpd.toml")[0] == 2
    assert ctl("status", *where, "--ca-file", "none.pem")[0] == 2
    assert ctl("status", "--ca-file", "ca.pem")[0] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_looks_and_changes_nothing(tmp_path: Path) -> None:
    """Whom the socket's mode lets in may read; the rest is said in words."""
    # The interpreter of the tests may be out of another user's reach: it becomes that user.
    program = "import os, shutil, sys; from tcpd.ctl import main; os.setgroups([]); "
    program += "os.setuid(65534); sys.exit(main.main(sys.argv[1:]))"
    tmp_path.chmod(0o755)
    (tmp_path / "tcpd.toml").write_text(CONFIGURATION.replace("mode=600", "mode=666"))
    (tmp_path / "captures").mkdir(mode=0o700)

    def other(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--socket=admin.sock"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout, done.stderr

    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        daemon.wait_for("listener admin listens")
        assert other("loglevel") == (0, "info\n", "")
        status, out, err = other("loglevel", "debug")
        assert (status, out) == (1, "")
        assert "only root and tcpd's own user" in err
        (tmp_path / "admin.sock").chmod(0o600)
        assert other("status") == (
            3,
            "",
            (
                "tcpdctl: admin.sock can't be opened by this user;"
                " the socket's mode in [admin] says who may\n"
            ),
        )


# -- what docs/tcpdctl.md shows -------------------------------------------------------------------

GUIDE = (Path(__file__).parents[2] / "docs" / "tcpdctl.md").read_text("utf-8")
ID = re.compile(r"\b[0-9a-f]{8}-\d+\b")


def shape(text: str) -> list[str]:
    """Return lines without what is different each time: figures, directories, alignment."""
    text = re.sub(r"(?<=[ ])/\S*/", "", text)
    text = re.sub(r"[^\s=]*\d[^\s=,]*(?: (?:[KMG]i)?B(?:/s)?)?", "#", text)
    text = re.sub(r"#(?:, # now)?(?=\n|$)", "#", text)  # a rate, where it is known
    text = re.sub(r"(?<!\S)-(?!\S)", "#", text)
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_guide_shows_what_happens(
    tmp_path: Path, ctl: Callable[..., tuple[int, str, str]]
) -> None:
    shout = '[listeners.shout]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "logging"\n'
    (tmp_path / "tcpd.toml").write_text(f"{CONFIGURATION}\n{shout}")
    (tmp_path / "captures").mkdir(mode=0o700)
    blocks = re.findall(r"^```console\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    shown = [re.split(r"^\$ tcpdctl ", block, flags=re.MULTILINE)[1:] for block in blocks]
    examples = [each.partition("\n")[::2] for block in shown for each in block]
    assert len(examples) == 11
    events = next(told for words, told in examples if words == "tail").splitlines()
    with tcpd("--config", "tcpd.toml", cwd=tmp_path) as daemon:
        daemon.wait_for("listener admin listens")
        command = [*CTL, "tail", "--socket", "admin.sock"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as tail:
            assert tail.stdout is not None
            end = time.monotonic() + PATIENCE
            while not select.select([tail.stdout], [], [], 0.1)[0]:
                assert time.monotonic() < end
                talk(daemon).close()
            while ctl("sessions")[1]:
                assert time.monotonic() < end
            socks = [talk(daemon) for _ in range(3)]
            victim = json.loads(ctl("sessions", "--json")[1])["sessions"][0]["id"]
            for words, told in examples:
                if words == "tail":
                    continue
                status, out, err = ctl(*ID.sub(victim, words).split())
                assert shape(out + err) == shape(told), words
                assert status == (4 if "gatewya" in words else 0)
            assert daemon.stop() == 0
            out, err = tail.communicate(timeout=PATIENCE)
            for line in events:
                assert shape(line)[0] in shape(out + err)
        for sock in socks:
            sock.close()
