"""Row 31: 10,000 idle sessions.

Must hold: at most 5 KB each; status, a page of 1000 sessions and a scrape answer within 100 ms.

Best known: none measured.

Each has echoed a byte; they come from ten addresses, as one address may have 1024 by default. What
counts is by how much the daemon's resident memory has grown; what the kernel has for a socket comes
on top, and is the same for every server. Then each of the three is asked for once so that it is
warm, and five times more, over a new connection each time: the longest of the five counts, from
connect(2) to the last byte. Nothing is tried again.
"""

import http.client
import json
import time

from faults.harness import KB, LOOPBACK, PATIENCE, allow_files, tcpd
from faults.peers import Crowd

SESSIONS = 10_000
ADDRESSES = 10
TIMES = 5
LONGEST = 0.1
CONFIG = f"""
[admin]
{LOOPBACK}
[listeners.echo]
{LOOPBACK}
limits = {{ sessions = {SESSIONS + 10} }}
"""


def answer(port, path):
    """Return what the admin side answers, and how long that took, in seconds."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    taken = time.monotonic() - began
    assert response.status == 200, body
    return body, taken


def longest(port, path, check):
    """Return the longest that an answer took, in seconds, once it is warm; each is checked."""
    check(answer(port, path)[0])
    taken = []
    for _ in range(TIMES):
        body, seconds = answer(port, path)
        check(body)
        taken.append(seconds)
    return max(taken)


def check_status(body):
    assert json.loads(body)["sessions"]["open"] == SESSIONS


def check_page(body):
    page = json.loads(body)
    assert page["total"] == SESSIONS
    assert len({each["id"] for each in page["sessions"]}) == 1000


def check_metrics(body):
    open_now = f'tcpd_sessions_open{{handler="echo",listener="echo"}} {SESSIONS}.0'
    assert open_now in body.decode().splitlines()


def test_idle_sessions(tmp_path, figure):
    allow_files(SESSIONS + 500)
    with tcpd(tmp_path, CONFIG) as daemon:
        daemon.assert_serves("echo")
        base = daemon.memory
        crowds = []
        for number in range(ADDRESSES):
            source = f"127.0.0.{number + 1}"
            crowds.append(Crowd(daemon.port("echo"), SESSIONS // ADDRESSES, source=source))
            crowds[-1].wait_for_answers()
        assert sum(len(crowd.open) for crowd in crowds) == SESSIONS
        each = (daemon.memory - base) / SESSIONS
        figure(f"{each / KB:.1f} KB each")
        admin = daemon.port("admin")
        taken = {
            "status": longest(admin, "/api/status", check_status),
            "a page": longest(admin, "/api/sessions?limit=1000", check_page),
            "a scrape": longest(admin, "/metrics", check_metrics),
        }
        words = [f"{what} {seconds * 1000:.0f} ms" for what, seconds in taken.items()]
        figure(f"{', '.join(words)} at most")
        assert each <= 5 * KB
        assert max(taken.values()) <= LONGEST
        daemon.assert_serves("echo")
        for crowd in crowds:
            crowd.close(by_reset=True)
