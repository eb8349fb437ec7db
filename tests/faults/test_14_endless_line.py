"""Row 14: 100 MB without a newline into a line handler.

Must hold: closed at the limit; RSS + at most 1 MB; one log record.

Best known: Twisted, no log.

The handler is `reply`, by lines of at most 64 KiB. One that looked for the newline in all that it
has so far would take minutes; one that kept it all would need 100 MB.
"""

import time

from faults.harness import LOOPBACK, MB, tcpd

SESSION = r"(?P<session>[0-9a-f]+-\d+)"
CONFIG = f"""
[listeners.lines]
{LOOPBACK}
handler = "reply"
options = {{ default = "heard" }}
[listeners.echo]
{LOOPBACK}
"""


def test_a_line_without_end(tmp_path, figure):
    with tcpd(tmp_path, CONFIG) as daemon:
        with daemon.connect("lines") as sock:  # whatever the first one costs is no part of this
            sock.sendall(b"x\n")
            assert sock.recv(100) == b"heard\n"
        sent, chunk = 0, b"a" * MB
        with daemon.memory_peak() as peak:
            began = time.monotonic()
            with daemon.connect("lines") as sock:
                try:
                    for _ in range(100):
                        sock.sendall(chunk)
                        sent += len(chunk)
                except ConnectionError:
                    pass
            seconds = time.monotonic() - began
        ended = rf"-> lines \(reply\): [1-9]\d{{4,}} bytes in, .*\[{SESSION}\]"
        session = daemon.wait_for(ended)["session"]
        daemon.assert_serves("echo")
        # The access log has a line for each session, whatever happened in it.
        records = [line for line in daemon.log.splitlines() if f"{session} (" in line]
        print(*records, sep="\n")
        figure(
            f"closed after {seconds * 1000:.0f} ms and {sent / MB:.0f} MB;"
            f" RSS {peak.growth / MB:+.1f} MB; {len(records)} record"
        )
        assert sent < 100 * MB
        assert peak.growth <= MB
        assert len(records) == 1
        assert "65536 bytes" in records[0]
