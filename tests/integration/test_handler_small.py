"""The small handlers and `logging` over real sockets, all in one daemon."""

import itertools
import json
import re
import socket
import stat
import time
from datetime import UTC, datetime

import pytest
from helpers.daemon import PATIENCE, receive_all, tcpd

CONFIG = """
[listeners.echo]
listen = "tcp:0:interface=127.0.0.1"
handler = "echo"

[listeners.discard]
listen = "tcp:0:interface=127.0.0.1"
handler = "discard"

[listeners.chargen]
listen = "tcp:0:interface=127.0.0.1"
handler = "chargen"

[listeners.some]
listen = "tcp:0:interface=127.0.0.1"
handler = "chargen"
options = { limit = "1MiB" }

[listeners.daytime]
listen = "tcp:0:interface=127.0.0.1"
handler = "daytime"

[listeners.time]
listen = "tcp:0:interface=127.0.0.1"
handler = "time"

[listeners.sinkhole]
listen = "tcp:0:interface=127.0.0.1"
handler = "logging"
options = { banner = "220 ready\\r\\n" }

[listeners.hex]
listen = "tcp:0:interface=127.0.0.1"
handler = "logging"
options = { then = "echo", format = "hex", path = "hex-{listener}.txt" }

[listeners.each]
listen = "tcp:0:interface=127.0.0.1"
handler = "logging"

[listeners.each.options]
format = "jsonl"
path = "{session}.jsonl"
then = "chargen"
then_options = { limit = 100000 }
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("handlers")
    (cwd / "tcpd.toml").write_text(CONFIG)
    with tcpd("--config", "tcpd.toml", cwd=cwd) as daemon:
        yield daemon, cwd
        daemon.stop()
        assert "Traceback" not in daemon.output


def talk(daemon, listener, data=b""):
    """Send, shut down this side, and return all that comes back."""
    with daemon.connect(listener) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


def test_echo_sends_everything_back_to_a_client_that_has_shut_down(running):
    daemon, _ = running
    data = bytes(range(256)) * 400
    assert talk(daemon, "echo", data) == data


def test_discard_reads_everything_and_answers_nothing(running):
    daemon, _ = running
    assert talk(daemon, "discard", b"x" * 3_000_000) == b""


def test_chargen_goes_at_the_readers_pace_and_beyond_what_any_buffer_holds(running):
    daemon, _ = running
    with daemon.connect("chargen") as client, client.makefile("rb") as stream:
        lines = [stream.readline() for _ in range(500_000)]
    assert len(set(lines)) == 95
    assert lines[0] == lines[95 * 5000]
    assert all(after[:-3] == before[1:-2] for before, after in itertools.pairwise(lines))


def test_a_reader_of_chargen_that_stands_still_costs_no_memory(running):
    daemon, _ = running

    def resident():
        with open(f"/proc/{daemon.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    before = resident()
    clients = [daemon.connect("chargen") for _ in range(20)]
    try:
        for client in clients:
            assert client.recv(1)
        # One round trip through the loop after all of them have been served.
        assert talk(daemon, "echo", b"x") == b"x"
        assert resident() - before < 20 * 2**20
    finally:
        for client in clients:
            client.close()


def test_chargen_keeps_its_limit_for_a_client_that_only_listens(running):
    daemon, _ = running
    assert len(talk(daemon, "some")) == 2**20


def test_daytime_says_the_time(running):
    daemon, _ = running
    before = int(time.time())
    line = talk(daemon, "daytime").decode()
    said = datetime.strptime(line, "%A, %B %d, %Y %H:%M:%S-UTC\r\n").replace(tzinfo=UTC)
    assert before <= said.timestamp() <= time.time()


def test_time_says_the_time(running):
    daemon, _ = running
    before = int(time.time())
    answer = talk(daemon, "time")
    assert len(answer) == 4
    assert before <= int.from_bytes(answer, "big") - 2_208_988_800 <= time.time()


def test_logging_says_its_banner_and_logs_what_it_is_told_in_the_daemons_log(running):
    daemon, _ = running
    assert talk(daemon, "sinkhole", b"USER \x1b[2Jroot\r\n\xff") == b"220 ready\r\n"
    line = daemon.wait_for(r".* in 0\+16: .*\n")[0]
    assert line.endswith(r" in 0+16: USER \x1b[2Jroot\r\n\xff" + "\n")
    assert re.search(r" [0-9a-f]+-\d+ \(127\.0\.0\.1:\d+\) in ", line)


def test_logging_dumps_both_directions_into_a_file_before_echo(running):
    daemon, cwd = running
    assert talk(daemon, "hex", b"hello") == b"hello"
    path = cwd / "hex-hex.txt"
    lines = path.read_text().splitlines()
    dump = f"  00000000  68 65 6c 6c 6f {'':34} |hello|"
    assert [re.sub("^.* (in|out) ", r"\1 ", line) for line in lines] == [
        "in 0+5",
        dump,
        "out 0+5",
        dump,
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_logging_writes_a_file_a_session_with_what_a_producer_sends(running):
    daemon, cwd = running
    said = [talk(daemon, "each") for _ in range(2)]
    assert [len(each) for each in said] == [100_000, 100_000]
    files = list(cwd.glob("*.jsonl"))
    assert len(files) == 2
    for path in files:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert {record["session.id"] for record in records} == {path.stem}
        assert {record["direction"] for record in records} == {"out"}
        last = records[-1]
        assert last["offset"] + len(last["data"]) * 3 // 4 >= 100_000


@pytest.mark.parametrize("listener", ["echo", "discard", "chargen", "daytime", "time", "sinkhole"])
def test_a_reset_in_the_middle_disturbs_nobody(running, listener):
    daemon, _ = running
    client = daemon.connect(listener)
    client.sendall(b"x" * 1000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    client = daemon.connect("echo")
    client.settimeout(PATIENCE)
    client.sendall(b"still there?")
    assert client.recv(12) == b"still there?"
    client.close()
