"""Row 21: 2000 resets.

Must hold: descriptors back to base; no error lines.

Best known: Twisted.

Half of the peers reset the connection while an answer is on its way to them, half do when all is
quiet, and some before the daemon has even accepted. That a peer goes away is no error of ours: the
session's line in the access log says so, and nothing else does.
"""

import re
import socket

from faults.harness import LOOPBACK, allow_files, tcpd
from faults.peers import Crowd, reset

ROUNDS, PEERS = 10, 200


def test_resets(tmp_path, figure):
    allow_files(1000)
    with tcpd(tmp_path, f"[listeners.echo]\n{LOOPBACK}\n") as daemon:
        daemon.assert_serves()
        base = daemon.descriptors_at_rest()
        port = daemon.port()
        for _ in range(ROUNDS):
            with Crowd(port, PEERS // 2) as quiet:
                quiet.wait_for_answers()
                quiet.close(by_reset=True)
            for number in range(PEERS // 2):
                sock = socket.create_connection(("127.0.0.1", port))
                if number % 10:
                    sock.sendall(bytes(10_000))
                reset(sock)
        left = daemon.descriptors_back_to(base)
        daemon.assert_serves()
        lines = daemon.log.splitlines()
        errors = [line for line in lines if re.search(r"Z (warn|error|critical): |^ ", line)]
        resets = sum(", peer-reset [" in line for line in lines)
        figure(f"{left} descriptors more; {len(errors)} error lines")
        print(*errors, sep="\n")
        assert left == 0
        assert errors == []
        assert resets >= ROUNDS * PEERS * 0.4
