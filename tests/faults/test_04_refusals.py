"""Row 4: 1000 refusals at a limit.

Must hold: at most 10 KB of log; exact counts in the counters.

Best known: Twisted 254 KB.

All ten places are taken, and a thousand more come. The counters are read where an operator can read
them now: the log's numbers, which have to add up.
"""

from faults.harness import KB, LOOPBACK, allow_files, tcpd, wait_until
from faults.peers import Crowd
from faults.refusals import refused

PLACES, COMERS = 10, 1000


def test_refusals_are_counted_and_logged_in_summary(tmp_path, figure):
    allow_files(2000)
    config = f"[listeners.echo]\n{LOOPBACK}\nlimits = {{ sessions = {PLACES} }}\n"
    with tcpd(tmp_path, config) as daemon:
        with Crowd(daemon.port(), PLACES) as inside:
            inside.wait_for_answers()
            before = daemon.log_size
            for _ in range(10):
                with Crowd(daemon.port(), COMERS // 10) as crowd:
                    crowd.run(lambda: not crowd.open)
                    assert len(crowd.refused) == COMERS // 10
        wait_until("the ten to end", lambda: daemon.log.count(", peer-closed [") == PLACES)
        daemon.stop()
        new = daemon.log[before:]
        about = [line for line in new.splitlines(keepends=True) if ", peer-closed [" not in line]
        size = len("".join(about).encode())
        counted = refused(new, "sessions")
        print(*about)
        figure(f"{size / KB:.1f} KB of log; {counted} of {COMERS} counted")
        assert size <= 10 * KB
        assert counted == COMERS
