"""Row 24: HUP with a bad file.

Must hold: old configuration serves; every error reported once.

Best known: both.

The new file has a mistake of its grammar; then four mistakes of other kinds, among things that
would be right; then an address that another process has. Nothing of it is applied. A good file is
applied all the same afterwards.
"""

import signal
import socket

from faults.harness import LOOPBACK, tcpd
from faults.peers import assert_echoes

GOOD = f"[listeners.main]\n{LOOPBACK}\n"
GRAMMAR = "[listeners.main\n"
MISTAKES = f"""
[listeners.main]
{LOOPBACK}
handler = "ehco"
limits = {{ sesions = 1 }}
[listeners.fresh]
{LOOPBACK}
access = {{ allow = ["10.0.0.1/8"] }}
[listeners.secure]
{LOOPBACK}
tls = {{ certificate = "missing.pem" }}
"""
TOLD = ["'ehco'", "'sessions'", "10.0.0.1/8", "missing.pem"]


def test_a_bad_file_changes_nothing(tmp_path, figure):
    with socket.create_server(("127.0.0.1", 0)) as taken, tcpd(tmp_path, GOOD) as daemon:
        port = taken.getsockname()[1]
        in_use = f'{GOOD}[listeners.more]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
        stays = daemon.connect("main")
        base = daemon.descriptors_at_rest()
        reported = 0
        for text, told in ((GRAMMAR, ["tcpd.toml:1:"]), (MISTAKES, TOLD), (in_use, [str(port)])):
            before = len(daemon.log)
            (tmp_path / "tcpd.toml").write_text(text)
            daemon.send_signal(signal.SIGHUP)
            daemon.wait_for(rf"(?s).{{{before}}}.*nothing has changed\n")
            said = [line for line in daemon.log[before:].splitlines() if "reload: " in line]
            print(*said, sep="\n")
            assert len(said) == len(told)
            reported += sum(sum(word in line for line in said) == 1 for word in told)
            assert_echoes(stays)
            daemon.assert_serves("main")
        left = daemon.descriptors_back_to(base)
        (tmp_path / "tcpd.toml").write_text(f"{GOOD}[listeners.last]\n{LOOPBACK}\n")
        daemon.send_signal(signal.SIGHUP)
        daemon.assert_serves("last")
        assert_echoes(stays)
        figure(f"{reported} of {len(TOLD) + 2} errors reported, once each; the old one served")
        assert reported == len(TOLD) + 2
        assert left == 0
        assert "listener fresh" not in daemon.log
        stays.close()
