"""`tcpd-client` in a pipe, as a process between real pipes and files, against real sockets."""

import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import IO, Any

import pytest
from helpers.client_run import (
    LIMIT,
    Peer,
    echo,
    read_all,
    reset,
    run_client,
    start_client,
    until_gone,
)

import tcpd

BULK = 30_000_000


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bulk") / "in"
    path.write_bytes(os.urandom(BULK))
    return path


def read_line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], LIMIT)
    assert ready, "nothing was said"
    return stream.readline().decode()


def test_thirty_megabytes_pass_both_ways_between_files(bulk: Path, tmp_path: Path) -> None:
    with Peer(echo) as peer, bulk.open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        done = run_client(peer.address, stdin=stdin, stdout=stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == bulk.read_bytes()


def test_thirty_megabytes_pass_both_ways_between_pipes(bulk: Path) -> None:
    with Peer(echo) as peer:
        done = run_client(peer.address, stdin=bulk.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == bulk.read_bytes()


def test_every_byte_passes_as_it_is() -> None:
    data = bytes(range(256)) * 3 + b"\r\n\n\r\x1b[31m\x00"
    with Peer(echo) as peer:
        assert run_client(peer.address, stdin=data).stdout == data


def test_the_end_of_the_input_is_passed_on_and_what_is_said_after_it_comes_out() -> None:
    def answer(connection: socket.socket) -> None:
        said = read_all(connection)  # returns only if the client half-closes
        connection.sendall(b"you said " + said)

    with Peer(answer) as peer:
        done = run_client("127.0.0.1", peer.port, stdin=b"hello")
    assert (done.stdout, done.returncode, done.stderr) == (b"you said hello", 0, b"")


def ping_and_tell_of_eof(connection: socket.socket) -> None:
    assert connection.recv(100) == b"ping"
    connection.sendall(b"pong")
    assert read_all(connection) == b""
    with contextlib.suppress(OSError):
        connection.sendall(b" EOF")


def test_without_half_close_the_peer_sees_no_end_of_the_input() -> None:
    with Peer(ping_and_tell_of_eof) as peer:
        assert run_client(peer.address, stdin=b"ping").stdout == b"pong EOF"
        for flag in ("-N", "--no-half-close"):
            done = run_client(peer.address, flag, "--wait", "300ms", stdin=b"ping")
            assert (done.stdout, done.returncode, done.stderr) == (b"pong", 0, b"")


def test_without_half_close_the_peers_end_is_the_end() -> None:
    def answer(connection: socket.socket) -> None:
        assert connection.recv(100) == b"ping"
        connection.sendall(b"pong")

    with Peer(answer) as peer:
        done = run_client(peer.address, "-N", stdin=b"ping")
    assert (done.stdout, done.returncode) == (b"pong", 0)


def test_a_peer_that_does_not_finish_in_time_is_left_with_status_1() -> None:
    with Peer(until_gone) as peer:
        done = run_client(peer.address, "--wait", "50ms", stdin=b"hello")
    assert done.returncode == 1
    assert b"did not close within 50ms of the end of the input (--wait)" in done.stderr


def test_the_input_may_be_nothing_at_all() -> None:
    with Peer(lambda c: c.sendall(b"hi" + read_all(c))) as peer:
        assert run_client(peer.address, stdin=subprocess.DEVNULL).stdout == b"hi"
        done = run_client(peer.address, stdin=None, preexec_fn=lambda: os.close(0))
        assert (done.stdout, done.returncode, done.stderr) == (b"hi", 0, b"")


def test_closed_descriptors_never_become_the_connection() -> None:
    heard = []
    with Peer(lambda c: heard.append(read_all(c))) as peer:
        done = run_client(
            peer.address,
            "-v",
            stdin=None,
            stdout=None,
            stderr=None,
            preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)],
        )
    assert done.returncode == 0
    assert heard == [b""]


def test_an_unreadable_input_is_named(tmp_path: Path) -> None:
    with Peer(until_gone) as peer, (tmp_path / "x").open("wb") as write_only:
        done = run_client(peer.address, stdin=write_only)
    assert done.returncode == 1
    assert done.stderr == b"tcpd-client: cannot read standard input: Bad file descriptor\n"


def flood(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"x" * 65536)


def test_an_output_that_closes_ends_it_quietly() -> None:
    with Peer(flood) as peer, start_client(peer.address) as client:
        client.stdout.read(10)
        client.stdout.close()
        assert client.wait(LIMIT) == 0
        assert client.stderr.read() == b""


def test_an_output_that_closes_is_noticed_while_nothing_is_said() -> None:
    def one_word(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        until_gone(connection)

    with Peer(one_word) as peer, start_client(peer.address) as client:
        assert client.stdout.read(5) == b"hello"
        client.stdout.close()
        assert client.wait(LIMIT) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_an_output_that_is_full_is_named() -> None:
    with Peer(flood) as peer, open("/dev/full", "wb") as full:
        done = run_client(peer.address, stdout=full)
    assert done.returncode == 1
    assert b"cannot write to standard output: No space left on device" in done.stderr


def peak_kib(pid: int) -> int:
    """Return the most memory that a process has held, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_a_slow_peer_is_waited_for_without_reading_all_of_the_input(tmp_path: Path) -> None:
    size = 200_000_000
    with (tmp_path / "sparse").open("wb+") as sparse:
        sparse.truncate(size)
        read_on = threading.Event()

        def late(connection: socket.socket) -> None:
            read_on.wait(LIMIT)
            assert len(read_all(connection)) == size

        with Peer(late) as peer, start_client(peer.address, stdin=sparse) as client:
            # The client shares our file offset: it stands still once the client waits.
            seen, still = -1, 0
            while still < 20:
                at = os.lseek(sparse.fileno(), 0, os.SEEK_CUR)
                still = still + 1 if at == seen and at > 0 else 0
                seen = at
                select.select([], [], [], 0.01)
            assert 0 < seen < size // 2
            assert peak_kib(client.pid) < 100_000
            read_on.set()
            assert client.wait(LIMIT) == 0


def test_a_slow_reader_of_the_output_is_waited_for() -> None:
    size = 200_000_000
    sent = []

    def send(connection: socket.socket) -> None:
        piece = bytes(1_000_000)
        for _ in range(size // len(piece)):
            connection.sendall(piece)
            sent.append(len(piece))

    with Peer(send) as peer, start_client(peer.address, "-N") as client:
        seen, still = -1, 0
        while still < 20:
            still = still + 1 if len(sent) == seen and seen > 0 else 0
            seen = len(sent)
            select.select([], [], [], 0.01)
        assert sum(sent) < size // 2
        assert peak_kib(client.pid) < 100_000
        client.stdin.close()
        got = 0
        while data := client.stdout.read(1 << 20):
            got += len(data)
        assert got == size
        assert client.wait(LIMIT) == 0


def test_a_peer_that_ends_first_still_gets_the_rest_of_the_input() -> None:
    data = os.urandom(5_000_000)
    heard = []

    def deaf_and_done(connection: socket.socket) -> None:
        connection.sendall(b"nothing to say")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    with Peer(deaf_and_done) as peer:
        done = run_client(peer.address, stdin=data)
    assert (done.stdout, done.returncode) == (b"nothing to say", 0)
    assert heard == [data]


def test_a_peer_that_closes_before_it_has_the_input_is_a_cut(bulk: Path) -> None:
    with Peer(lambda c: c.sendall(b"no thanks")) as peer, bulk.open("rb") as stdin:
        done = run_client(peer.address, stdin=stdin)
    assert done.returncode == 1
    assert done.stderr.startswith(b"tcpd-client: ")
    assert done.stderr.count(b"\n") == 1


def test_a_reset_is_a_cut_and_what_came_before_it_comes_out() -> None:
    with Peer(reset_when_told) as peer, start_client(peer.address) as client:
        assert client.stdout.read(5) == b"hello"
        client.stdin.write(b"go")
        assert client.wait(LIMIT) == 1
        assert client.stderr.read() == b"tcpd-client: connection reset by the peer\n"


def reset_when_told(connection: socket.socket) -> None:
    connection.sendall(b"hello")
    connection.recv(100)
    reset(connection)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:{port}", "cannot connect to 127.0.0.1:{port}: connection refused"),
        ("unix:{tmp}/none", "cannot connect to unix:{tmp}/none: no such file or directory"),
        ("name.invalid:80", "cannot find host 'name.invalid': "),
        ("tcp:127.0.0.1:{port}:bindAddress=192.0.2.1", "cannot assign requested address"),
    ],
)
def test_no_connection_is_one_clear_line_and_status_1(
    address: str, says: str, tmp_path: Path
) -> None:
    names = {"port": unused_port(), "tmp": tmp_path}
    done = run_client(address.format(**names))
    assert done.returncode == 1
    assert says.format(**names) in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("form", ["unix:{}", "unix:path={}"])
def test_a_unix_socket_is_talked_to(form: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Peer(echo, path=path):
        done = run_client(form.format(path), "-v", stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"hello", 0)
    assert f"connected to unix:{path}" in done.stderr.decode()


def test_a_name_is_resolved_and_its_addresses_tried_in_turn() -> None:
    # "localhost" may have ::1 before 127.0.0.1, where nobody listens.
    with Peer(echo) as peer:
        done = run_client(f"localhost:{peer.port}", "-v", stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"hello", 0)
    assert b"tcpd-client: localhost is " in done.stderr


def test_ipv6_is_talked_to() -> None:
    try:
        peer = Peer(echo, host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with peer:
        done = run_client(f"[::1]:{peer.port}", "-v", stdin=b"hello")
    assert (done.stdout, done.returncode) == (b"hello", 0)
    assert f"connected to [::1]:{peer.port} from [::1]:".encode() in done.stderr


def test_details_tell_times_addresses_and_totals() -> None:
    with Peer(echo) as peer:
        done = run_client(peer.address, "-v", stdin=b"hello")
        quiet = run_client(peer.address, stdin=b"hello")
    said = done.stderr.decode()
    assert f"connected to {peer.address} from 127.0.0.1:" in said
    assert "sent 5 bytes, received 5 bytes in " in said
    assert done.stdout == b"hello"
    assert quiet.stderr == b""


def test_connecting_has_a_limit_in_time() -> None:
    with Peer(until_gone) as peer:  # it accepts, and never shakes hands
        done = run_client(peer.address, "--tls", "--timeout", "200ms", stdin=b"hello")
    assert done.returncode == 1
    assert b"no connection to 127.0.0.1:" in done.stderr
    assert b" within 0.2s; --timeout allows more" in done.stderr


def test_the_endpoints_own_timeout_counts_and_the_option_overrides_it() -> None:
    with Peer(until_gone) as peer:
        address = f"tls:127.0.0.1:{peer.port}:timeout=0.2"
        assert b"within 0.2s" in run_client(address).stderr
        assert b"within 0.1s" in run_client(address, "--timeout", "0.1").stderr


@pytest.mark.parametrize(
    ("flags", "typed", "sent"),
    [
        (["--eol", "crlf"], b"a\nb\n", b"a\r\nb\r\n"),
        (["--eol", "none"], b"a\nb\n", b"ab"),
        (["--escape"], b"a\\x00\\n\nb", b"a\x00\n\nb"),
        (["--hex"], b"48 65\n0a\n", b"He\n"),
    ],
)
def test_lines_can_be_encoded_on_their_way(flags: list[str], typed: bytes, sent: bytes) -> None:
    heard: list[bytes] = []
    with Peer(lambda c: heard.append(read_all(c))) as peer:
        assert run_client(peer.address, *flags, stdin=typed).returncode == 0
    assert heard == [sent]


def test_the_answer_can_be_dumped_in_hex() -> None:
    with Peer(echo) as peer:
        done = run_client(peer.address, "--hex", stdin=b"00 1b 41")
    assert done.stdout == b"00000000  00 1b 41" + b" " * 42 + b"|..A|\n"


def test_a_line_that_is_no_hex_is_named_and_nothing_more_is_sent() -> None:
    with Peer(until_gone) as peer:
        done = run_client(peer.address, "--hex", stdin=b"48\nzz\n")
    assert done.returncode == 2
    assert done.stderr == b"tcpd-client: line 2: 'z' isn't a hex digit; write '48 65 0a'\n"


def test_reconnect_tries_until_somebody_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with start_client(f"unix:{path}", "--reconnect", "--reconnect-max", "20ms") as client:
        said = read_line(client.stderr)
        assert re.search(r"no such file or directory; trying again in (18|19|20)[.\d]*ms$", said)
        with Peer(echo, path=path):
            out, _ = client.communicate(b"hello", LIMIT)
    assert (out, client.returncode) == (b"hello", 0)


def test_without_reconnect_there_is_one_try(tmp_path: Path) -> None:
    assert run_client(f"unix:{tmp_path}/s").stderr.count(b"\n") == 1


def test_reconnect_goes_on_with_the_input_after_a_loss() -> None:
    heard: list[bytes] = []

    def once(connection: socket.socket) -> None:
        heard.append(connection.recv(100))

    def to_the_end(connection: socket.socket) -> None:
        heard.append(read_all(connection))
        connection.sendall(b"done")

    with (
        Peer(once, to_the_end) as peer,
        start_client(peer.address, "--reconnect", "--reconnect-max", "20ms") as client,
    ):
        client.stdin.write(b"one\n")
        assert "closed by the peer; trying again in " in read_line(client.stderr)
        out, _ = client.communicate(b"two\n", LIMIT)
    assert (out, client.returncode) == (b"done", 0)
    assert heard == [b"one\n", b"two\n"]


def test_reconnect_without_half_close_keeps_a_feed_up() -> None:
    with (
        Peer(lambda c: c.sendall(b"one "), lambda c: c.sendall(b"two "), until_gone) as peer,
        start_client(
            peer.address, "-N", "--reconnect", "--reconnect-max", "20ms", stdin=subprocess.DEVNULL
        ) as client,
    ):
        assert client.stdout.read(4) == b"one "
        assert client.stdout.read(4) == b"two "


def test_reconnect_does_not_outlast_the_wait() -> None:
    go = threading.Event()
    with Peer(lambda c: go.wait(LIMIT) and None) as peer:
        flags = ["-v", "-N", "--reconnect", "--wait", "1s"]
        with start_client(peer.address, *flags, stdin=subprocess.DEVNULL) as client:
            assert "connected to" in read_line(client.stderr)
            assert "the input has ended" in read_line(client.stderr)
            peer.stop()
            go.set()
            assert client.wait(LIMIT) == 1
            assert b"there was no connection when --wait was over" in client.stderr.read()


def test_reconnect_does_not_outlast_the_reader_of_the_output() -> None:
    with (
        Peer(lambda c: c.sendall(b"x")) as peer,
        start_client(peer.address, "--reconnect", "--reconnect-max", "1h") as client,
    ):
        peer.stop()
        assert "trying again in" in read_line(client.stderr)
        client.stdout.close()
        assert client.wait(LIMIT) == 0


def test_reconnect_is_over_once_the_input_has_ended_and_the_peer_closes() -> None:
    with Peer(echo) as peer:
        done = run_client(peer.address, "--reconnect", stdin=b"hello")
    assert (done.stdout, done.returncode, done.stderr) == (b"hello", 0, b"")


def test_modes_of_shared_descriptors_are_left_alone() -> None:
    ours, theirs = os.pipe()
    out_ours, out_theirs = os.pipe()

    def modes() -> list[int]:
        return [fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in (ours, out_theirs)]

    try:
        with Peer(echo) as peer, start_client(peer.address, stdin=ours, stdout=out_theirs) as c:
            os.write(theirs, b"hello")
            assert os.read(out_ours, 5) == b"hello"
            assert modes() == [0, 0]  # while it runs, so that a kill leaves nothing behind either
            os.close(theirs)
            assert c.wait(LIMIT) == 0
            assert modes() == [0, 0]
    finally:
        for fd in (ours, out_ours, out_theirs):
            os.close(fd)


def test_an_input_that_somebody_else_made_non_blocking_works() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    try:
        with Peer(echo) as peer, start_client(peer.address, stdin=ours) as client:
            os.write(theirs, b"hello")
            assert client.stdout.read(5) == b"hello"
            os.close(theirs)
            assert client.wait(LIMIT) == 0
    finally:
        os.close(ours)


def test_an_interrupt_ends_it_as_a_signal_does_and_without_a_traceback() -> None:
    with Peer(echo) as peer, start_client(peer.address) as client:
        client.stdin.write(b"x")
        assert client.stdout.read(1) == b"x"
        client.send_signal(signal.SIGINT)
        assert client.wait(LIMIT) == -signal.SIGINT
        assert client.stderr.read() == b""


def test_a_terminal_at_the_output_is_spared_escape_sequences() -> None:
    master, slave = os.openpty()
    try:
        with Peer(lambda c: c.sendall("grüße \x1b]0;x\a\tok\r\n".encode())) as peer:
            done = run_client(peer.address, stdout=slave)
        assert done.returncode == 0
        assert os.read(master, 1000) == "grüße \\x1b]0;x\\x07\tok\r\n".encode()
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "where to?"),
        (["localhost"], "has no port"),
        (["localhost", "70000"], "'70000' isn't a valid port"),
        (["a", "1", "2"], "where to?"),
        (["a:1", "--eol", "cr"], "invalid choice: 'cr'"),
        (["a:1", "--wait", "soon"], "'soon' isn't a duration"),
        (["a:1", "--hex", "--escape"], "not allowed with argument --hex"),
        (["a:1", "--cafile", "x"], "--cafile means nothing without --tls"),
        (["a:1", "--tls", "--key", "x"], "--key needs --cert"),
        (["a:1", "--tls", "--insecure", "--cafile", "x"], "choose one"),
        (["unix:/x", "--tls"], "say which with --servername"),
        (["a:1", "--reconnect-max", "1s"], "means nothing without --reconnect"),
        (["a:1", "--reconnect", "--reconnect-max", "0"], "must be more than 0"),
        (["a:1", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["a:1", "--verb"], "unrecognized arguments: --verb"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: list[str], says: str) -> None:
    done = run_client(*arguments)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""


def test_the_version_is_told() -> None:
    done = run_client("--version")
    assert (done.stdout.decode(), done.returncode) == (f"tcpd-client {tcpd.__version__}\n", 0)


def loaded(arguments: list[Any], stdin: bytes = b"") -> bytes:
    """Return the names of the modules that a run of the client imports."""
    return run_client(*arguments, stdin=stdin, environment={"PYTHONPROFILEIMPORTTIME": "1"}).stderr


def test_help_loads_neither_twisted_nor_prompt_toolkit_and_a_pipe_no_prompt_toolkit() -> None:
    names = loaded(["--help"])
    assert b"argparse" in names
    assert b"twisted" not in names
    assert b"prompt_toolkit" not in names
    with Peer(echo) as peer:
        names = loaded([peer.address])
    assert b"twisted.internet.pollreactor" in names
    assert b"prompt_toolkit" not in names
