"""Row 15: 1 MB of bare CRLFs into a line handler.

Must hold: a neighbour's echo p99 at most 100 ms meanwhile.

Best known: none measured.

Half a million messages arrive at once. A handler that takes all that was read before it lets go of
the loop keeps everybody else waiting.
"""

import threading

from faults.harness import LOOPBACK, tcpd
from faults.peers import Neighbour, receive

LINES = 500_000
CONFIG = f"""
[listeners.lines]
{LOOPBACK}
handler = "reply"
options = {{ default = "x" }}
[listeners.echo]
{LOOPBACK}
"""


def test_a_flood_of_empty_lines(tmp_path, figure):
    with tcpd(tmp_path, CONFIG) as daemon:
        with daemon.connect("lines") as sock, Neighbour(daemon.port("echo")) as neighbour:
            sock.settimeout(60)
            thread = threading.Thread(target=sock.sendall, args=(b"\r\n" * LINES,))
            thread.start()
            answers = receive(sock, 2 * LINES)
            thread.join()
            assert answers == b"x\n" * LINES
        figure(
            f"p99 {neighbour.p99 * 1000:.0f} ms, worst {neighbour.worst * 1000:.0f} ms"
            f" ({neighbour.count} exchanges)"
        )
        assert neighbour.errors == []
        assert neighbour.count > 20
        assert neighbour.p99 <= 0.1
