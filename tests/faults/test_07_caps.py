"""Row 7: one more than the total cap, and than the per-address cap.

Must hold: refused, counted; next one served after a release.

Best known: all.

Addresses are those of the loopback network. With `at_limit = "wait"` the one too many isn't refused
but waits, and is served as soon as somebody leaves.
"""

import time

import pytest
from faults.harness import LOOPBACK, tcpd, wait_until
from faults.peers import assert_echoes, ends, receive
from faults.refusals import refused

CAPS = {
    # The reason, the limits, and the addresses of those inside and of who comes then.
    "total": ("sessions", "sessions = 3", ["127.0.0.2", "127.0.0.3", "127.0.0.4"], "127.0.0.5"),
    "per address": ("per-address", "per_address = 2", ["127.0.0.2", "127.0.0.2"], "127.0.0.2"),
}


@pytest.mark.parametrize("cap", CAPS)
def test_one_too_many(tmp_path, figure, cap):
    reason, limits, inside, comer = CAPS[cap]
    config = f"[listeners.echo]\n{LOOPBACK}\nlimits = {{ {limits} }}\n"
    with tcpd(tmp_path, config) as daemon:
        sessions = [daemon.connect(source=address) for address in inside]
        for sock in sessions:
            assert_echoes(sock)
        turned_away = sum(refuses(daemon, comer) for _ in range(5))
        if cap == "per address":  # others come in all the same
            with daemon.connect(source="127.0.0.9") as other:
                assert_echoes(other)
        for sock in sessions:
            assert_echoes(sock)
        sessions.pop().close()
        ended = 2 if cap == "per address" else 1
        wait_until("its end", lambda: daemon.log.count(", peer-closed [") == ended)
        with daemon.connect(source=comer) as sock:
            assert_echoes(sock)
        for sock in sessions:
            sock.close()
        daemon.stop()
        counted = refused(daemon.log, reason)
        figure(f"{cap}: {turned_away} of 5 refused, {counted} counted, the next one served")
        assert (turned_away, counted) == (5, 5)


def refuses(daemon, address):
    """Return whether one more is refused, without an answer."""
    try:
        sock = daemon.connect(source=address)
    except ConnectionResetError:
        return True
    with sock:
        try:
            sock.sendall(b"x")
        except ConnectionError:
            return True
        return ends(sock, 2.0)


def test_one_too_many_may_wait(tmp_path, figure):
    config = f"[listeners.echo]\n{LOOPBACK}\nlimits = {{ sessions = 2, at_limit = 'wait' }}\n"
    with tcpd(tmp_path, config) as daemon:
        first, second = daemon.connect(), daemon.connect()
        assert_echoes(first)
        assert_echoes(second)
        with daemon.connect() as third:
            third.sendall(b"x")
            time.sleep(0.3)
            assert_echoes(first)
            third.setblocking(False)
            with pytest.raises(BlockingIOError):
                third.recv(1)
            first.close()
            released = time.monotonic()
            third.settimeout(5.0)
            assert receive(third, 1) == b"x"
            waited = time.monotonic() - released
        figure(f"one that waits: served {waited * 1000:.0f} ms after a release")
        assert waited <= 1.0
