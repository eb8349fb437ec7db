"""Row 25: restart under socket activation, with and without names.

Must hold: no failed connect.

Best known: none measured.

The test holds the listening socket, as systemd does, and passes it to one daemon after another.
Peers connect all the time; those who come while no daemon runs wait until one does.
"""

import socket
import sys
import threading
import time

import pytest
from faults.harness import PATIENCE, receive_all, tcpd

RESTARTS = 2
# LISTEN_PID is the daemon's own (sd_listen_fds(3)), so it is set by what becomes the daemon.
ACTIVATE = "import os,sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID']=str(os.getpid());"
ACTIVATE += " os.execv(sys.argv[2], sys.argv[2:])"


class Load:
    """Peers that connect one after another, each with a request of its own."""

    def __init__(self, port):
        self.port = port
        self.connected = self.answered = 0
        self.failed = []
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def _run(self):
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
            except OSError as error:
                self.failed.append(error)
                return
            self.connected += 1
            with sock:
                try:
                    sock.sendall(b"hello")
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    continue
                self.answered += receive_all(sock) == b"hello"
            self.longest = max(self.longest, time.monotonic() - began)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *rest):
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


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
                    running.stop()
            with daemon("last") as running:
                running.wait_for(", peer-closed")
                load.__exit__()
        gap = f"the longest wait {load.longest:.1f} s"
        figure(
            f"{'with' if named else 'without'} names: {len(load.failed)} of {load.connected}"
            f" connects failed, {gap}"
        )
        assert load.failed == []
        assert load.answered > 4 * RESTARTS
