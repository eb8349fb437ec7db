"""The end of the soak: TERM, with answers under way, and with peers that never finish."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time

from faults.peers import receive, receive_all
from faults.soak_faults import header_stalls, never_reads, silence
from faults.soak_field import DRAIN, MORE, Field

READERS = 4
# Seconds: enough of the drain's time is left.
NAP = DRAIN / 4
OTHERS = (never_reads, silence, header_stalls)


def drain(field: Field) -> tuple[int, list[str]]:
    """Stop the daemon; return its exit status, and what went wrong."""
    wrong: list[str] = []
    socks = [field.connect("crashes", receive=4096) for _ in range(READERS)]
    for sock in socks:
        sock.sendall(b"more")
    begun = [receive(sock, 1) for sock in socks]  # all of it is queued
    for number, other in enumerate(OTHERS * 2):
        with contextlib.suppress(OSError):  # they find no room in their sockets
            other(field, random.Random(number))

    def read(number: int) -> None:
        # One sleeps first: what it is owed has to wait for it.
        time.sleep(NAP if number == 0 else 0.0)
        with socks[number] as sock:
            got = begun[number] + receive_all(sock)
        if got != MORE:
            wrong.append(f"a peer got {len(got)} of {len(MORE)} bytes when it stopped")

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    field.daemon.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.start()
    status = field.daemon.process.wait(DRAIN + 10.0)
    for thread in threads:
        thread.join()
    field.let_go()
    return status, wrong
