"""Sinks of a real daemon: every session is written down, whatever happens to file, disk or sink."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from helpers.daemon import PATIENCE, receive_all, tcpd

LISTENER = '[listeners.main]\nlisten = "tcp:0:interface=127.0.0.1"\n'

OWN = '''
import time
from pathlib import Path
from dataclasses import dataclass
from tcpd.sinks.sink import Sink

@dataclass
class Blocks(Sink):
    """Never comes back."""
    def write(self, batch):
        time.sleep(1000)

@dataclass
class Dies(Sink):
    """Ends its thread, or tries to."""
    def write(self, batch):
        raise SystemExit(3)
'''


def sink(name, kind, options="", **settings):
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    return f'[sinks.{name}]\nkind = "{kind}"\noptions = {{ {options} }}\n{lines}'


def start(tmp_path, *sinks, **kwargs):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "tcpd.toml").write_text(LISTENER + "".join(sinks))
    return tcpd("--config=tcpd.toml", cwd=tmp_path, **kwargs)


def use(daemon, count=1):
    for _ in range(count):
        with daemon.connect() as connection:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b"hello"


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(path):
    return [each["event.name"] for each in read(path)]


def wait_for(path, count, name="session.closed"):
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(FileNotFoundError):
            if names(path).count(name) >= count:
                return
        assert time.monotonic() < end, f"no {count} of {name} in {path.read_text()}"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_session_is_in_every_sink(tmp_path, number):
    sinks = [
        sink("file", "jsonl", 'path = "all.jsonl"'),
        sink("ends", "jsonl", 'path = "ends.jsonl"', events="session.closed"),
        sink("db", "sqlite", 'path = "events.db"'),
        sink("out", "stdout", 'format = "text"', events="listener.*"),
    ]
    with start(tmp_path, *sinks) as daemon:
        use(daemon, 20)
        last = daemon.connect()
        last.sendall(b"x")
        assert last.recv(1) == b"x"
        daemon.wait_for(r"listener\.changed listener=main address=\S+ up=true")
        assert daemon.stop(number) == 0
        last.close()
    everything = read(tmp_path / "all.jsonl")
    assert names(tmp_path / "all.jsonl").count("session.opened") == 21
    assert names(tmp_path / "ends.jsonl") == ["session.closed"] * 21
    # The last was open when tcpd stopped.
    assert everything[0]["event.name"] == "listener.changed"
    ends = [each["close.reason"] for each in read(tmp_path / "ends.jsonl")]
    assert ends == ["peer-closed"] * 20 + ["shutdown"]
    assert sorted(each["event.sequence"] for each in everything) == list(
        range(1, len(everything) + 1)
    )
    with sqlite3.connect(tmp_path / "events.db") as db:
        rows = db.execute("SELECT name, record FROM events ORDER BY sequence").fetchall()
    db.close()
    assert [json.loads(row[1]) for row in rows] == everything
    assert "lost" not in daemon.output


def test_moved_away_and_told_it_writes_a_new_file_and_loses_nothing(tmp_path):
    path, moved = tmp_path / "e.jsonl", tmp_path / "e.jsonl.1"
    with start(tmp_path, sink("file", "jsonl", 'path = "e.jsonl"')) as daemon:
        use(daemon, 5)
        wait_for(path, 5)
        path.rename(moved)
        os.kill(daemon.pid, signal.SIGUSR1)
        end = time.monotonic() + PATIENCE
        while not path.exists():  # though nothing happens
            assert time.monotonic() < end
            time.sleep(0.01)
        use(daemon, 5)
        daemon.stop()
    assert names(moved).count("session.closed") == 5
    assert names(path).count("session.closed") == 5


def test_a_sink_that_blocks_or_dies_harms_neither_sessions_nor_others_nor_the_end(tmp_path):
    sinks = [
        sink("blocks", "./own.py:Blocks", queue=3, batch=1, stop="100ms"),
        sink("dies", "./own.py:Dies"),
        sink("well", "jsonl", 'path = "well.jsonl"'),
    ]
    with start(tmp_path, *sinks) as daemon:
        use(daemon, 30)
        wait_for(tmp_path / "well.jsonl", 30)
        daemon.wait_for(r"the sink dies is in trouble: SystemExit: 3; \d+ records lost")
        daemon.wait_for(r"the sink blocks is in trouble: .*; \d+ records lost, 3 wait")
        before = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - before < PATIENCE
    assert "the sink blocks has ended; " in daemon.output
    assert daemon.output.count("the sink dies") <= 3


@pytest.fixture
def disk(tmp_path):
    """A file system of 64 KiB; its pages are memory."""
    path = tmp_path / "disk"
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=755", "tcpd-test", str(path)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("to mount a small file system takes root")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_costs_what_does_not_fit_the_queue_and_it_comes_back(tmp_path, disk):
    ballast, path = disk / "ballast", disk / "e.jsonl"
    file = sink(
        "file", "jsonl", 'path = "disk/e.jsonl"', events="session.closed", queue=20, batch=5,
        batch_delay="10ms",
    ) + 'retry = { initial = "50ms", max = "50ms" }\n'  # fmt: skip
    with start(tmp_path, file) as daemon:
        use(daemon, 3)
        wait_for(path, 3)
        with ballast.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        use(daemon, 60)
        daemon.wait_for(
            r"the sink file is in trouble: \S+e.jsonl: No space left on device; \d+ records lost"
        )
        ballast.unlink()
        wait_for(path, 1, "sink.lost")
        written = names(path).count("session.closed")
        use(daemon, 3)
        wait_for(path, written + 3)
        assert daemon.stop() == 0
    found = read(path)  # every line is whole
    lost = sum(each["lost"] for each in found if each["event.name"] == "sink.lost")
    ids = [each["session.id"] for each in found if each["event.name"] == "session.closed"]
    assert lost > 0
    assert len(ids) == len(set(ids)) == 66 - lost


def test_a_reload_adds_changes_and_removes_sinks_and_no_session_is_missed(tmp_path):
    one = sink("one", "jsonl", 'path = "one.jsonl"', events="session.closed")
    two = sink("two", "jsonl", 'path = "two.jsonl"', events="session.closed")

    def reload(daemon, *sinks):
        (tmp_path / "tcpd.toml").write_text(LISTENER + "".join(sinks))
        daemon.output = daemon.output.replace("was read again", "")
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for("was read again")

    with start(tmp_path, one) as daemon:
        port = daemon.port()
        use(daemon, 5)
        daemon.output = f"listener main listens on 127.0.0.1:{port} "
        reload(daemon, one + "batch = 7\n", two)
        use(daemon, 5)
        daemon.output = f"listener main listens on 127.0.0.1:{port} "
        reload(daemon, two)
        use(daemon, 5)
        daemon.stop()
    assert len(read(tmp_path / "one.jsonl")) == 10
    assert len(read(tmp_path / "two.jsonl")) == 10


def test_a_sink_whose_records_nobody_takes_at_the_end_is_given_its_time(tmp_path):
    redis = sink("away", "redis", 'url = "redis://127.0.0.1:1/0"', stop="300ms")
    with start(tmp_path, redis) as daemon:
        use(daemon, 3)
        daemon.wait_for("the sink away is in trouble: ")
        assert daemon.stop() == 0
    assert "the sink away has ended; " in daemon.output


def test_the_sink_in_the_guide_writes_what_the_guide_says(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text()
    for name in ("csv_sink.py", "csv.toml"):
        text = re.search(rf"^```\w+\n(# {re.escape(name)}\n.*?)^```$", guide, re.DOTALL | re.M)[1]
        (tmp_path / name).write_text(text)
    (shown,) = re.findall(r"^```csv\n(.*?)^```$", guide, re.DOTALL | re.M)
    with tcpd("--config=csv.toml", cwd=tmp_path) as daemon:
        use(daemon)
        daemon.stop()
    written = (tmp_path / "sessions.csv").read_text()
    assert written == shown.replace("192.0.2.1", "127.0.0.1")
