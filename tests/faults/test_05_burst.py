"""Row 5: 2000 connects at once.

Must hold: no listen overflow; p99 at most 0.3 s.

Best known: 0.11 s.

Each connects, sends a byte as soon as it can, and is timed until that byte is back. A short backlog
makes the kernel drop what it has no room for, and then tries again only after a second.
"""

from pathlib import Path

from faults.harness import CROWDED, LOOPBACK, allow_files, quantile, tcpd
from faults.peers import Crowd


def overflows():
    """Return how often this machine has had no room for a connection (TcpExt in netstat)."""
    names, values = [
        line.split() for line in Path("/proc/net/netstat").read_text().splitlines()[:2]
    ]
    assert names[0] == values[0] == "TcpExt:"
    return int(dict(zip(names, values, strict=True))["ListenOverflows"])


def test_a_burst_of_connects(tmp_path, figure):
    allow_files(3000)
    with tcpd(tmp_path, f"[listeners.echo]\n{LOOPBACK}\n{CROWDED}\n") as daemon:
        daemon.assert_serves()
        before = overflows()
        with Crowd(daemon.port(), 2000) as crowd:
            crowd.wait_for_answers()
            seconds = crowd.answered.values()
            p99 = quantile(seconds, 0.99)
            refused = len(crowd.refused)
        lost = overflows() - before
        figure(f"{lost} overflows; p99 {p99:.2f} s")
        assert (refused, lost) == (0, 0)
        assert p99 <= 0.3
        daemon.assert_serves()
