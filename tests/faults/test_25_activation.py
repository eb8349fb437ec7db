"""Row 25: restart under socket activation, with and without names.

Must hold: no failed connect.

Best known: none measured.

The test holds the listening socket, as systemd does, and passes it to one daemon after another.
Peers connect all the time; those who come while no daemon runs wait until one does.
"""

import socket
import sys

import pytest
from faults.harness import tcpd
from faults.load import Load

RESTARTS = 2
# LISTEN_PID is the daemon's own (sd_listen_fds(3)), so it is set by what becomes the daemon.
ACTIVATE = "import os,sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID']=str(os.getpid());"
ACTIVATE += " os.execv(sys.argv[2], sys.argv[2:])"


@pytest.mark.parametrize("named", [True, False], ids=["names", "no-names"])
def test_restarts_lose_no_connect(tmp_path, figure, named):
    endpoint = "systemd:domain=INET:" + ("name=echo" if named else "index=0")
    environment = {"LISTEN_FDS": "1"} | ({"LISTEN_FDNAMES": "echo"} if named else {})
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as held:
        number = held.fileno()

        def daemon(name):
            return tcpd(
                tmp_path,
                f'[listeners.echo]\nlisten = "{endpoint}"\n',
                name=name,
                before=[sys.executable, "-c", ACTIVATE, str(number)],
                env=environment,
                pass_fds=[number],
            )

        with Load(held.getsockname()[1]) as load:
            for turn in range(RESTARTS + 1):
                with daemon(f"daemon{turn}") as running:
                    running.wait_for(", peer-closed")
                    load.wait_for(100)
                    if turn == RESTARTS:
                        load.stop()
                    running.stop()
        words = f"{load.failed_connects} of {load.connected} connects failed"
        print(load.failed)
        figure(
            f"{'with' if named else 'without'} names: {words}, the longest took"
            f" {load.longest:.1f} s"
        )
        assert load.failed_connects == 0
        assert load.answered > 100 * RESTARTS
