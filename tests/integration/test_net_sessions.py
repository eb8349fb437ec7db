"""What peers see of tcpd's transports, on every reactor: plain sockets and a server process."""

import json
import select
import socket
import struct
import time

import pytest
from helpers.net_service import LIMIT, REACTORS, Service

MEGABYTE = 1024 * 1024


@pytest.fixture(params=list(REACTORS))
def reactor(request):
    return request.param


def connected(service):
    sock = socket.create_connection(service.address, timeout=LIMIT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_all(sock):
    chunks = []
    while chunk := sock.recv(MEGABYTE):
        chunks.append(chunk)
    return b"".join(chunks)


def ask(sock, what):
    sock.sendall(what)
    return sock.recv(65536)


def pushed_until_stuck(sock, most):
    """Push without reading until the peer stops taking it for a second; gives how much it took."""
    sock.setblocking(False)
    block = b"p" * 65536
    total = 0
    while total < most:
        if not select.select([], [sock], [], 1.0)[1]:
            break
        try:
            total += sock.send(block)
        except BlockingIOError:
            continue
    return total


def test_send_and_fin_back_to_back_gets_its_answer_every_time(reactor):
    with Service(reactor, "Echo") as service:
        for number in range(200):
            with connected(service) as sock:
                message = b"hello %d" % number
                sock.sendall(message)
                sock.shutdown(socket.SHUT_WR)
                assert read_all(sock) == message
        closed = service.wait("closed", 200)
        assert (closed["cause"], closed["reason"]) == ("peer-closed", "ConnectionDone")


def test_twenty_megabytes_reach_a_slow_reader_whole_after_its_fin(reactor):
    size = 20 * MEGABYTE
    with Service(reactor, "Echo") as service, connected(service) as sock:
        sent = 0
        got = 0
        block = bytes(range(256)) * 256
        sock.setblocking(False)
        end = time.monotonic() + 3 * LIMIT
        finished = False
        while time.monotonic() < end:
            readable, writable, _ = select.select(
                [sock] if sent - got > 4 * MEGABYTE or sent == size else [],
                [] if sent == size else [sock],
                [],
                0.05,
            )
            if writable:
                try:
                    sent += sock.send(block[: size - sent])
                except BlockingIOError:
                    pass
                if sent == size and not finished:
                    finished = True
                    sock.shutdown(socket.SHUT_WR)
            elif not readable and sent < size:
                readable = [sock]  # it holds us: read a little
            if readable:
                try:
                    data = sock.recv(65536)
                except BlockingIOError:
                    continue
                if not data:
                    break
                got += len(data)
        assert got == size
        assert service.wait("closed")["bytes_out"] == size


@pytest.mark.parametrize("handler", ["Echo", "LateEcho"])
def test_a_peer_that_never_reads_is_held_and_memory_stays_flat(reactor, handler):
    with Service(reactor, handler) as service, connected(service) as sock:
        assert ask(sock, b"warm") == b"warm"
        before = service.rss()
        taken = pushed_until_stuck(sock, 150 * MEGABYTE)
        assert taken < 60 * MEGABYTE
        assert service.rss() - before < 8 * MEGABYTE
        with connected(service) as neighbour:
            assert ask(neighbour, b"and I?") == b"and I?"


def test_a_peer_that_reads_at_last_gets_everything(reactor):
    with Service(reactor, "Echo") as service, connected(service) as sock:
        taken = pushed_until_stuck(sock, 150 * MEGABYTE)
        sock.setblocking(True)
        sock.settimeout(LIMIT)
        sock.shutdown(socket.SHUT_WR)
        assert len(read_all(sock)) == taken


@pytest.mark.parametrize(
    "where", ["connectionMade", "dataReceived", "resumeProducing", "connectionLost"]
)
def test_a_handler_that_raises_ends_its_own_session_with_one_report(reactor, where):
    with Service(reactor, "Failing", where=where) as service:
        neighbour = None
        if where != "connectionMade":
            neighbour = connected(service)
            assert ask(neighbour, b"neighbour 1") == b"neighbour 1"
        with connected(service) as sock:
            try:
                sock.sendall(b"x")
                assert sock.recv(100) == b""
            except ConnectionResetError:
                pass
        assert service.wait("failed")["error"] == f"{where} fails"
        closed = service.wait("closed")
        if where != "connectionLost":
            assert closed["cause"] == "handler-failed"
        if neighbour is not None:
            assert ask(neighbour, b"neighbour 2") == b"neighbour 2"
            neighbour.close()
        assert len(service.all("failed")) == 1
        assert b"Traceback" not in service.errors


@pytest.mark.parametrize("where", ["readConnectionLost", "writeConnectionLost"])
def test_a_half_close_callback_that_raises_ends_the_session(reactor, where):
    with Service(reactor, "FailingHalves", where=where) as service, connected(service) as sock:
        sock.sendall(b"x")
        if where == "readConnectionLost":
            sock.shutdown(socket.SHUT_WR)
        assert service.wait("failed")["error"] == f"{where} fails"
        assert service.wait("closed")["cause"] == "handler-failed"


def test_without_an_observer_a_failure_is_one_log_record(reactor):
    with Service(reactor, "Failing", where="dataReceived", observed=False) as service:
        with connected(service) as sock:
            sock.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                read_all(sock)
        with connected(service) as sock:
            assert ask(sock, b"neighbour") == b"neighbour"
        errors = service.errors_with(b"dataReceived fails")
        assert errors.count(b"Traceback") == 1


def test_half_close_is_told_to_a_protocol_that_knows_it(reactor):
    with Service(reactor, "Halves") as service, connected(service) as sock:
        sock.sendall(b"all I have")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"all I have"
        assert service.wait("read lost")["heard"] == "all I have"
        assert service.wait("closed")["cause"] == "peer-closed"


def test_a_handler_may_finish_first_and_go_on_reading(reactor):
    with Service(reactor, "Halves") as service, connected(service) as sock:
        sock.sendall(b"you first")
        assert read_all(sock) == b"my last word"
        service.wait("write lost")
        sock.sendall(b", and mine")
        sock.shutdown(socket.SHUT_WR)
        assert service.wait("read lost")["heard"] == "you first, and mine"
        service.wait("closed")


def test_a_producer_that_is_at_work_finishes_for_a_peer_that_has_finished(reactor):
    with Service(reactor, "Streaming") as service, connected(service) as sock:
        sock.sendall(b"start")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"piece " * 10
        assert service.wait("closed")["cause"] == "peer-closed"


def test_a_silent_producer_holds_a_finished_peers_session_for_a_while_only(reactor):
    with (
        Service(reactor, "Streaming", never_done=True, grace=0.3) as service,
        connected(service) as sock,
    ):
        sock.sendall(b"start")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"piece " * 10
        assert service.wait("closed")["cause"] == "peer-closed"


def test_a_pull_producer_is_pulled_until_it_is_done(reactor):
    with Service(reactor, "Pulled") as service, connected(service) as sock:
        sock.sendall(b"start")
        sock.shutdown(socket.SHUT_WR)
        assert len(read_all(sock)) == 20 * MEGABYTE
        service.wait("closed")


@pytest.mark.parametrize(
    ("command", "cause"),
    [("reset", "handler-aborted"), ("abort", "handler-aborted"), ("because", "write-stall")],
)
def test_an_abort_is_a_reset_on_the_wire_and_says_why(reactor, command, cause):
    with Service(reactor, "Commanded") as service, connected(service) as sock:
        sock.sendall(command.encode())
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
        assert service.wait("closed")["cause"] == cause


def test_a_close_sends_what_was_written(reactor):
    with Service(reactor, "Commanded") as service, connected(service) as sock:
        sock.sendall(b"close")
        assert read_all(sock) == b"bye"
        closed = service.wait("closed")
        assert closed["cause"] == "handler-closed"
        assert (closed["bytes_in"], closed["bytes_out"]) == (5, 3)


def test_a_peers_reset_is_told_apart(reactor):
    with Service(reactor, "Echo") as service:
        sock = connected(service)
        assert ask(sock, b"x") == b"x"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert service.wait("closed")["cause"] == "peer-reset"


@pytest.mark.parametrize("handler", ["Echo", "LateEcho"])
def test_a_reset_is_told_apart_if_bytes_came_just_before_and_are_answered(reactor, handler):
    with Service(reactor, handler) as service:
        sock = connected(service)
        assert ask(sock, b"x") == b"x"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with service.stopped():
            sock.sendall(b"hello")
            sock.close()
        assert service.wait("closed")["cause"] == "peer-reset"


def test_connections_start_with_nodelay_and_keepalive(reactor):
    with Service(reactor, "Commanded") as service, connected(service) as sock:
        assert json.loads(ask(sock, b"options")) == [1, 1, 120]


def test_a_tap_sees_both_ways_and_may_fail(reactor):
    with Service(reactor, "Commanded") as service, connected(service) as sock:
        assert ask(sock, b"tap") == b"tapped"
        assert ask(sock, b"more") == b"more"
        service.wait("tap", 3)
        seen = [(entry["way"], entry["data"]) for entry in service.all("tap")]
        assert seen == [("out", "tapped"), ("in", "more"), ("out", "more")]
        assert ask(sock, b"badtap") == b"tapped"
        assert ask(sock, b"still") == b"still"


def test_a_protocol_may_hand_the_connection_over(reactor):
    with Service(reactor, "Commanded") as service, connected(service) as sock:
        assert ask(sock, b"hand over") == b"handed over"
        assert ask(sock, b"reset") == b"reset"


def test_a_thousand_small_writes_are_one_segment_train(reactor):
    with Service(reactor, "Commanded") as service, connected(service) as sock:
        assert ask(sock, b"lines") == b"a line\n" * 1000


def test_who_is_not_admitted_is_closed_at_once(reactor):
    with Service(reactor, "Echo", refuse=True) as service, connected(service) as sock:
        try:
            assert sock.recv(10) == b""
        except ConnectionResetError:
            pass
        assert not service.all("closed")


def test_a_held_port_lets_newcomers_wait(reactor):
    with Service(reactor, "Echo") as service:
        service.tell("hold")
        service.wait("held")
        with connected(service) as sock:
            sock.sendall(b"waiting")
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(100)
            sock.settimeout(LIMIT)
            service.tell("release")
            assert sock.recv(100) == b"waiting"


def test_out_of_descriptors_newcomers_wait_and_the_old_are_served(reactor):
    with Service(reactor, "Echo", descriptors=40) as service:
        sockets = [connected(service) for _ in range(60)]
        served = []
        for sock in sockets:
            sock.sendall(b"x")
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            ready = select.select([s for s in sockets if s not in served], [], [], 0.2)[0]
            served += ready
        assert 10 < len(served) < 40
        before = service.cpu()
        time.sleep(1.0)
        assert service.cpu() - before < 0.2
        waiting = [sock for sock in sockets if sock not in served]
        for sock in served[:5]:
            assert sock.recv(10) == b"x"
            sock.close()
        waiting[0].settimeout(1.5)
        assert waiting[0].recv(10) == b"x"
        assert service.errors.count(b"accepting waits") == 1
        for sock in sockets:
            sock.close()


def test_handlers_that_start_tls_themselves_still_can(reactor, tmp_path):
    pytest.importorskip("OpenSSL")
    import ssl

    import trustme

    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    with Service(reactor, "StartsTLS", certificate=str(pem)) as service:
        sock = connected(service)
        assert ask(sock, b"plain") == b"plain"
        assert ask(sock, b"STARTTLS") == b"go"
        with context.wrap_socket(sock, server_hostname="localhost") as secure:
            secure.sendall(b"secret" * 100_000)
            got = b""
            while len(got) < 600_000:
                got += secure.recv(65536)
            assert got == b"secret" * 100_000
