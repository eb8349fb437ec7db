"""Row 23: 5 reloads under load.

Must hold: no failed connect and no failed request of at least 3800.

Best known: HAProxy 0/4006.

Peers connect, ask and leave without a pause, and two sessions stay open all the time, while each
reload changes the limits, the access list and the options of their listener, and has another
listener come and go. Their own listener's socket stays; whoever is served notices nothing.
"""

from faults.harness import LOOPBACK, certificate, tcpd
from faults.load import Load
from faults.peers import Neighbour, assert_echoes

RELOADS, REQUESTS = 5, 4000


def config(turn):
    """Return a configuration that differs from turn to turn, but for the address of `main`."""
    other = f"[listeners.turn{turn}]\n{LOOPBACK}\ntls = {{ certificate = 'server.pem' }}\n"
    return f"""
[listeners.main]
{LOOPBACK}
handler = "logging"
options = {{ path = "recording", max_bytes = {turn + 1}, then = "echo" }}
limits = {{ sessions = {1000 + turn}, rate = "{100_000 + turn}/s" }}
access = {{ deny = ["192.0.2.{turn}"] }}
{other}
[log]
level = "{"info" if turn % 2 else "debug"}"
"""


def test_reloads_under_load(tmp_path, figure):
    certificate(tmp_path)
    with tcpd(tmp_path, config(0)) as daemon:
        port = daemon.port("main")
        with daemon.connect("main") as stays:
            assert_echoes(stays)
            with Neighbour(port) as neighbour, Load(port) as load:
                load.wait_for(REQUESTS // (RELOADS + 1))
                for turn in range(1, RELOADS + 1):
                    (tmp_path / "tcpd.toml").write_text(config(turn))
                    daemon.send_signal(1)
                    daemon.port(f"turn{turn}")
                    load.wait_for(REQUESTS // (RELOADS + 1))
                assert_echoes(stays)
            daemon.wait_for(f"listener turn{RELOADS - 1} no longer listens")
        print(load.failed[:10], neighbour.errors)
        figure(
            f"{len(load.failed)} of {load.answered + len(load.failed)} failed;"
            f" an open session's p99 {neighbour.p99 * 1000:.0f} ms"
        )
        assert load.failed == []
        assert load.answered >= 3800
        assert neighbour.errors == []
        assert daemon.log.count("no longer listens") == RELOADS
