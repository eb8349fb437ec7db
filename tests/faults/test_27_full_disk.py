"""Row 27: log and recording on a full 64 KB tmpfs.

Must hold: every session served; the loss counted; writing resumes.

Best known: Twisted, silent.

The log and the recordings of the handler `logging` are on the same file system, which something
else fills up. A hundred sessions come while it is full, then there is room again. (A capture of
packets doesn't exist yet.)
"""

import re
import socket

from faults.harness import LOOPBACK, fill, receive_all, small_disk, tcpd

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
            resumed = (disk / "recording").read_text().count(" in 0+5: hello")
            daemon.stop()
            log = daemon.log
            told = re.search(r"(\d+) records with (\d+) bytes were not recorded", log)
        access = log.count("peer-closed [")
        figure(
            f"{served} of {SESSIONS + 1} served; {lost} log records and {told[1]} of recordings"
            " counted as lost; both resumed"
        )
        assert served == SESSIONS + 1
        # One that lacks nothing but its line end is lost, and looks as if it weren't.
        assert SESSIONS + 2 <= access + lost <= SESSIONS + 5
        assert lost > SESSIONS / 2
        assert resumed >= 2
        assert int(told[1]) >= SESSIONS
