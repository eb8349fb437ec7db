"""Row 22: TERM with 67 MB queued to a reader and to a stalled peer.

Must hold: the reader gets all of it; the stalled one is cut at the drain deadline, 1 s either way;
exit 0.

Best known: nginx 3.0 s.

A handler has written 67 MB to each of two peers when TERM comes. One of them reads from then on,
the other never does; the deadline is 3 s.
"""

import hashlib
import random
import signal
import threading
import time

from faults.harness import LOOPBACK, MB, tcpd, wait_until
from faults.peers import ends

DRAIN = 3.0
QUEUED = 67 * MB
SEED = 22
HANDLER = f"""
import random
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

DATA = random.Random({SEED}).randbytes({QUEUED})

class Bulk(Protocol):
    def dataReceived(self, data):
        self.transport.write(DATA)
        Logger().info("all of it is queued")
"""
CONFIG = f"""
[listeners.bulk]
{LOOPBACK}
handler = "bulk.py:Bulk"
[stop]
drain = "{DRAIN:.0f}s"
"""


def test_what_is_queued_when_it_stops(tmp_path, figure):
    (tmp_path / "bulk.py").write_text(HANDLER)
    expected = hashlib.sha256(random.Random(SEED).randbytes(QUEUED))
    with tcpd(tmp_path, CONFIG) as daemon:
        reader, stalled = daemon.connect(), daemon.connect(receive=4096)
        for sock in (reader, stalled):
            sock.sendall(b"x")
        wait_until("both queues", lambda: daemon.log.count("all of it is queued") == 2)
        daemon.send_signal(signal.SIGTERM)
        stopped = time.monotonic()
        got, digest = 0, hashlib.sha256()
        exited = []

        def watch():
            daemon.process.wait(30)
            exited.append(time.monotonic() - stopped)

        thread = threading.Thread(target=watch)
        thread.start()
        while data := reader.recv(1 << 18):
            got += len(data)
            digest.update(data)
        whole = digest.digest() == expected.digest()
        thread.join()
        cut_after, status = exited[0], daemon.process.returncode
        assert ends(stalled, 1.0)
        figure(
            f"the reader got {got / MB:.0f} of {QUEUED / MB:.0f} MB; the stalled one was cut after"
            f" {cut_after:.1f} of {DRAIN:.0f} s; exit {status}"
        )
        assert whole
        assert abs(cut_after - DRAIN) <= 1.0
        assert status == 0
        assert ", drain-timeout [" in daemon.log
        assert ", shutdown [" in daemon.log
