"""Row 3: 64 file descriptors, 200 connects.

Must hold: at most 0.1 s of CPU in 5 s; old sessions served; a newcomer served within 1 s of a
release.

Best known: Twisted 0.0 s.

A daemon that may open 64 files gets 200 connections at once. A loop that is told again and again of
connections which it can't accept takes a whole core; one that has stopped to listen for them
without looking again leaves them waiting for ever.
"""

import time

import pytest
from faults.harness import LOOPBACK, tcpd
from faults.peers import Crowd, assert_echoes


@pytest.mark.slow
def test_out_of_descriptors(tmp_path, figure):
    with tcpd(tmp_path, f"[listeners.echo]\n{LOOPBACK}\n", descriptors=64) as daemon:
        old = daemon.connect()
        assert_echoes(old)
        with Crowd(daemon.port(), 200) as crowd:
            crowd.run(lambda: False, patience=1.0)
            served = len(crowd.answered)
            assert 30 < served < 64

            before, end = daemon.cpu, time.monotonic() + 5.0
            crowd.run(lambda: False, patience=5.0)
            assert time.monotonic() >= end
            cpu = daemon.cpu - before
            assert_echoes(old)

            assert len(crowd.answered) == served
            next(iter(crowd.answered)).close()
            released = time.monotonic()
            crowd.run(lambda: len(crowd.answered) > served, patience=5.0)
            waited = time.monotonic() - released
            assert len(crowd.answered) > served
        figure(f"{cpu:.2f} s of CPU in 5 s; a newcomer was served after {waited * 1000:.0f} ms")
        assert cpu <= 0.1
        assert waited <= 1.0
        daemon.assert_serves()
