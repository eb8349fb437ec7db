"""Row 16: a rule `(a+)+$` and 100 KB of a.

Must hold: answered within 10 ms.

Best known: RE2.

The text ends with something else, so that an engine which backtracks tries every way to divide it,
of which there are more than anybody can count. Of ten such messages in a row the median counts.
"""

import statistics
import time

from faults.harness import KB, LOOPBACK, tcpd
from faults.peers import receive

CONFIG = f"""
[listeners.rules]
{LOOPBACK}
handler = "reply"
[listeners.rules.options]
default = "no"
max_size = "200KiB"
rules = [ {{ match = {{ regex = "(a+)+$" }}, reply = "yes" }} ]
"""


def test_an_expression_that_explodes(tmp_path, figure):
    with tcpd(tmp_path, CONFIG) as daemon:
        taken = []
        with daemon.connect() as sock:
            sock.sendall(b"aaa\n")
            assert receive(sock, 4) == b"yes\n"
            for _ in range(10):
                message = b"a" * 100 * KB + b"!\n"
                began = time.monotonic()
                sock.sendall(message)
                answer = receive(sock, 3)
                taken.append(time.monotonic() - began)
                assert answer == b"no\n"
        median = statistics.median(taken)
        figure(f"answered within {median * 1000:.1f} ms (median of {len(taken)})")
        assert median <= 0.01
