"""Row 6: 4 rounds of 4000 open/close.

Must hold: descriptors back to base; RSS flat after round 2.

Best known: flat.

In each round 4000 connections are open at the same time, are all answered, and are all closed. Flat
is within 1 MB: a session of 100 bytes that is never let go would make it 0.8 MB in two rounds, and
one with its protocol and its buffers ten times that.
"""

from faults.harness import CROWDED, LOOPBACK, MB, allow_files, tcpd
from faults.peers import Crowd

SESSIONS = 4000


def test_rounds_of_sessions(tmp_path, figure):
    allow_files(SESSIONS + 500)
    config = f"[listeners.echo]\n{LOOPBACK}\n{CROWDED}\n"
    with tcpd(tmp_path, config) as daemon:
        daemon.assert_serves()
        base = daemon.descriptors_at_rest()
        memory = []
        for _ in range(4):
            with Crowd(daemon.port(), SESSIONS) as crowd:
                crowd.wait_for_answers()
                assert not crowd.refused
                assert daemon.descriptors >= SESSIONS
            left = daemon.descriptors_back_to(base)
            memory.append(daemon.memory)
        grown = (memory[3] - memory[1]) / MB
        figure(f"{left} descriptors more; RSS {grown:+.1f} MB from round 2 to round 4")
        assert left == 0
        assert grown <= 1.0
        daemon.assert_serves()
