"""The gate of a real daemon: who is refused, who is served next, and what the log says of it."""

import json
import re
import select
import socket
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest
from helpers import pem
from helpers.daemon import PATIENCE, receive_all, tcpd

LOCAL = "tcp:0:interface=127.0.0.1"


@contextmanager
def daemon(directory, settings, listen=LOCAL, log='format = "text"'):
    text = f"[listeners.main]\nlisten = {json.dumps(listen)}\n{settings}\n[log]\n{log}\n"
    (directory / "tcpd.toml").write_text(text)
    with tcpd("--config=tcpd.toml", cwd=directory) as running:
        yield running


def connect(daemon, source="127.0.0.1", to="127.0.0.1"):
    """Connect from an address of this machine's own; all of 127.0.0.0/8 is."""
    address = (to, daemon.port("main"))
    return socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0))


def is_served(connection):
    """Return whether an echo comes back, rather than the end."""
    try:
        connection.sendall(b"hello")
        return connection.recv(5) == b"hello"
    except (ConnectionResetError, BrokenPipeError):
        return False


def eventually_served(daemon, *arguments):
    """Return a connection that is served, as soon as there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        connection = connect(daemon, *arguments)
        if is_served(connection):
            return connection
        connection.close()
        time.sleep(0.01)
    raise AssertionError("nobody is served any more")


def logged(output):
    """Return how many refusals a log in JSON tells of, by reason."""
    total = Counter()
    for record in map(json.loads, output.splitlines()):
        if "refuse.reason" in record:
            total[record["refuse.reason"]] += record["count"]
        elif "reasons" in record:
            assert record["count"] == sum(record["reasons"].values())
            total.update(record["reasons"])
    return total


def test_one_more_than_the_total_is_refused_and_the_next_one_served_after_a_release(tmp_path):
    with daemon(tmp_path, "limits = { sessions = 3 }") as running, ExitStack() as stack:
        first = connect(running)
        others = [stack.enter_context(connect(running)) for _ in range(2)]
        assert all(map(is_served, [first, *others]))
        with connect(running) as one_more:
            assert not is_served(one_more)
        assert all(map(is_served, [first, *others]))
        first.close()
        stack.enter_context(eventually_served(running))
        with connect(running) as one_more:
            assert not is_served(one_more)
        running.wait_for(r"warn: listener main refused 127\.0\.0\.1:\d+: all sessions are taken")


def test_an_address_has_a_cap_of_its_own(tmp_path):
    with daemon(tmp_path, "limits = { per_address = 2 }") as running, ExitStack() as stack:
        mine = [stack.enter_context(connect(running)) for _ in range(2)]
        assert all(map(is_served, mine))
        assert not is_served(stack.enter_context(connect(running)))
        assert is_served(stack.enter_context(connect(running, "127.0.0.2")))
        mine[0].close()
        stack.enter_context(eventually_served(running))
        running.wait_for(r"too many sessions \(per-address\)")


def test_access_lists_on_ipv4_ipv6_and_a_unix_socket(tmp_path):
    settings = 'access = { allow = ["127.0.0.0/8"], deny = ["::ffff:127.0.6.0/120"] }'
    listen = ["tcp6:0", f"unix:{tmp_path}/s.sock"]
    with daemon(tmp_path, settings, listen) as running:
        number = int(running.wait_for(r"listens on \[::\]:(\d+) ")[1])
        running.port = lambda name: number
        with connect(running) as allowed:
            assert is_served(allowed)
        with connect(running, "127.0.6.7") as denied:
            assert not is_served(denied)
        with connect(running, "::1", "::1") as elsewhere:
            assert not is_served(elsewhere)
        with socket.socket(socket.AF_UNIX) as here:
            here.connect(str(tmp_path / "s.sock"))
            assert is_served(here)
        running.wait_for(r"info: listener main refused 127\.0\.6\.7:\d+: the access list")
        running.stop()
        assert "1 more without a session" in running.output
        assert "denied 1; most from ::1 (1)" in running.output


def test_a_rate_holds_for_each_address(tmp_path):
    with daemon(tmp_path, 'limits = { rate = "1/h", burst = 2 }') as running:
        for source in ("127.0.0.1", "127.0.0.2"):
            for expected in (True, True, False):
                with connect(running, source) as connection:
                    assert is_served(connection) is expected
        running.wait_for(r"opens sessions too fast \(rate\)")


@pytest.mark.parametrize("listen", [LOCAL, [LOCAL, "unix:s.sock"]])
def test_where_newcomers_wait_nobody_is_refused(tmp_path, listen):
    settings = 'limits = { sessions = 2, at_limit = "wait" }'
    with daemon(tmp_path, settings, listen) as running, ExitStack() as stack:
        number = int(running.wait_for(r"listens on 127\.0\.0\.1:(\d+) ")[1])
        running.port = lambda name: number
        served = [connect(running) for _ in range(2)]
        assert all(map(is_served, served))
        waiting = [stack.enter_context(connect(running)) for _ in range(5)]
        if len(listen) == 2:
            here = stack.enter_context(socket.socket(socket.AF_UNIX))
            here.connect(str(tmp_path / "s.sock"))
            waiting.append(here)
        for each in waiting:
            each.sendall(b"hello")
            each.settimeout(0.1)
            with pytest.raises(TimeoutError):
                each.recv(5)
            each.settimeout(PATIENCE)
        for each in served:
            each.close()
        for _ in range(len(waiting)):  # each that ends makes room for another
            done = next_served(waiting)
            waiting.remove(done)
            done.close()
        running.stop()
        assert "refused" not in running.output
        assert "without a session" not in running.output


def next_served(waiting):
    """Return the first of several connections that gets its echo."""
    ready, _, _ = select.select(waiting, [], [], PATIENCE)
    assert ready[0].recv(5) == b"hello"
    return ready[0]


def test_a_thousand_refusals_are_a_little_log_that_adds_up(tmp_path):
    settings = 'limits = { sessions = 1 }\naccess = { deny = ["127.0.6.0/24"] }'
    with daemon(tmp_path, settings, log='format = "json"') as running, connect(running) as only:
        assert is_served(only)
        before = len(running.output)
        expected = Counter()
        for n in range(1000):
            with connect(running, f"127.0.{5 + n % 2}.{1 + n % 7}") as refused:
                assert not is_served(refused)
            expected["denied" if n % 2 else "sessions"] += 1
        assert is_served(only)
        running.stop()
    assert logged(running.output) == expected
    assert len(running.output) - before < 10_000
    assert max(map(len, running.output.splitlines())) < 1500


def test_handshakes_that_fail_are_counted_and_summarised_too(tmp_path):
    pem.write(tmp_path / "pem")
    settings = 'tls = { certificate = "pem" }\nlimits = { sessions = 2 }'
    with daemon(tmp_path, settings, log='format = "json"') as running:
        for _ in range(100):
            with connect(running) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                receive_all_or_reset(connection)
        with connect(running) as hold, connect(running) as too:
            hold.sendall(b"\x16\x03\x01")  # a handshake takes a place while it lasts
            too.sendall(b"\x16\x03\x01")
            with connect(running) as third:
                assert not is_served(third)
        running.stop()
    counts = logged(running.output)
    assert counts["sessions"] == 1
    assert counts.total() == 103
    assert len(re.findall("http request.*\n", running.output)) == 1
    assert len(running.output) < 6000


def receive_all_or_reset(connection):
    try:
        receive_all(connection)
    except ConnectionResetError:
        pass


def test_what_the_stop_itself_ends_is_in_the_log_as_well(tmp_path):
    pem.write(tmp_path / "pem")
    settings = 'tls = { certificate = "pem" }\ndeadlines = { handshake = "1h" }'
    log = 'format = "json"'
    with daemon(tmp_path, settings, log=log) as running, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(running)).sendall(b"\x16\x03\x01")
        with connect(running) as wrong:  # when this has its answer, the others have been accepted
            wrong.sendall(b"GET / HTTP/1.0\r\n\r\n")
            receive_all_or_reset(wrong)
        running.stop()
    assert logged(running.output).total() == 21


def test_what_stands_in_a_list_to_no_purpose_is_said(tmp_path):
    settings = 'access = { allow = ["10.1.2.3", "127.0.0.1"], deny = ["10.0.0.0/8"] }'
    with daemon(tmp_path, settings) as running, connect(running) as allowed:
        assert is_served(allowed)
        running.stop()
    (warning,) = re.findall("warn: .*", running.output)
    assert "10.1.2.3 in 'allow' lets nobody in, as 'deny' has all of it" in warning
