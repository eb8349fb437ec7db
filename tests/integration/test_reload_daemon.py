"""A real daemon is told to read its configuration again."""

import contextlib
import os
import signal
import socket
import ssl
import sys
import threading

import pytest
import trustme
from helpers.daemon import BIN, PATIENCE, receive_all, running, tcpd
from helpers.service_manager import Manager

LOOPBACK = "tcp:0:interface=127.0.0.1"
ENDS = r"(?:was read again in|were read again,|refused, and nothing has changed)"


class Configured:
    """A daemon with a configuration file that a test changes."""

    def __init__(self, daemon, path):
        self.daemon = daemon
        self.path = path

    def reload(self, text=None):
        """Have it read the file again, and return what it says from then on until it is done."""
        if text is not None:
            self.path.write_text(text)
        said, self.daemon.output = self.daemon.output, ""  # what it says now is what counts
        self.daemon.process.send_signal(signal.SIGHUP)
        self.daemon.wait_for(rf"{ENDS}[^\n]*\n")
        now, self.daemon.output = self.daemon.output, said + self.daemon.output
        return now

    def connect(self, port):
        return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


@pytest.fixture
def run(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(text, *arguments, **settings):
            path = tmp_path / "tcpd.toml"
            path.write_text(text)
            arguments = arguments or ("--config=tcpd.toml",)
            daemon = stack.enter_context(tcpd(*arguments, cwd=tmp_path, **settings))
            daemon.wait_for("listens on")
            return Configured(daemon, path)

        yield start


def listener(name, address=LOOPBACK, more=""):
    return f'[listeners.{name}]\nlisten = "{address}"\n{more}\n'


def echoes(connection):
    connection.sendall(b"hello")
    return connection.recv(100) == b"hello"


def test_a_listener_gets_another_name_under_load_and_nobody_is_turned_away(run):
    house = run(listener("name0"))
    port = house.daemon.port("name0")
    failed, served, over = [], [], threading.Event()

    def load():
        while not over.is_set():
            try:
                with house.connect(port) as connection:
                    connection.sendall(b"hello")
                    connection.shutdown(socket.SHUT_WR)
                    served.append(receive_all(connection) == b"hello")
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    with house.connect(port) as stays:
        assert echoes(stays)
        for thread in threads:
            thread.start()
        for turn in range(1, 6):
            before = len(served)
            said = house.reload(listener(f"name{turn}"))
            assert f"listener name{turn} listens on 127.0.0.1:{port} " in said
            while len(served) < before + 50 and not failed:
                threading.Event().wait(0.005)
        over.set()
        for thread in threads:
            thread.join()
        assert echoes(stays)
    assert failed == []
    assert all(served)
    assert len(served) >= 250


def test_a_renewed_certificate_is_shown_and_open_sessions_go_on(run, tmp_path):
    authority = trustme.CA()

    def issue():
        pair = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        pair.write_to_path(tmp_path / "server.pem")

    def connect():
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context.wrap_socket(house.connect(port), server_hostname="127.0.0.1")

    issue()
    house = run(listener("a", more='tls = { certificate = "server.pem" }'))
    port = house.daemon.port("a")
    with connect() as early:
        before = early.getpeercert(binary_form=True)
        assert echoes(early)
        issue()
        assert "listener a: the files of its TLS have changed" in house.reload()
        with connect() as late:
            assert late.getpeercert(binary_form=True) != before
            assert echoes(late)
        assert echoes(early)


def test_options_are_for_new_sessions_and_a_rules_file_is_read_again(run, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nmatch = "a"\nreply = "one"\n')
    text = listener("a", more='handler = "reply"\noptions = { rules = "rules.toml" }')
    house = run(text)
    port = house.daemon.port("a")

    def ask(connection):
        connection.sendall(b"a\n")
        return connection.recv(100)

    with house.connect(port) as early:
        assert ask(early) == b"one\n"
        rules.write_text('[[rules]]\nmatch = "a"\nreply = "two"\n')
        said = house.reload()
        assert "listener a: a file that its handler is made of has changed" in said
        with house.connect(port) as late:
            assert (ask(early), ask(late)) == (b"one\n", b"two\n")
        rules.write_text('[[rules]]\nmatsch = "a"\nreply = "two"\n')
        said = house.reload()
        assert f"{rules}:2: rules[0].matsch: unknown key" in said
        assert "nothing has changed" in said
        assert ask(early) == b"one\n"


def test_relative_paths_stay_what_they_were_when_twistd_moves(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    house = run(listener("a"), twistd=(f"--rundir={elsewhere}",))
    assert "1 change" in house.reload(listener("a") + listener("b"))


def test_the_command_line_alone_has_files_too(run, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from twisted.internet.protocol import Protocol\n"
        "class Says(Protocol):\n"
        "    def connectionMade(self):\n"
        "        self.transport.write(b'one')\n"
    )
    house = run("", "--port=0", "--handler=mine.py:Says")
    port = house.daemon.port("main")
    source = tmp_path / "mine.py"
    source.write_text(source.read_text().replace("one", "two"))
    said = house.reload()
    assert "there is no --config, so only certificates and the handler's files were read" in said
    with house.connect(port) as connection:
        assert connection.recv(100) == b"two"


def test_flags_go_over_the_new_file_as_they_did_over_the_old(run):
    house = run(listener("a", "tcp:1"), "--config=tcpd.toml", "--port=0")
    port = house.daemon.port("a")
    said = house.reload(listener("a", "tcp:2", 'handler = "discard"'))
    assert "listener a: handler changed" in said
    assert "listens on" not in said
    house.connect(port).close()


def test_levels_and_files_of_the_log_change(run, tmp_path):
    house = run(listener("a"))
    house.path.write_text(listener("b") + '[log]\nfile = "own.log"\nformat = "json"\n')
    house.daemon.process.send_signal(signal.SIGHUP)
    own = tmp_path / "own.log"
    while not own.exists() or "was read again" not in own.read_text():
        house.daemon.process.poll()
        threading.Event().wait(0.01)
    assert '"listener": "b"' in own.read_text()
    assert "listener b" not in house.daemon.output
    assert house.daemon.stop() in (0, -signal.SIGTERM)
    assert "Server Shut Down" in own.read_text()
    assert "Shut Down" not in house.daemon.output


def test_two_signals_in_a_row_and_one_at_once_with_a_stop(run):
    house = run(listener("a"))
    for _ in range(20):
        house.daemon.process.send_signal(signal.SIGHUP)
    house.daemon.wait_for("was read again")
    house.daemon.process.send_signal(signal.SIGHUP)
    assert house.daemon.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in house.daemon.output


def signalled_once(number):
    """Give a handler's file during whose first import a signal comes to the process."""
    return f"""
import os
from pathlib import Path
from twisted.internet.protocol import Protocol

class Late(Protocol):
    pass

if not Path("came").exists():
    Path("came").touch()
    os.kill(os.getpid(), {int(number)})
"""


def test_a_hup_while_the_configuration_is_first_read_is_heeded_after(run, tmp_path):
    (tmp_path / "late.py").write_text(signalled_once(signal.SIGHUP))
    house = run(listener("a", more='handler = "late.py:Late"'))
    house.daemon.wait_for("was read again")
    assert house.daemon.output.index("listens on") < house.daemon.output.index("received SIGHUP")


def test_a_ctrl_c_while_the_configuration_is_first_read_is_no_fault_of_a_handlers(tmp_path):
    (tmp_path / "late.py").write_text(signalled_once(signal.SIGINT))
    (tmp_path / "tcpd.toml").write_text(listener("a", more='handler = "late.py:Late"'))
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        daemon.process.wait(PATIENCE)
        assert daemon.stop() == -signal.SIGINT
    assert daemon.output == ""


def test_the_service_manager_is_told(run, tmp_path):
    with Manager(tmp_path / "notify") as manager:
        house = run(listener("a"), env=manager.environ)
        manager.wait_for("READY")
        house.reload(listener("a") + listener("b"))
        assert manager.receive().keys() == {"RELOADING", "MONOTONIC_USEC"}
        ready = manager.receive()
        assert ready["READY"] == "1"
        assert ready["STATUS"].endswith(": 2 listeners")
        house.reload("[listeners.a]\n")
        assert manager.receive()["RELOADING"] == "1"
        ready = manager.receive()
        assert ready["READY"] == "1"
        assert (
            "the last reload was refused: tcpd.toml:1: listeners.a: 'listen' is" in ready["STATUS"]
        )


# LISTEN_PID is the daemon's own, so it is set by what becomes the daemon.
ACTIVATE = "import os,sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID']=str(os.getpid());"
ACTIVATE += " os.execv(sys.argv[2], sys.argv[2:])"


def test_a_socket_that_was_passed_is_kept_let_go_and_taken_again(tmp_path):
    passed = listener("a", "systemd:domain=INET:name=echo")
    (tmp_path / "tcpd.toml").write_text(passed)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        command = [
            *(sys.executable, "-c", ACTIVATE, str(held.fileno())),
            *(BIN / "twistd", "-n", "--pidfile=", "tcpd", "--config=tcpd.toml"),
        ]
        env = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "echo"}
        with running(*command, cwd=tmp_path, env=env, pass_fds=[held.fileno()]) as daemon:
            house = Configured(daemon, tmp_path / "tcpd.toml")
            house.daemon.wait_for("listens on")
            assert "changed" in house.reload(passed + 'deadlines = { idle = "1m" }\n')
            with house.connect(port) as connection:
                assert echoes(connection)
            said = house.reload(listener("b", "systemd:domain=INET:name=echo"))
            said += house.reload(listener("b", "systemd:domain=INET:index=0"))
            assert "stays open" not in said
            with house.connect(port) as connection:
                assert echoes(connection)
            said = house.reload(listener("c"))
            assert (
                f"warn: reload: systemd has passed the socket of 127.0.0.1:{port}, which stays"
                " open without listener b: who connects there waits, and nobody answers,"
            ) in said
            waits = house.connect(port)  # systemd's queue, and nobody's turn yet
            house.reload(passed)
            with waits:
                assert echoes(waits)
            house.daemon.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its privileges")
def test_a_low_port_after_the_privileges_are_gone_is_refused_with_the_reason(run, tmp_path):
    tmp_path.chmod(0o755)
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o055)
    low = next(number for number in range(1023, 500, -1) if free(number))
    house = run(listener("a"), twistd=("--uid=65534", "--gid=65534"))
    said = house.reload(listener("a") + listener("b", f"tcp:{low}:interface=127.0.0.1"))
    if "refused" not in said:
        pytest.skip("here nobody needs privileges for a low port (ip_unprivileged_port_start)")
    assert "permission denied" in said
    assert "tcpd gave up its privileges when it started, so this takes a restart" in said


def free(number):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
