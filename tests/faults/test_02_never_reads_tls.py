"""Row 2: the same over TLS.

Must hold: the same.

Best known: none measured.

TLS has buffers of its own, above those of the kernel and of the transport.
"""

from faults.pushing import push


def test_a_peer_that_never_reads_over_tls(tmp_path, figure):
    pushed = push(tmp_path, tls=True)
    figure(str(pushed))
    pushed.check()
