"""The systemd units as they are shipped: correct, hardened, and what they run does run."""

import ctypes
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from helpers import hardened
from helpers.daemon import BIN, PATIENCE, running

from tcpd.tap import EX_CONFIG, EX_USAGE

ETC = Path(__file__).parents[2] / "etc"
SERVICE = ETC / "systemd" / "tcpd.service"
SOCKET = ETC / "systemd" / "tcpd.socket"
EXPOSURE = 1.2
INSTALLED = "/opt/tcpd/bin"
CONFIGURED = "/etc/tcpd/tcpd.toml"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze (Debian: systemd) is not installed",
)


def settings(unit, name):
    """Return the values of a setting, one for each time that it stands in a unit."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def command(setting, config=None):
    """Return a command of the service, with the paths of this machine."""
    (line,) = [each for each in settings(SERVICE, setting) if "twistd" in each]
    words = line.lstrip("-").replace(INSTALLED, str(BIN)).split()
    return [str(config) if word == CONFIGURED else word for word in words]


@needs_analyze
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    # It asks whether what a unit starts exists; so it gets a copy that names what exists here.
    service = tmp_path / "tcpd.service"
    service.write_text(SERVICE.read_text().replace(INSTALLED, str(BIN)))
    units = [service, shutil.copy(SOCKET, tmp_path)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_analyze
def test_the_service_is_hardly_exposed():
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", SERVICE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""  # what systemd doesn't know, it only warns of
    exposure = re.search(r"exposure level for tcpd.service: ([0-9.]+)", done.stdout)
    assert float(exposure[1]) <= EXPOSURE


def test_errors_that_last_are_not_tried_again():
    (statuses,) = settings(SERVICE, "RestartPreventExitStatus")
    assert {int(each) for each in statuses.split()} == {EX_USAGE, EX_CONFIG}
    assert settings(SERVICE, "Restart") == ["on-failure"]


def test_a_check_that_fails_leaves_the_status_to_the_daemon():
    # RestartPreventExitStatus= heeds the status of the main process only.
    (line,) = settings(SERVICE, "ExecStartPre")
    assert line.startswith("-")


def test_the_check_before_start_and_reload_accepts_the_shipped_configuration():
    for setting in ("ExecStartPre", "ExecReload"):
        done = subprocess.run(command(setting, ETC / "tcpd.toml"), capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_the_check_before_reload_refuses_a_broken_configuration(tmp_path):
    config = tmp_path / "tcpd.toml"
    config.write_text('[listeners.echo]\nlissten = "tcp:0"\n')
    done = subprocess.run(command("ExecReload", config), capture_output=True, text=True)
    assert done.returncode == EX_CONFIG
    assert "did you mean 'listen'?" in done.stderr


def started(*before, config, cwd):
    """Run the service's own command."""
    return running(*before, *command("ExecStart", config), cwd=cwd)


def test_reloading_checks_first_and_leaves_the_daemon_running(tmp_path):
    # systemd stops at the first command that fails.
    check, signals = settings(SERVICE, "ExecReload")
    assert "--check-config" in check
    number = re.fullmatch(r"/bin/kill -([A-Z0-9]+) \$MAINPID", signals)[1]
    config = tmp_path / "tcpd.toml"
    config.write_text(
        (ETC / "tcpd.toml").read_text().replace("tcp:9999", "tcp:0")
        + '\n[log]\nfile = "tcpd.log"\n'
    )
    log = tmp_path / "tcpd.log"
    with started(config=config, cwd=tmp_path) as daemon:
        port = port_in(log, daemon)
        log.rename(tmp_path / "old.log")
        daemon.process.send_signal(getattr(signal, f"SIG{number}"))
        assert wait_until(log.exists, daemon)
        assert_echoes(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        assert wait_until(lambda: "5 bytes in, 5 out" in log.read_text(), daemon)
        assert daemon.stop() == 0


def wait_until(condition, daemon):
    """Wait until something is so, and return whether the daemon was there to see it."""
    while not condition():
        try:
            daemon.process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        return False
    return True


def port_in(log, daemon):
    def listens():
        return log.exists() and "listens on" in log.read_text()

    assert wait_until(listens, daemon)
    return int(re.search(r"listens on 127\.0\.0\.1:(\d+) ", log.read_text())[1])


def assert_echoes(connection):
    with connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"


def mdwe_is_known():
    script = f"import sys; sys.path.insert(0, {str(Path(hardened.__file__).parent)!r})\n"
    script += "import hardened; hardened.deny_write_execute()"
    return subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def seccomp_is_there():
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


@needs_analyze
@pytest.mark.skipif(not seccomp_is_there(), reason="libseccomp2 is not installed")
@pytest.mark.skipif(not mdwe_is_known(), reason="the kernel is older than 6.3 (PR_SET_MDWE)")
def test_tls_and_plain_sessions_work_under_the_units_rules_for_memory_and_calls(tmp_path):
    assert settings(SERVICE, "MemoryDenyWriteExecute") == ["yes"]
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "server.pem"
    )
    config = tmp_path / "tcpd.toml"
    config.write_text(
        "[listeners.plain]\n"
        'listen = ["tcp:0:interface=127.0.0.1", "unix:echo.sock:mode=660"]\n'
        "[listeners.secure]\n"
        'listen = "tcp:0:interface=127.0.0.1"\n'
        'tls = { certificate = "server.pem" }\n'
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    rules = [sys.executable, hardened.__file__, SERVICE]
    with started(*rules, config=config, cwd=tmp_path) as daemon:
        plain = socket.create_connection(("127.0.0.1", daemon.port("plain")), timeout=PATIENCE)
        assert_echoes(plain)
        local = socket.socket(socket.AF_UNIX)
        local.connect(str(tmp_path / "echo.sock"))
        assert_echoes(local)
        inner = socket.create_connection(("127.0.0.1", daemon.port("secure")), timeout=PATIENCE)
        assert_echoes(context.wrap_socket(inner, server_hostname="127.0.0.1"))
        assert daemon.stop() == 0


@needs_analyze
@pytest.mark.skipif(not seccomp_is_there(), reason="libseccomp2 is not installed")
@pytest.mark.skipif(not mdwe_is_known(), reason="the kernel is older than 6.3 (PR_SET_MDWE)")
def test_the_rules_are_in_force_in_that_test():
    rules = [sys.executable, hardened.__file__, SERVICE]
    both = "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)"
    memory = subprocess.run(
        [*rules, sys.executable, "-c", f"import mmap; {both}"], capture_output=True, text=True
    )
    assert "PermissionError" in memory.stderr
    call = subprocess.run([*rules, sys.executable, "-c", "import os; os.chroot('/')"])
    assert call.returncode == -signal.SIGSYS


def test_the_socket_goes_by_the_name_that_its_listener_asks_for():
    lines = SOCKET.read_text().splitlines()
    example = [line.removeprefix("#").strip() for line in lines if "listen = " in line]
    (name,) = settings(SOCKET, "FileDescriptorName")
    assert example == [f'listen = "systemd:domain=INET:name={name}"']
    (address,) = settings(SOCKET, "ListenStream")
    assert re.fullmatch(r"[0-9.]+:\d+", address)  # of the family INET, that is


def test_the_manual_installs_what_is_shipped_with_six_commands():
    manual = (ETC.parent / "docs" / "deploy.md").read_text()
    first = re.search(r"```console\n(.*?)```", manual, re.DOTALL)[1]
    commands = first.splitlines()
    assert len(commands) == 6
    assert all(each.startswith("$ sudo ") for each in commands)
    for name in re.findall(r"(?<= )etc/[\w./]+", first):
        assert (ETC.parent / name).is_file()
    for path in (INSTALLED.removesuffix("/bin"), CONFIGURED, "useradd", " tcpd\n"):
        assert path in first
    (user,) = settings(SERVICE, "User")
    assert f"/nologin {user}\n" in first
