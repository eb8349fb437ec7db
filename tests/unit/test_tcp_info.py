"""What the kernel says of a TCP connection."""

import os
import re
import socket
import subprocess

import pytest
from helpers.net_loop import HandReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tcpd.net.sockets import Server
from tcpd.net.tcp_info import TCPInfo, parse, tcp_info


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    with client, accepted:
        yield client, accepted


def raw(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)


def test_it_counts_what_was_acknowledged_and_received(pair) -> None:
    client, accepted = pair
    client.sendall(bytes(5000))
    received = 0
    while received < 5000:
        received += len(accepted.recv(5000))
    ours, theirs = tcp_info(client), tcp_info(accepted)
    assert ours.state == theirs.state == "established"
    assert theirs.bytes_received == 5000
    assert ours.bytes_acked in (5000, 5001)  # the SYN may count
    assert 0 < ours.rtt < 5
    assert ours.cwnd > 0
    assert ours.mss > 0
    assert ours.total_retransmits == 0


def test_it_tells_the_state_and_what_has_not_been_sent(pair) -> None:
    client, accepted = pair
    client.setblocking(False)
    sent = 0
    try:
        while True:
            sent += client.send(bytes(65536))
    except BlockingIOError:
        pass
    assert tcp_info(client).not_sent > 0
    accepted.close()  # with unread data: a reset
    assert tcp_info(client).state == "close"


def test_the_peers_end_is_a_state(pair) -> None:
    client, accepted = pair
    client.shutdown(socket.SHUT_WR)
    assert accepted.recv(1) == b""
    assert tcp_info(accepted).state == "close-wait"
    assert tcp_info(client).state in ("fin-wait-1", "fin-wait-2")  # as its ACK is on its way


def test_it_agrees_with_the_systems_own_tool(pair) -> None:
    client, accepted = pair
    client.sendall(b"x")
    accepted.recv(1)
    where = "{}:{}".format(*client.getsockname())
    try:
        shown = subprocess.run(["ss", "-tinH", "src", where], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("ss is not installed (iproute2)")
    info = tcp_info(client)
    assert int(re.search(r"cwnd:(\d+)", shown.stdout)[1]) == info.cwnd
    assert int(re.search(r" mss:(\d+)", shown.stdout)[1]) == info.mss
    assert float(re.search(r" rto:([\d.]+)", shown.stdout)[1]) == pytest.approx(info.rto * 1000)


def test_other_sockets_and_closed_ones_have_none() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert tcp_info(one) is None
    assert tcp_info(one) is None


def test_an_older_kernel_tells_less(pair) -> None:
    data = raw(pair[0])
    assert parse(data[:103]) is None
    oldest = parse(data[:104])
    assert isinstance(oldest, TCPInfo)
    assert oldest.bytes_acked is oldest.min_rtt is oldest.delivery_rate is None
    assert parse(data[:136]).bytes_acked is not None
    assert parse(data[:136]).not_sent is None
    assert parse(data[:160]).not_sent == 0
    assert parse(data[:160]).delivery_rate is None
    assert parse(data[:168]).delivery_rate is not None


def test_no_structure_raises() -> None:
    for size in range(257):
        parse(os.urandom(size))


def test_a_transport_tells_of_its_own_connection(pair) -> None:
    reactor = HandReactor()
    try:
        ours, _ = pair
        transport = Server(ours.dup(), Protocol(), ("127.0.0.1", 1), None, 0, reactor)
        info = transport.tcp_info()
        assert info is not None
        assert info.state == "established"
        transport.connectionLost(Failure(ConnectionDone()))
        assert transport.tcp_info() is None
    finally:
        reactor.close()
