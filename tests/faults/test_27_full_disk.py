"""Row 27: log, recording and capture on a full 64 KB tmpfs.

Must hold: every session served; the loss counted; writing resumes.

Best known: Twisted, silent.

The log, the recordings of the handler `logging` and a capture of packets are on the same file
system, which something else fills up. A hundred sessions come while it is full, then there is room
again.
"""

import re
import socket

from faults.harness import LOOPBACK, fill, small_disk, tcpd
from faults.peers import receive_all
from helpers.packets import read

SESSIONS = 100


def session(daemon):
    """Have one session echo; return whether it did."""
    with daemon.connect("watched") as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        return receive_all(sock) == b"hello"


def test_a_full_disk(tmp_path, figure):
    with small_disk(tmp_path / "disk") as disk:
        config = f"""
[listeners.watched]
{LOOPBACK}
handler = "logging"
options = {{ path = "{disk}/recording", then = "echo" }}
capture = {{ path = "{disk}", queue_size = "16KiB" }}
[log]
file = "{disk}/tcpd.log"
"""
        with tcpd(tmp_path, config) as daemon:
            daemon.log_path = disk / "tcpd.log"
            assert session(daemon)
            daemon.wait_for("peer-closed")
            fill(disk / "ballast")
            served = sum(session(daemon) for _ in range(SESSIONS))
            (disk / "ballast").unlink()
            served += session(daemon)
            lost = int(daemon.wait_for(r"lost before this one, .*: (\d+)")[1])
            daemon.wait_for(r"lost before this one.*\n(.*\n)*.*peer-closed")
            daemon.wait_for("capture of listener watched is written again")
            served += session(daemon)
            resumed = (disk / "recording").read_text().count(" in 0+5: hello")
            daemon.stop()
            log = daemon.log
            packets = read((disk / "watched.pcapng").read_bytes()).packets
            gone = re.search(r"has lost (\d+) pieces", "".join(p.comment for p in packets))
            told = re.search(r"(\d+) records with (\d+) bytes were not recorded", log)
        access = log.count("peer-closed [")
        figure(
            f"{served} of {SESSIONS + 2} served; {lost} log records, {told[1]} of recordings and"
            f" {gone[1]} of the capture counted as lost; all resumed"
        )
        assert served == SESSIONS + 2
        # One that lacks nothing but its line end is lost, and looks as if it weren't.
        assert SESSIONS + 3 <= access + lost <= SESSIONS + 10
        assert lost > SESSIONS / 2
        assert resumed >= 2
        assert int(told[1]) >= SESSIONS
        # Of each session five: the beginning, two pieces, the peer's end, and the end.
        assert int(gone[1]) > SESSIONS
        after = next(n for n, each in enumerate(packets) if "has lost" in each.comment)
        assert b"hello" in [each.data for each in packets[after:]]
