"""Row 1: a peer pushes 300 MB to echo and never reads.

Must hold: RSS + at most 8 MB; cut at the write-stall deadline, 1 s either way.

Best known: HAProxy +0 MB, cut.

What it pushes would come back, if it read. A server that goes on reading keeps all of it in memory.
The deadline, 3 s here, counts from the last byte that the daemon took.
"""

from faults.pushing import push


def test_a_peer_that_never_reads(tmp_path, figure):
    pushed = push(tmp_path, tls=False)
    figure(str(pushed))
    pushed.check()
