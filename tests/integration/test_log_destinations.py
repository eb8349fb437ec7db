"""Where a real daemon's log goes, by its configuration, twistd's own flags, and in trouble."""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import stat
import subprocess
import time
from contextlib import contextmanager

import pytest
from helpers.daemon import BIN, PATIENCE, receive_all, run_tcpd, tcpd

LISTEN = '[listeners.main]\nlisten = "tcp:0:interface=127.0.0.1"\n'


def configured(tmp_path, **log):
    """Write a configuration with a [log]; give the flag that reads it."""
    values = "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in log.items())
    (tmp_path / "tcpd.toml").write_text(f"{LISTEN}[log]\n{values}")
    return "--config=tcpd.toml"


def wait_for_line(path, text, after=0):
    """Wait until a file has a text, and return all that the file has."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        content = path.read_text(errors="replace")[after:] if path.exists() else ""
        if text in content and content.endswith("\n"):
            return content
        time.sleep(0.005)
    raise AssertionError(f"no {text!r} in {content!r}")


def port_in(path):
    content = wait_for_line(path, "listens on")
    return int(content.split("listens on 127.0.0.1:")[1].split(" ")[0])


def use(port, count=1):
    """Run whole sessions, one after another."""
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b"hello"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_in_the_configuration_gets_everything(tmp_path, form):
    log = tmp_path / "tcpd.log"
    log.write_text("kept\n")
    with tcpd(configured(tmp_path, file="tcpd.log", format=form), cwd=tmp_path) as daemon:
        use(port_in(log))
        wait_for_line(log, "peer-closed")
        daemon.stop()
    assert daemon.output == ""
    first, *lines = log.read_text().splitlines()
    assert first == "kept"
    assert "Server Shut Down" in lines[-1]
    if form == "json":
        assert all("message" in json.loads(line) for line in lines)


def test_a_new_file_is_closed_to_strangers(tmp_path):
    log = tmp_path / "tcpd.log"
    before = os.umask(0)
    try:
        with tcpd(configured(tmp_path, file="tcpd.log"), cwd=tmp_path):
            port_in(log)
    finally:
        os.umask(before)
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.symlink_to("target"), "log is a symbolic link; name its target"),
        (lambda path: path.mkdir(), "log is a directory, not a file"),
        (lambda path: path.parent.joinpath("tcpd.toml").write_text(
            LISTEN + '[log]\nfile = "none/log"\n'), "none; make it first"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_written_is_a_wrong_configuration(tmp_path, make, problem):
    flag = configured(tmp_path, file="log")
    make(tmp_path / "log")
    done = run_tcpd(flag, cwd=tmp_path)
    assert done.returncode == 78
    assert done.stderr.startswith("tcpd.toml:")
    assert done.stderr.endswith(f"{problem}\n")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "target").exists()


def test_a_file_that_can_not_be_opened_ends_the_start(tmp_path):
    flag = configured(tmp_path, file="log")
    os.mkfifo(tmp_path / "log")
    done = run_tcpd(flag, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("tcpd: cannot write the log to '")
    assert done.stderr.endswith("log': No such device or address\n")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def without_privilege_over_files():
    """Have root be stopped by a file's mode, too, from the next exec on; see capabilities(7)."""
    pr_capbset_drop, cap_dac_override = 24, 1
    ctypes.CDLL(None).prctl(pr_capbset_drop, cap_dac_override, 0, 0, 0)


def test_a_directory_that_is_closed_to_us_ends_the_start(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = subprocess.run(
        [BIN / "twistd", "-n", "tcpd", configured(tmp_path, file="closed/log")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=without_privilege_over_files,
    )
    assert done.returncode == 1
    assert done.stderr == f"tcpd: cannot write the log to '{closed}/log': Permission denied\n"


def test_a_signal_has_the_file_opened_anew(tmp_path):
    log, old = tmp_path / "tcpd.log", tmp_path / "tcpd.log.1"
    with tcpd(configured(tmp_path, file="tcpd.log"), cwd=tmp_path) as daemon:
        port = port_in(log)
        log.rename(old)
        use(port)
        wait_for_line(old, "peer-closed")
        daemon.process.send_signal(signal.SIGUSR1)
        # Where the file is new, the daemon has taken the signal.
        end = time.monotonic() + PATIENCE
        while not log.exists() and time.monotonic() < end:
            time.sleep(0.005)
        use(port)
        wait_for_line(log, "peer-closed")
        daemon.stop()
    assert old.read_text().count("peer-closed") == 1
    assert log.read_text().count("peer-closed") == 1


def test_a_file_that_can_not_be_opened_anew_is_written_on(tmp_path):
    log, old = tmp_path / "tcpd.log", tmp_path / "tcpd.log.1"
    with tcpd(configured(tmp_path, file="tcpd.log"), cwd=tmp_path) as daemon:
        port = port_in(log)
        log.rename(old)
        log.symlink_to(tmp_path / "trap")
        daemon.process.send_signal(signal.SIGUSR1)
        wait_for_line(old, "it is a symbolic link; name its target; the log goes on where it was")
        use(port)
        wait_for_line(old, "peer-closed")
    assert not (tmp_path / "trap").exists()


def test_the_signal_means_nothing_to_a_log_on_standard_output(tmp_path):
    with tcpd("--port=0", cwd=tmp_path) as daemon:
        port = daemon.port()
        daemon.process.send_signal(signal.SIGUSR1)
        use(port)
        daemon.wait_for("peer-closed")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_log_that_takes_nothing_harms_no_session(tmp_path):
    with open("/dev/full", "w") as full, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        process = subprocess.Popen(
            [BIN / "twistd", "-n", "tcpd", f"--port={port}"], cwd=tmp_path, stdout=full
        )
        try:
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    use(port, 20)
                    break
                except ConnectionRefusedError:
                    assert process.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.01)
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def small_disk(path):
    """Mount a file system of 64 KiB; its pages are memory."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=755", "tcpd-test", path]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("to mount a small file system takes root")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_disk_that_fills_up_loses_records_counts_them_and_comes_back(tmp_path, form):
    with small_disk(tmp_path / "disk") as disk:
        log = disk / "tcpd.log"
        flag = configured(tmp_path, file=log, format=form)
        with tcpd(flag, cwd=tmp_path) as daemon:
            port = port_in(log)
            ballast = disk / "ballast"
            fill(ballast)
            use(port, 100)  # more than what is left of the log's last page
            ballast.unlink()
            use(port)
            wait_for_line(log, "lost before this one")
            daemon.stop()
        lines = log.read_text().splitlines()
        shown = [n for n, line in enumerate(lines) if "lost before this one" in line]
        (place,) = shown
        lost = int(lines[place].split("could not be written: ")[1].split('"')[0])
        kept = sum("peer-closed [" in line and line[-1] in "]}" for line in lines)
        # One that lacks nothing but its line end is lost, and looks as if it weren't.
        assert kept + lost in (101, 102)
        assert lost > 50
        if form == "json":
            whole = [line for line in lines if line.endswith("}")]
            assert {json.loads(line)["level"] for line in whole} == {"info", "warn"}
            assert len(lines) - len(whole) <= 1  # the one that was broken off


def test_a_reader_that_does_not_read_harms_no_session(tmp_path):
    with tcpd("--port=0", cwd=tmp_path) as daemon:
        port = daemon.port()
        # A pipe holds 64 KiB, and a session takes some 100 bytes of it.
        use(port, 1200)
        pipe = daemon.process.stdout.fileno()
        while select.select([pipe], [], [], 0)[0]:
            daemon.output += os.read(pipe, 65536).decode()
        assert daemon.output.count("peer-closed") < 1200
        use(port)
        daemon.wait_for("lost before this one")


@pytest.mark.parametrize(
    ("level", "there", "missing"),
    [("info", ["listens on", "peer-closed"], []), ("error", [], ["listens on", "peer-closed"])],
)
def test_levels_below_the_configured_one_are_left_out(tmp_path, level, there, missing):
    path = tmp_path / "s.sock"
    config = configured(tmp_path, level=level)
    text = (tmp_path / "tcpd.toml").read_text()
    (tmp_path / "tcpd.toml").write_text(
        text.replace('"tcp:0:interface=127.0.0.1"', f'"unix:{path}"')
    )
    with tcpd(config, cwd=tmp_path) as daemon:
        end = time.monotonic() + PATIENCE
        with socket.socket(socket.AF_UNIX) as connection:
            while connection.connect_ex(str(path)):  # no file yet, or one where nobody listens yet
                assert time.monotonic() < end
                time.sleep(0.005)
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b""
        daemon.stop()
    assert all(text in daemon.output for text in there)
    assert not any(text in daemon.output for text in missing)


def test_journald_gets_priorities_and_no_times(tmp_path):
    with open(tmp_path / "journal", "w") as stream:
        status = os.fstat(stream.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        command = [BIN / "twistd", "-n", "tcpd", "--port=0"]
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=stream)
        try:
            use(port_in(tmp_path / "journal"))
            wait_for_line(tmp_path / "journal", "peer-closed")
        finally:
            process.terminate()
            process.wait(PATIENCE)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert {line[:3] for line in lines} == {"<6>", "<4>"}


def test_twistds_own_log_file_is_honoured(tmp_path):
    log = tmp_path / "own.log"
    with tcpd("--port=0", cwd=tmp_path, twistd=("--logfile=own.log",)) as daemon:
        use(port_in(log))
        wait_for_line(log, "peer-closed")
        daemon.stop()
    assert daemon.output == ""


def test_twistds_own_log_file_may_be_standard_output(tmp_path):
    with tcpd("--port=0", cwd=tmp_path, twistd=("--logfile=-",)) as daemon:
        use(daemon.port())
        daemon.wait_for("info: .*peer-closed")


def test_twistds_own_logger_is_honoured(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys\ndef observer():\n"
        "    return lambda event: print('MINE', event['log_format'], file=sys.__stdout__)\n"
    )
    environ = {"PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    flags = ("--logger=mine.observer",)
    with tcpd("--port=0", cwd=tmp_path, twistd=flags, env=environ) as daemon:
        daemon.wait_for("MINE listener {listener} listens on")
        daemon.stop()
    assert "Z info:" not in daemon.output


def test_syslog_is_honoured(tmp_path):
    with tcpd("--port=0", cwd=tmp_path, twistd=("--syslog", "--pidfile=pid")) as daemon:
        end = time.monotonic() + PATIENCE
        while not (tmp_path / "pid").exists() and time.monotonic() < end:
            time.sleep(0.005)
        daemon.stop()
    assert daemon.output == ""


def test_twist_logs_likewise(tmp_path):
    command = [BIN / "twist", "tcpd", "--port=0"]
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out)
        try:
            use(port_in(tmp_path / "out"))
            wait_for_line(tmp_path / "out", "peer-closed")
        finally:
            process.terminate()
            process.wait(PATIENCE)
    lines = (tmp_path / "out").read_text().splitlines()
    assert any("Z info: 127.0.0.1:" in line and "peer-closed [" in line for line in lines)


def daemonized(tmp_path, *arguments, twistd=("--pidfile=pid", "--logfile=own.log")):
    """Run twistd as people do: it returns once the daemon runs, or could not start."""
    return subprocess.run(
        [BIN / "twistd", *twistd, "tcpd", *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def end_daemon(tmp_path):
    """End a daemon that isn't our child, and wait until it has gone."""
    pid = int((tmp_path / "pid").read_text())
    watch = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)

    assert select.select([watch], [], [], PATIENCE)[0]
    os.close(watch)


@pytest.mark.parametrize(
    ("flags", "name"), [(("--logfile=own.log",), "own.log"), ((), "twistd.log")]
)
def test_a_daemon_in_the_background_serves_and_logs(tmp_path, flags, name):
    done = daemonized(tmp_path, "--port=0", twistd=("--pidfile=pid", *flags))
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        use(port_in(tmp_path / name))
        wait_for_line(tmp_path / name, "peer-closed")
    finally:
        end_daemon(tmp_path)
    assert "Server Shut Down" in (tmp_path / name).read_text()
    assert not (tmp_path / "pid").exists()


def test_a_daemon_that_can_not_start_says_why_to_who_started_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = daemonized(tmp_path, f"--port={port}")
    assert done.returncode == 1
    assert f"listener 'main' cannot listen on 127.0.0.1:{port}: address already in use" in (
        done.stderr + (tmp_path / "own.log").read_text()
    )
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr
    # It reports to whoever started it before it ends.
    end = time.monotonic() + PATIENCE
    while (tmp_path / "pid").exists():
        assert time.monotonic() < end
        time.sleep(0.005)
