"""Row 31: 10,000 idle sessions.

Must hold: at most 5 KB each (status and metrics, which have to answer, are not there yet).

Best known: none measured.

Each has echoed a byte. What counts is by how much the daemon's resident memory has grown; what the
kernel has for a socket comes on top, and is the same for every server.
"""

from faults.harness import CROWDED, KB, LOOPBACK, Crowd, allow_files, tcpd

SESSIONS = 10_000


def test_idle_sessions(tmp_path, figure):
    allow_files(SESSIONS + 500)
    with tcpd(tmp_path, f"[listeners.echo]\n{LOOPBACK}\n{CROWDED}\n") as daemon:
        daemon.assert_serves()
        base = daemon.memory
        crowds = []
        for _ in range(5):
            crowds.append(Crowd(daemon.port(), SESSIONS // 5))
            crowds[-1].wait_for_answers()
        assert sum(len(crowd.open) for crowd in crowds) == SESSIONS
        each = (daemon.memory - base) / SESSIONS
        figure(f"{each / KB:.1f} KB each")
        assert each <= 5 * KB
        daemon.assert_serves()
        for crowd in crowds:
            crowd.close(by_reset=True)
