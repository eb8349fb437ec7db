"""What a real daemon tells its service manager, and when."""

import os
import signal
import socket

import pytest
from helpers.daemon import PATIENCE, run_tcpd, tcpd
from helpers.service_manager import Manager

import tcpd as package

LOOPBACK = "tcp:0:interface=127.0.0.1"


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    address = tmp_path / "notify" if request.param == "path" else f"@tcpd-test-{os.getpid()}"
    with Manager(address) as manager:
        yield manager


def test_ready_means_that_every_listener_is_open(tmp_path, manager):
    path = tmp_path / "echo.sock"
    listen = ("--listen", f"unix:{path}", "--listen", LOOPBACK)
    with tcpd(*listen, cwd=tmp_path, env=manager.environ) as daemon:
        # The very first thing that it says.
        assert manager.receive() == {
            "READY": "1",
            "STATUS": f"tcpd {package.__version__}: 1 listener",
        }
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"hello")
            assert connection.recv(100) == b"hello"
        with daemon.connect() as connection:
            connection.sendall(b"hello")
            assert connection.recv(100) == b"hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_is_said_once(tmp_path, manager, number):
    with tcpd("--port=0", cwd=tmp_path, env=manager.environ) as daemon:
        manager.wait_for("READY")
        daemon.stop(number)
    assert manager.receive() == {"STOPPING": "1", "STATUS": "stopping"}
    assert not manager.pending()


def test_the_watchdog_is_fed_again_and_again(tmp_path, manager):
    environ = {**manager.environ, "WATCHDOG_USEC": "40000"}
    with tcpd("--port=0", cwd=tmp_path, env=environ):
        assert "READY" in manager.receive()  # the very first thing that it says
        for _ in range(5):
            assert manager.wait_for("WATCHDOG") == {"WATCHDOG": "1"}
    assert sum("READY" in each for each in manager.heard) == 1


def test_a_daemon_that_hangs_does_not_feed_the_watchdog(tmp_path, manager):
    (tmp_path / "hang.py").write_text(
        "import time\n"
        "from twisted.internet.protocol import Protocol\n"
        "class Hang(Protocol):\n"
        "    def dataReceived(self, data):\n"
        "        self.transport.loseConnection()\n"
        "        print('hangs', flush=True)\n"
        "        time.sleep(1000)\n"
    )
    environ = {**manager.environ, "WATCHDOG_USEC": "40000"}
    with tcpd("--port=0", "--handler=./hang.py:Hang", cwd=tmp_path, env=environ) as daemon:
        with daemon.connect() as connection:
            connection.sendall(b"x")
            daemon.wait_for("hangs")
        while manager.pending():
            manager.receive()
        with pytest.raises(AssertionError, match="silence"):
            manager.receive(patience=0.3)  # fifteen times the interval


def test_without_a_watchdog_none_is_fed(tmp_path, manager):
    with tcpd("--port=0", cwd=tmp_path, env=manager.environ) as daemon:
        manager.wait_for("READY")
        with daemon.connect() as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        assert not manager.pending()


@pytest.mark.parametrize("case", ["port in use", "bad configuration", "bad usage", "check"])
def test_a_start_that_fails_says_nothing_of_ready(tmp_path, manager, case):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = {
            "port in use": [f"--port={taken.getsockname()[1]}"],
            "bad configuration": ["--config=none.toml"],
            "bad usage": ["--no-such-flag"],
            "check": ["--check-config"],
        }[case]
        done = run_tcpd(*arguments, cwd=tmp_path, env=manager.environ)
    assert done.returncode == {"port in use": 1, "bad configuration": 78, "bad usage": 2}.get(
        case, 0
    )
    while manager.pending():
        assert "READY" not in manager.receive()


def test_of_two_listeners_one_that_fails_is_enough(tmp_path, manager):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = ("--listen", LOOPBACK, "--listen", f"tcp:{taken.getsockname()[1]}")
        done = run_tcpd(*listen, cwd=tmp_path, env=manager.environ)
    assert done.returncode == 1
    assert not manager.pending()


def test_a_service_manager_that_is_gone_changes_nothing(tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "gone")}
    with tcpd("--port=0", cwd=tmp_path, env=environ) as daemon:
        with daemon.connect() as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        daemon.wait_for("warn: can't tell the service manager")
        assert daemon.stop() == 0
