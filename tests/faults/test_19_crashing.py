"""Row 19: 1000 crashing sessions.

Must hold: at most 50 KB of log; descriptors back to base.

Best known: none measured.

Each session's handler raises at its first byte, always in the same place; a traceback for each
would be 0.5 MB. The access log isn't counted, which has a line for each session, whatever happens
in it, and which can be switched off.
"""

import re

from faults.harness import KB, LOOPBACK, allow_files, tcpd, wait_until
from faults.peers import Crowd

SESSIONS = 1000
ACCESS = ", handler-failed ["
HANDLER = """
from twisted.internet.protocol import Protocol

class Crashes(Protocol):
    def dataReceived(self, data):
        raise ValueError("on purpose")
"""


def test_the_same_crash_again_and_again(tmp_path, figure):
    allow_files(SESSIONS + 200)
    (tmp_path / "crashes.py").write_text(HANDLER)
    config = f"""
[listeners.crashes]
{LOOPBACK}
handler = "crashes.py:Crashes"
[listeners.echo]
{LOOPBACK}
"""
    with tcpd(tmp_path, config, tracebacks=True) as daemon:
        daemon.assert_serves("echo")
        base = daemon.descriptors_at_rest()
        for _ in range(10):
            with Crowd(daemon.port("crashes"), SESSIONS // 10) as crowd:
                crowd.run(lambda: not crowd.open)
                assert len(crowd.refused) == SESSIONS // 10
        left = daemon.descriptors_back_to(base)
        wait_until("every session's line", lambda: daemon.log.count(ACCESS) == SESSIONS)
        lines = daemon.log.splitlines(keepends=True)
        size = sum(len(line.encode()) for line in lines if ACCESS not in line)
        shown = sum("failed in session" in line for line in lines)
        counted = sum(map(int, re.findall(r": (\d+) more failures like those", daemon.log)))
        print(*(line for line in lines if ACCESS not in line), sep="")
        figure(f"{size / KB:.0f} KB of log; {left} descriptors more")
        assert left == 0
        assert size <= 50 * KB
        assert shown + counted == SESSIONS
        daemon.assert_serves("echo")
