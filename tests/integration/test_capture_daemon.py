"""Captures of the real daemon, as tshark sees them."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.harness import fill, small_disk
from helpers import pem
from helpers.daemon import PATIENCE, Daemon, receive_all, run_tcpd, tcpd
from helpers.packets import conversations, read
from hypothesis import given, settings
from hypothesis import strategies as st

from tcpd.capture.frames import Address
from tcpd.capture.packets import Packets
from tcpd.capture.track import Subject
from tcpd.events import Identity

needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark isn't installed (Debian's package: tshark)"
)
CHECKS = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")


def tshark(*arguments: str) -> str:
    done = subprocess.run(
        ["tshark", "-n", *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    return done.stdout


def complaints(file: Path) -> str:
    """Return what tshark's experts say that is worse than a remark, but for resets."""
    said = tshark("-r", str(file), "-q", *CHECKS, "-z", "expert,warn")
    malformed = tshark("-r", str(file), *CHECKS, "-Y", "_ws.malformed || tcp.checksum.status == 0")
    lines = [line for line in said.splitlines() if re.match(r" +\d", line)]
    return "\n".join(line for line in lines if "(RST)" not in line) + malformed


def followed(file: Path, stream: int) -> tuple[bytes, bytes]:
    """Return both sides of a stream: of who connected, and of who answered."""
    lines = tshark("-r", str(file), "-q", "-z", f"follow,tcp,raw,{stream}").splitlines()
    nodes = [n for n, line in enumerate(lines) if line.startswith("Node 1:")]
    data = [line for line in lines[nodes[0] + 1 :] if not line.startswith("=")]
    asked = "".join(line for line in data if not line.startswith("\t"))
    return bytes.fromhex(asked), bytes.fromhex("".join(x for x in data if x.startswith("\t")))


def configure(directory: Path, text: str = "", **options: str) -> None:
    keys = ", ".join(f"{key} = {value}" for key, value in {"path": '"files"', **options}.items())
    (directory / "files").mkdir(exist_ok=True)
    (directory / "tcpd.toml").write_text(f"""
[listeners.echo]
listen = ["tcp:0:interface=127.0.0.1"]
capture = {{ {keys} }}
{text}""")


def talk(sock: socket.socket, data: bytes) -> bytes:
    """Say something, shut down, and return the answer."""

    def send() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    answer = receive_all(sock)
    sender.join()
    return answer


@needs_tshark
def test_tshark_follows_what_was_said(tmp_path: Path) -> None:
    configure(tmp_path)
    large = os.urandom(10_000_000)
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        for data in (b"hello", b"", large):
            with daemon.connect() as sock:
                ports = (str(sock.getsockname()[1]), str(sock.getpeername()[1]))
                assert talk(sock, data) == data
        assert daemon.stop() == 0
    file = tmp_path / "files" / "echo.pcapng"
    assert "has lost" not in daemon.output
    assert complaints(file) == ""
    assert followed(file, 0) == (b"hello", b"hello")
    assert followed(file, 1) == (b"", b"")
    assert followed(file, 2) == (large, large)
    (last,) = {
        tuple(line.split())
        for line in tshark(
            "-r", str(file), "-Y", "tcp.stream == 2 && tcp.flags.syn == 1 && tcp.flags.ack == 0",
            *("-T", "fields", "-e", "ip.src", "-e", "tcp.srcport", "-e", "tcp.dstport"),
        ).splitlines()
    }  # fmt: skip
    assert last == ("127.0.0.1", *ports)
    assert abs(read(file.read_bytes()).packets[0].at / 1e9 - time.time()) < 60


@needs_tshark
def test_a_reset_is_a_reset(tmp_path: Path) -> None:
    configure(tmp_path)
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        sock = daemon.connect()
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        daemon.wait_for("peer-reset")
        daemon.stop()
    file = tmp_path / "files" / "echo.pcapng"
    assert complaints(file) == ""
    assert followed(file, 0) == (b"hello", b"hello")
    (found,) = conversations(read(file.read_bytes()).packets)
    assert found.reset == found.began
    assert found.finished == []


@needs_tshark
def test_half_a_close_comes_before_the_answer(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("""
from twisted.internet import interfaces, protocol, reactor
from zope.interface import implementer


@implementer(interfaces.IHalfCloseableProtocol)
class Late(protocol.Protocol):
    def readConnectionLost(self):
        self.transport.write(b"answer")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass


class Factory(protocol.Factory):
    protocol = Late
""")
    configure(tmp_path)
    text = (tmp_path / "tcpd.toml").read_text()
    (tmp_path / "tcpd.toml").write_text(
        text.replace("capture", 'handler = "late.py:Factory"\ncapture', 1)
    )
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        with daemon.connect() as sock:
            assert talk(sock, b"question") == b"answer"
        daemon.stop()
    file = tmp_path / "files" / "echo.pcapng"
    assert complaints(file) == ""
    (found,) = conversations(read(file.read_bytes()).packets)
    kinds = [each.data or each.flags & 1 for each in found.packets]
    assert kinds.index(b"question") < kinds.index(1) < kinds.index(b"answer")
    assert followed(file, 0) == (b"question", b"answer")


@needs_tshark
def test_ipv6_and_tls_in_the_clear(tmp_path: Path) -> None:
    pem.write(tmp_path / "cert.pem")
    configure(tmp_path, 'tls = { certificate = "cert.pem" }\n')
    text = (tmp_path / "tcpd.toml").read_text()
    (tmp_path / "tcpd.toml").write_text(
        text.replace("tcp:0:interface=127.0.0.1", r"tcp6:0:interface=\\:\\:1")
    )
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        port = int(daemon.wait_for(r"listens on \[::1\]:(\d+)")[1])
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("::1", port), timeout=PATIENCE) as sock,
            context.wrap_socket(sock) as secure,
        ):
            secure.sendall(b"in the clear")
            assert secure.recv(100) == b"in the clear"
        daemon.stop()
    file = tmp_path / "files" / "echo.pcapng"
    assert complaints(file) == ""
    assert followed(file, 0) == (b"in the clear", b"in the clear")
    first = read(file.read_bytes()).packets[0]
    assert (first.source, first.target) == ("::1", "::1")
    assert "TLS, shown in the clear" in first.comment


def test_a_session_each_as_json(tmp_path: Path) -> None:
    configure(tmp_path, format='"jsonl"', files='"session"')
    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        for data in (b"one", b"two"):
            with daemon.connect() as sock:
                assert talk(sock, data) == data
        daemon.stop()
    files = sorted((tmp_path / "files").iterdir())
    assert [bool(re.fullmatch(r"echo-[0-9a-f]{8}-\d\.jsonl", each.name)) for each in files] == [
        True, True,
    ]  # fmt: skip
    lines = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert [each["capture"] for each in lines if each["capture"] != "finished"] == [
        "opened", "data", "data", "closed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "there is no directory"),
        (lambda path: path.symlink_to("/tmp"), "is a symbolic link"),
        (lambda path: path.touch(), "isn't a directory"),
        (
            lambda path: (path.mkdir(), (path / "echo.pcapng").symlink_to("x")),
            "echo.pcapng is a symbolic link, which is never followed; remove it",
        ),
        (lambda path: (path.mkdir(), (path / "echo.pcapng").mkdir()), "isn't a regular file"),
    ],
)
def test_a_bad_place_is_found_when_it_starts(tmp_path: Path, make, problem: str) -> None:
    configure(tmp_path)
    (tmp_path / "files").rmdir()
    make(tmp_path / "files")
    done = run_tcpd("--config=tcpd.toml", "--check-config", cwd=tmp_path)
    assert done.returncode == 78
    assert re.search(rf"tcpd.toml:4: listeners.echo.capture.path: .*{problem}", done.stderr)


def test_usr1_begins_a_new_file_and_hup_another_format(tmp_path: Path) -> None:
    configure(tmp_path)
    file = tmp_path / "files" / "echo.pcapng"

    def say(daemon: Daemon, data: bytes) -> None:
        with daemon.connect() as sock:
            assert talk(sock, data) == data

    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
        say(daemon, b"one")
        _wait_for(file, b"closed: peer-closed")
        file.rename(tmp_path / "moved")
        os.kill(daemon.pid, signal.SIGUSR1)
        daemon.wait_for("received SIGUSR1")
        say(daemon, b"two")
        _wait_for(file, b"closed: peer-closed")
        configure(tmp_path, format='"jsonl"')
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for("listener echo: capture.format changed")
        say(daemon, b"three")
        daemon.stop()
    for name, data in ((tmp_path / "moved", b"one"), (file, b"two")):
        (found,) = conversations(read(name.read_bytes()).packets)
        assert found.sent[found.began] == data
    assert "dGhyZWU=" in (tmp_path / "files" / "echo.jsonl").read_text()


@needs_tshark
def test_a_connector_is_captured_as_its_table_says(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        text = f"""
[connectors.uplink]
connect = "tcp:127.0.0.1:{port}"
reconnect = {{ initial = "1ms" }}
"""
        (tmp_path / "tcpd.toml").write_text(text + 'capture = { path = "files" }\n')
        daemon = stack.enter_context(tcpd("--config=tcpd.toml", cwd=tmp_path))

        def say(data: bytes) -> None:
            with server.accept()[0] as sock:
                sock.settimeout(PATIENCE)
                ports.append(sock.getpeername()[1])
                assert talk(sock, data) == data

        ports: list[int] = []
        say(b"one")
        say(b"two")
        with server.accept()[0] as amid:
            (tmp_path / "tcpd.toml").write_text(text)
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.wait_for("connector uplink: capture changed")
            amid.settimeout(PATIENCE)
            assert talk(amid, b"three") == b"three"  # it stays, in the capture that it began in
        say(b"four")
        assert daemon.stop() == 0
    file = tmp_path / "whole.pcapng"
    parts = [tmp_path / "files" / name for name in ("uplink.pcapng.1", "uplink.pcapng")]
    # A HUP begins a new file, too.
    subprocess.run(["mergecap", "-a", "-w", file, *parts], check=True, timeout=PATIENCE)
    assert complaints(file) == ""
    heard = [followed(file, stream) for stream in range(3)]
    assert heard == [(b"one", b"one"), (b"two", b"two"), (b"three", b"three")]
    packets = [packet for part in parts for packet in read(part.read_bytes()).packets]
    began = [each.began for each in conversations(packets)]
    assert began[:2] == [("127.0.0.1", each) for each in ports[:2]]  # it is tcpd that connects
    assert not any(each.data == b"four" for each in packets)


def test_a_bad_place_of_a_connectors_capture_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "tcpd.toml").write_text("""
[connectors.uplink]
connect = "tcp:127.0.0.1:1"
capture = { path = "files" }
""")
    done = run_tcpd("--config=tcpd.toml", "--check-config", cwd=tmp_path)
    assert done.returncode == 78
    assert "tcpd.toml:4: connectors.uplink.capture.path: " in done.stderr


def _wait_for(file: Path, text: bytes) -> None:
    end = time.monotonic() + PATIENCE
    while not file.exists() or text not in file.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_full_disk_hurts_no_session_and_what_is_lost_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        configure(tmp_path, path=f'"{disk}"', queue_size='"16KiB"')
        with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon:
            with daemon.connect() as sock:
                assert talk(sock, b"before") == b"before"
            _wait_for(disk / "echo.pcapng", b"closed: peer-closed")
            fill(disk / "ballast")
            for _ in range(100):
                with daemon.connect() as sock:
                    assert talk(sock, b"x" * 1000) == b"x" * 1000
            daemon.wait_for("can't be written: No space left on device; it is tried again")
            (disk / "ballast").unlink()
            daemon.wait_for("the capture of listener echo is written again")
            with daemon.connect() as sock:
                assert talk(sock, b"after") == b"after"
            daemon.stop()
        lost = re.search(r"has lost (\d+) pieces with (\d+) bytes", daemon.output)
        assert lost is not None
        file = read((disk / "echo.pcapng").read_bytes())
        assert any(f"tcpd has lost {lost[1]} pieces with {lost[2]} bytes" in each.comment
                   for each in file.packets)  # fmt: skip
        data = [each.data for each in file.packets if each.data]
        assert (data[0], data[-1]) == (b"before", b"after")
        assert os.stat(disk / "echo.pcapng").st_mode & 0o777 == 0o600


class Local(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


def test_one_session_is_captured_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "tcpd.toml").write_text(f"""
[listeners.echo]
listen = "tcp:0:interface=127.0.0.1"
[capture]
path = "files"
[admin]
listen = "unix:{tmp_path}/admin.sock"
""")

    def post(**body: str) -> tuple[int, dict[str, object]]:
        api = Local(tmp_path / "admin.sock")
        headers = {"Content-Type": "application/json"}
        api.request("POST", "/api/capture", json.dumps(body), headers)
        answer = api.getresponse()
        return answer.status, json.loads(answer.read())

    with tcpd("--config=tcpd.toml", cwd=tmp_path) as daemon, daemon.connect() as sock:

        def say(data: bytes) -> None:
            sock.sendall(data)
            assert sock.recv(100) == data

        say(b"before")
        api = Local(tmp_path / "admin.sock")
        api.request("GET", "/api/sessions")
        (session,) = json.loads(api.getresponse().read())["sessions"]
        status, started = post(action="start", session=session["id"], format="pcapng")
        assert (status, started["state"], started["sessions"]) == (200, "running", 1)
        say(b"then")
        assert post(action="start", session=session["id"], format="pcapng")[0] >= 400
        status, stopped = post(action="stop", session=session["id"])
        assert (status, stopped["state"]) == (200, "ended")
        say(b"after")
        assert post(action="start", listener="echo", format="hexdump", file="x")[0] == 200
        say(b"again")
        assert post(action="start", listener="echo", format="pcapng", file="../x")[0] >= 400
        daemon.stop()
    packets = read(Path(str(started["path"])).read_bytes()).packets
    assert [each.data for each in packets if each.data] == [b"then", b"then"]
    assert "|again|" in (tmp_path / "files" / "x.txt").read_text()


PIECES = st.lists(
    st.tuples(
        st.sampled_from(["in", "out"]),
        st.binary(min_size=1, max_size=50) | st.integers(1, 200_000).map(bytes),
    ),
    max_size=10,
)


@needs_tshark
@settings(max_examples=15, deadline=None)
@given(pieces=PIECES, number=st.integers(0, 1 << 32), half=st.integers(0, 10))
def test_any_bytes_come_back_through_tshark(
    tmp_path_factory: pytest.TempPathFactory, pieces, number: int, half: int
) -> None:
    who = Identity("ab12cd34-7", "web", "echo", "192.0.2.7", 5000, "192.0.2.1:80")
    peer, local = (Address(bytes((192, 0, 2, n)), port) for n, port in ((7, 5000), (1, 80)))
    track = Packets().track(
        Subject(who=who, peer=peer, local=local, number=number, encrypted=False)
    )
    data = Packets().header("web") + track.begin(1, None)
    sent = {"in": b"", "out": b""}
    for n, (side, piece) in enumerate(pieces):
        if n == half:
            data += track.finish(n, "in", None)
        if side == "in" and n >= half:
            continue
        data += track.data(n + 1, side, piece, None)
        sent[side] += piece
    data += track.close(100, "out", "handler-closed", None)
    file = tmp_path_factory.mktemp("any") / "any.pcapng"
    file.write_bytes(data)
    assert followed(file, 0) == (sent["in"], sent["out"])
    assert complaints(file) == ""
