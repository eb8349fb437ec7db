"""How real daemons stop: what their sessions get to finish, how long it takes, and the status."""

import os
import re
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from helpers.daemon import BIN, PATIENCE, Daemon, receive_all, running, tcpd
from helpers.service_manager import Manager

REACTORS = ("tcpd", "epoll", "asyncio", "poll")
SIZE = 67 * 1000 * 1000
SOME = 1000 * 1000
HANDLERS = f"""
from twisted.internet import task
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer
from tcpd.interfaces import IDrainable

class Heap(Protocol):
    "Queue a heap at once."
    def connectionMade(self):
        self.transport.write(bytes({SIZE}))
        print("heaped", flush=True)

class Some(Protocol):
    "Queue what the kernel takes at once, and a reader that sleeps doesn't."
    def connectionMade(self):
        self.transport.write(bytes({SOME}))
        print("queued", flush=True)

class Producer(Protocol):
    "Never finishes."
    def connectionMade(self):
        self.transport.registerProducer(self, False)
        self.transport.write(b"begun")
    def pauseProducing(self): pass
    def resumeProducing(self): pass
    def stopProducing(self): pass

@implementer(IDrainable)
class Late(Protocol):
    "Says goodbye a while after it was asked to finish."
    def connectionMade(self):
        self.transport.write(b"hello")
    def drain(self):
        self.transport.write(b" wait")
        self.clock.callLater(0.3, self.bye)
    def bye(self):
        assert not self.factory.stopped, "the factory was stopped before its sessions had ended"
        self.transport.write(b" bye")
        self.transport.loseConnection()

class Lates(Factory):
    protocol = Late
    stopped = False
    def buildSession(self, session):
        late = self.buildProtocol(session.peer)
        late.clock = session.clock
        return late
    def stopFactory(self):
        self.stopped = True
        print("stopped", flush=True)

class Bad(Late):
    def drain(self):
        raise ValueError("no end")

class Bads(Lates):
    protocol = Bad

class Never(Late):
    def drain(self):
        self.transport.write(b" never")

class Nevers(Lates):
    protocol = Never
"""


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    (tmp_path / "h.py").write_text(HANDLERS)
    return tmp_path


def configured(directory: Path, drain: str, **listeners: str) -> tuple[str, str]:
    """Write a configuration of listeners and their handlers; return its flags."""
    text = f'[stop]\ndrain = "{drain}"\n'
    for name, handler in listeners.items():
        text += f'[listeners.{name}]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "{handler}"\n'
    (directory / "tcpd.toml").write_text(text)
    return ("--config", "tcpd.toml")


def ends(daemon: Daemon) -> dict[str, str]:
    """Return how the sessions of each listener ended, as the log says."""
    return dict(re.findall(r" -> (\w+) \([^)]+\): .*, ([a-z-]+) \[", daemon.output))


def count(sock: socket.socket) -> int:
    """Return how many bytes come until the peer has shut down its side."""
    received = 0
    while chunk := sock.recv(1 << 20):
        received += len(chunk)
    return received


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("reactor", REACTORS)
def test_with_nothing_open_each_signal_ends_it_at_once(
    tmp_path: Path, reactor: str, number: int
) -> None:
    with tcpd("--port=0", cwd=tmp_path, twistd=(f"--reactor={reactor}",)) as daemon:
        daemon.port()
        begun = time.monotonic()
        assert daemon.stop(number) == 0
        assert time.monotonic() - begun < 5  # the drain may take 30
    assert f"received {signal.Signals(number).name}" in daemon.output
    assert not (tmp_path / "twistd.pid").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("reactor", ["default", "asyncio"])
def test_twist_ends_with_status_0_too(tmp_path: Path, reactor: str, number: int) -> None:
    command = [BIN / "twist", f"--reactor={reactor}", "tcpd", "--port=0"]
    with running(*command, cwd=tmp_path) as daemon, daemon.connect() as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert daemon.stop(number) == 0
        assert receive_all(sock) == b""
    assert ends(daemon) == {"main": "shutdown"}


@pytest.mark.parametrize("reactor", ["tcpd", "asyncio"])
def test_what_is_queued_reaches_its_reader_and_a_stalled_peer_is_cut(
    handlers: Path, reactor: str
) -> None:
    flags = configured(handlers, "3s", reader="h.py:Heap", stalled="h.py:Heap")
    with tcpd(*flags, cwd=handlers, twistd=(f"--reactor={reactor}",)) as daemon:
        with daemon.connect("reader") as reader, daemon.connect("stalled") as stalled:
            daemon.wait_for("heaped(?s:.)*heaped")
            daemon.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            daemon.wait_for("received SIGTERM")
            assert count(reader) == SIZE
            assert daemon.process.wait(PATIENCE) == 0
            assert 2.0 < time.monotonic() - begun < 4.0
            with pytest.raises(ConnectionResetError):
                count(stalled)
        daemon.stop()
    assert ends(daemon) == {"reader": "shutdown", "stalled": "drain-timeout"}
    assert "1 session could not finish in 3s and is cut" in daemon.output


def test_what_a_reader_of_tls_is_owed_arrives_and_ends_with_a_close_notify(
    handlers: Path,
) -> None:
    authority = trustme.CA()
    (handlers / "all.pem").write_bytes(
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    flags = ("--port=0", "--handler=h.py:Heap", "--tls-certificate=all.pem")
    with tcpd(*flags, cwd=handlers) as daemon:
        with daemon.connect() as shaking, daemon.connect() as plain:
            with context.wrap_socket(
                plain, server_hostname="localhost", suppress_ragged_eofs=False
            ) as sock:
                daemon.wait_for("heaped")
                daemon.process.send_signal(signal.SIGTERM)
                # Nobody waits for a handshake.
                try:
                    assert shaking.recv(1) == b""
                except ConnectionResetError:
                    pass
                assert count(sock) == SIZE  # without a close_notify this raises
        assert daemon.process.wait(PATIENCE) == 0
        daemon.stop()
    assert ends(daemon) == {"main": "shutdown"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_ends_a_drain_at_once(handlers: Path, number: int) -> None:
    flags = configured(handlers, "1h", stalled="h.py:Heap", producer="h.py:Producer")
    with tcpd(*flags, cwd=handlers) as daemon:
        with daemon.connect("stalled"), daemon.connect("producer") as producer:
            assert producer.recv(5) == b"begun"
            daemon.wait_for("heaped")
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_for("stops: 2 sessions open, with 1h to finish")
            assert daemon.process.poll() is None
            begun = time.monotonic()
            assert daemon.stop(number) == 0
            assert time.monotonic() - begun < 5
    assert ends(daemon) == {"stalled": "shutdown", "producer": "shutdown"}
    assert "Traceback" not in daemon.output


@pytest.mark.parametrize("drain", ["off", "0s"])
def test_without_a_drain_a_term_is_quick(handlers: Path, drain: str) -> None:
    flags = configured(handlers, drain, stalled="h.py:Heap", idle="echo", late="h.py:Lates")
    with tcpd(*flags, cwd=handlers) as daemon:
        with (
            daemon.connect("stalled"),
            daemon.connect("idle") as idle,
            daemon.connect("late") as late,
        ):
            daemon.wait_for("heaped")
            idle.sendall(b"x")
            assert idle.recv(1) == b"x"
            assert late.recv(5) == b"hello"
            begun = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - begun < 5
            assert receive_all(late) == b""  # it isn't asked
    assert ends(daemon) == {"stalled": "shutdown", "idle": "shutdown", "late": "shutdown"}


@pytest.mark.parametrize("reactor", ["tcpd", "asyncio"])
def test_handlers_that_want_to_are_asked_to_finish(handlers: Path, reactor: str) -> None:
    flags = configured(
        handlers, "1s", late="h.py:Lates", bad="h.py:Bads", never="h.py:Nevers", line="reply"
    )
    text = (handlers / "tcpd.toml").read_text()
    (handlers / "tcpd.toml").write_text(
        text + 'options = { rules = [{ match = "a", reply = "A", delay = "300ms" }] }\n'
    )
    with tcpd(*flags, cwd=handlers, twistd=(f"--reactor={reactor}",)) as daemon:
        socks = {name: daemon.connect(name) for name in ("late", "bad", "never", "line")}
        for name in ("late", "bad", "never"):
            assert socks[name].recv(5) == b"hello"
        socks["line"].sendall(b"a\na\nunfinished")
        daemon.wait_for("listens")
        time.sleep(0.1)  # until the lines are there; they are answered in 0.6 s
        daemon.process.send_signal(signal.SIGTERM)
        assert receive_all(socks["late"]) == b" wait bye"
        with pytest.raises(ConnectionResetError):
            receive_all(socks["bad"])
        assert receive_all(socks["line"]) == b"A\nA\n"
        with pytest.raises(ConnectionResetError):
            assert receive_all(socks["never"]) == b" never"
        assert daemon.process.wait(PATIENCE) == 0
        daemon.stop()
        for sock in socks.values():
            sock.close()
    assert ends(daemon) == {
        "late": "shutdown",
        "bad": "handler-failed",
        "never": "drain-timeout",
        "line": "shutdown",
    }
    assert daemon.output.count("Traceback") == 1
    assert "ValueError: no end" in daemon.output
    assert daemon.output.count("stopped") == 3


def test_ports_are_closed_while_sessions_finish(handlers: Path) -> None:
    flags = ("--port=0", "--listen=unix:a.sock", "--handler=h.py:Heap")
    with tcpd(*flags, cwd=handlers) as daemon:
        with daemon.connect() as reader:
            port = daemon.port()
            daemon.wait_for("heaped")
            assert (handlers / "a.sock").exists()
            assert (handlers / "a.sock.lock").is_symlink()
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_for("stops: 1 session")
            wait_until(lambda: is_refused(port))
            assert not list(handlers.glob("a.sock*"))
            assert (handlers / "twistd.pid").read_text() == f"{daemon.pid}\n"
            assert count(reader) == SIZE
        assert daemon.process.wait(PATIENCE) == 0
    assert not (handlers / "twistd.pid").exists()


def test_a_connector_finishes_and_dials_no_more(handlers: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (handlers / "tcpd.toml").write_text(
            f"""
            [connectors.late]
            connect = "tcp:127.0.0.1:{port}"
            handler = "h.py:Lates"
            reconnect = {{ initial = "1ms" }}
            [connectors.never]
            connect = "tcp:127.0.0.1:1"
            """
        )
        with tcpd("--config=tcpd.toml", cwd=handlers) as daemon:
            daemon.wait_for("connector never can't connect")
            server.settimeout(PATIENCE)
            sock, _ = server.accept()
            with sock:
                assert sock.recv(5) == b"hello"
                daemon.process.send_signal(signal.SIGTERM)
                assert receive_all(sock) == b" wait bye"
            assert daemon.process.wait(PATIENCE) == 0
            daemon.stop()
            assert not select.select([server], [], [], 0)[0]
    assert ends(daemon) == {"late": "shutdown"}
    assert "connector late stops" in daemon.output
    assert "connects again" not in daemon.output
    assert "Traceback" not in daemon.output


def test_the_service_manager_hears_how_far_it_is(handlers: Path) -> None:
    with Manager(handlers / "notify") as manager:
        flags = configured(handlers, "3s", stalled="h.py:Heap")
        environ = {**manager.environ, "WATCHDOG_USEC": "200000"}
        with tcpd(*flags, cwd=handlers, env=environ) as daemon:
            with daemon.connect():
                daemon.wait_for("heaped")
                daemon.process.send_signal(signal.SIGTERM)
                assert manager.wait_for("STOPPING") == {
                    "STOPPING": "1",
                    "STATUS": "draining: 1 session left, 3 s",
                }
                since = len(manager.heard)
                assert daemon.process.wait(PATIENCE) == 0
        while manager.pending():
            manager.receive()
    told = manager.heard[since:]
    assert {"EXTEND_TIMEOUT_USEC": "10000000", "STATUS": "draining: 1 session left, 2 s"} in told
    assert sum("WATCHDOG" in each for each in told) >= 10
    assert not any("READY" in each for each in told)


def test_the_service_manager_hears_of_readers_that_take_their_time(handlers: Path) -> None:
    with Manager(handlers / "notify") as manager:
        flags = configured(handlers, "1h", slow="h.py:Some")
        environ = {**manager.environ, "WATCHDOG_USEC": "200000"}
        with tcpd(*flags, cwd=handlers, env=environ) as daemon:
            with daemon.connect("slow") as sock:
                daemon.wait_for("queued")
                daemon.process.send_signal(signal.SIGTERM)
                daemon.wait_for("shutdown")  # the kernel has all, and the reader nothing
                since = len(manager.heard)
                last = [manager.wait_for("EXTEND_TIMEOUT_USEC") for _ in range(3)]
                assert count(sock) == SOME
            assert daemon.process.wait(PATIENCE) == 0
        while manager.pending():
            manager.receive()
    told = manager.heard[since:]
    assert all(each["EXTEND_TIMEOUT_USEC"] == "10000000" for each in last)
    assert "draining: 1 reader to take the rest, " in last[-1]["STATUS"]
    assert {"EXTEND_TIMEOUT_USEC": "10000000", "STATUS": "stopping"} in told
    assert sum("WATCHDOG" in each for each in told) >= 10


def test_the_service_manager_hears_that_sinks_still_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    (tmp_path / "tcpd.toml").write_text("""
[listeners.echo]
listen = "tcp:0:interface=127.0.0.1"
[sinks.stuck]
kind = "jsonl"
options = { path = "stuck" }
stop = "2500ms"
""")
    with Manager(tmp_path / "notify") as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "1000000"}
        with tcpd("--config=tcpd.toml", cwd=tmp_path, env=environ) as daemon:
            with daemon.connect() as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"
            daemon.process.send_signal(signal.SIGTERM)
            manager.wait_for("STOPPING")
            since = len(manager.heard)
            assert daemon.process.wait(PATIENCE) == 0
        while manager.pending():
            manager.receive()
    wanted = {
        "STATUS": "stopping: writes what waits for sinks",
        "EXTEND_TIMEOUT_USEC": "10000000",
        "WATCHDOG": "1",
    }
    # Twice in the watchdog's time, for 2.5 s; fewer on a machine that is busy.
    assert manager.heard[since:].count(wanted) >= 3


def test_a_term_during_the_start_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "from twisted.internet.protocol import Factory, Protocol\n"
        "class Slow(Factory):\n"
        "    protocol = Protocol\n"
        "    def startFactory(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    with tcpd("--listen=unix:a.sock", "--handler=slow.py:Slow", cwd=tmp_path) as daemon:
        assert daemon.process.wait(PATIENCE) == 0
        daemon.stop()
    assert "listens on" in daemon.output
    assert not list(tmp_path.glob("a.sock*"))
    assert not (tmp_path / "twistd.pid").exists()


def test_a_handler_may_stop_the_reactor(handlers: Path) -> None:
    (handlers / "stops.py").write_text(
        "from twisted.internet import reactor\n"
        "from twisted.internet.protocol import Protocol\n"
        "class Stops(Protocol):\n"
        "    def dataReceived(self, data):\n"
        "        self.transport.write(bytes(10_000_000))\n"
        "        reactor.stop()\n"
    )
    with tcpd("--port=0", "--handler=stops.py:Stops", cwd=handlers) as daemon:
        with daemon.connect() as sock:
            sock.sendall(b"x")
            assert count(sock) == 10_000_000
        assert daemon.process.wait(PATIENCE) == 0
        daemon.stop()
    assert ends(daemon) == {"main": "shutdown"}
