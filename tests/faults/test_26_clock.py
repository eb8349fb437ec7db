"""Row 26: wall clock an hour back and forth (libfaketime).

Must hold: deadlines within 10 %.

Best known: none measured.

Two daemons whose wall clock is libfaketime's; the monotonic one is left alone, as it is when
somebody sets a clock. One of them is set back by an hour while sessions are idle, the other forth.
The sessions still end at their deadline of 10 s, and a reply that waits 2 s waits no longer.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.harness import LOOPBACK, tcpd
from faults.peers import assert_echoes, receive, when_they_end

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
DEADLINE, DELAY = 10.0, 2.0
CONFIG = f"""
[listeners.echo]
{LOOPBACK}
deadlines = {{ idle = "{DEADLINE:.0f}s" }}
[listeners.late]
{LOOPBACK}
handler = "reply"
options = {{ default = {{ reply = "late", delay = "{DELAY:.0f}s" }} }}
"""


def set_clock(directory, hours):
    """Set the wall clock of the daemon in a directory."""
    fresh = directory / "offset.new"
    fresh.write_text(f"{hours:+d}h\n")
    os.replace(fresh, directory / "offset")


@pytest.mark.slow
@pytest.mark.skipif(LIBRARY is None, reason="libfaketime (Debian: faketime) isn't installed")
def test_the_wall_clock_moves_no_deadline(tmp_path, figure):
    steps = {"back": -1, "forth": 1}
    with ExitStack() as stack:
        daemons, began, delayed = {}, {}, {}
        for name in steps:
            directory = tmp_path / name
            directory.mkdir()
            set_clock(directory, 0)
            environment = {
                "LD_PRELOAD": str(LIBRARY),
                "FAKETIME_TIMESTAMP_FILE": str(directory / "offset"),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
            daemons[name] = stack.enter_context(tcpd(directory, CONFIG, env=environment))
        for name, daemon in daemons.items():
            sock = daemon.connect("echo")
            assert_echoes(sock)
            began[sock] = (name, time.monotonic())
            sock = daemon.connect("late")
            sock.sendall(b"x\n")
            delayed[sock] = (name, time.monotonic())
        time.sleep(0.5)
        for name, hours in steps.items():
            set_clock(tmp_path / name, hours)
        late = {}
        for sock, (name, since) in delayed.items():
            assert receive(sock, 5) == b"late\n"
            late[name] = time.monotonic() - since
            sock.close()
        ended = when_they_end(began, DEADLINE + 5.0)
        waited = {began[sock][0]: when - began[sock][1] for sock, when in ended.items()}
        for name, daemon in daemons.items():  # the log shows that the clock was set indeed
            hour = {daemon.log.splitlines()[at][11:13] for at in (0, -1)}
            assert len(hour) == 2, name
        figure(
            f"{DEADLINE:.0f} s were {waited.get('back', 0):.1f} s with the clock set back,"
            f" {waited.get('forth', 0):.1f} s with it set forth"
        )
        assert set(waited) == set(steps)
        assert all(abs(seconds - DEADLINE) <= DEADLINE / 10 for seconds in waited.values())
        assert all(abs(seconds - DELAY) <= DELAY / 10 for seconds in late.values())
