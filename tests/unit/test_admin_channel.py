"""Connections to the admin side: how many, how long they may take, and what isn't taken of them."""

import socket

import pytest
from helpers import admin_http as http
from helpers.admin_house import BEARER, LISTENER

from tcpd.admin import channel as channel_module
from tcpd.admin import crowd
from tcpd.admin.channel import PATIENCE
from tcpd.admin.site import AT_ONCE, DEADLINES

HEALTH = http.request("GET", "/healthz")


@pytest.fixture
def few(monkeypatch):
    """Three connections and no more."""
    monkeypatch.setattr(crowd, "MOST", 3)
    monkeypatch.setattr(channel_module, "MOST", 3)


def is_over(client):
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        client.setblocking(True)


# -- how many -----------------------------------------------------------------------------------


def test_who_has_waited_longest_makes_room_for_a_newcomer(house, few):
    first, second, third = (house.dial() for _ in range(3))
    for client in (second, third, first):
        assert house.exchange(client, HEALTH).body == b"ok\n"
    fourth = house.dial()
    house.reactor.turn(3)
    assert [is_over(each) for each in (first, second, third)] == [False, True, False]
    for client in (first, third, fourth):
        assert house.exchange(client, HEALTH).body == b"ok\n"


def test_who_has_asked_for_nothing_yet_makes_room_too(house, few):
    clients = [house.dial() for _ in range(3)]
    clients[0].sendall(b"GET /he")
    house.reactor.turn(2)
    assert house.get("/healthz").status == 200
    assert is_over(clients[0]) or is_over(clients[1])


def test_who_is_being_answered_stays_and_a_newcomer_is_told(house, few):
    readers = [house.stream("/api/events") for _ in range(3)]
    client = house.dial()
    house.reactor.turn(3)
    reply, _ = http.parse(house.hear_all(client))
    assert reply.status == 503
    assert reply.json["error"] == "too many connections are open here: 3 of 3; close one"
    assert client.recv(1) == b""
    assert not any(is_over(each) for each in readers if not house.hear_all(each))
    readers[0].close()
    house.wait(0.2)
    assert house.get("/healthz").status == 200


def test_who_floods_it_keeps_the_loop_for_few_at_a_time(house):
    clients = [socket.socket() for _ in range(20)]
    house.clients += clients
    for client in clients:
        client.connect(("127.0.0.1", house.admin_port))
    sessions = house.daemon.roster.aside["admin"].serving.origin.sessions
    counts = []
    for _ in range(10):
        before = len(sessions)
        house.reactor.turn()
        counts.append(len(sessions) - before)
    assert sum(counts) == 20
    assert max(counts) <= AT_ONCE


def test_each_address_has_its_own(house, few):
    listen = ", ".join('"tcp:0:interface=127.0.0.1"' for _ in range(2))
    house.reload(f'[admin]\nlisten = [{listen}]\ntoken_file = "token"\n' + LISTENER)
    one, other = (port.getHost().port for port in house.daemon.roster.aside["admin"].ports)
    quiet = house.dial(other)
    for _ in range(10):
        house.dial(one)
    assert not is_over(quiet)
    assert house.exchange(quiet, HEALTH).status == 200


def test_who_leaves_gives_the_place_back(house, few):
    for _ in range(10):
        client = house.dial()
        house.exchange(client, HEALTH)
        client.close()
        house.reactor.turn(2)
    assert not house.daemon._admin._site.crowd._lots


# -- how long -----------------------------------------------------------------------------------


def test_a_first_request_that_doesnt_come_isnt_waited_for(house):
    client = house.dial()
    house.wait(PATIENCE - 1)
    assert not is_over(client)
    house.wait(2)
    assert is_over(client)


def test_a_request_that_comes_too_slowly_is_told(house):
    client = house.dial()
    client.sendall(b"GET /healthz HTTP/1.1\r\n")
    for _ in range(int(PATIENCE) - 1):
        client.sendall(b"X: y\r\n")
        house.wait(1)
    house.wait(2)
    reply, _ = http.parse(house.hear_all(client))
    assert reply.status == 408
    assert client.recv(1) == b""


def test_a_body_that_comes_too_slowly_is_told(house):
    client = house.dial()
    client.sendall(http.request("POST", "/api/reload", headers={"Content-Length": "10"}) + b"{")
    house.wait(PATIENCE + 1)
    assert http.parse(house.hear_all(client))[0].status == 408
    assert client.recv(1) == b""


def test_between_requests_there_is_more_time(house):
    client = house.dial()
    for _ in range(3):
        assert house.exchange(client, HEALTH).status == 200
        house.wait(float(DEADLINES.idle) / 2)
    client.sendall(b"GET /")
    house.wait(PATIENCE + 1)
    assert http.parse(house.hear_all(client))[0].status == 408


def test_a_stream_has_all_the_time(house):
    reader = house.stream("/api/events")
    house.wait(PATIENCE * 3)
    house.hear_all(reader)
    assert not is_over(reader)


def test_who_sends_half_a_request_and_no_more_is_let_go(house):
    client = house.dial()
    client.sendall(b"GET /healthz HTTP/1.1\r\n")
    client.shutdown(1)
    house.reactor.turn(3)
    assert is_over(client)


# -- what isn't taken ---------------------------------------------------------------------------


def refused(house, client, rest=b""):
    """Return the answer to a request that isn't taken, though more of it comes."""
    house.reactor.turn(3)
    for _ in range(5):
        client.sendall(rest)
        house.reactor.turn(2)
    reply, more = http.parse(house.hear_all(client))
    assert more == b""
    assert reply.headers["connection"] == "close"
    assert reply.json["error"]
    client.shutdown(1)
    house.reactor.turn(3)
    assert client.recv(10) == b""
    return reply


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(house):
    client = house.dial()
    head = http.request(
        "POST", "/api/reload", headers={**BEARER, "Content-Type": "application/json",
        "Content-Length": "1000000000", "Expect": "100-continue"},
    )  # fmt: skip
    reply = house.exchange(client, head)
    assert reply.status == 413
    house.reactor.turn(3)
    assert client.recv(10) == b""


def test_who_sends_it_all_the_same_is_told(house):
    client = house.dial()
    headers = {**BEARER, "Content-Length": "10000000"}
    client.sendall(http.request("POST", "/api/reload", headers=headers))
    assert refused(house, client, b"x" * 20000).status == 413


def test_a_large_body_that_comes_whole_ends_the_connection(house):
    client = house.dial()
    body = b"x" * 70000
    client.sendall(http.request("POST", "/api/reload", headers=BEARER, body=body))
    house.reactor.turn(5)
    assert http.parse(house.hear_all(client))[0].status == 413
    assert client.recv(10) == b""
    assert not house.daemon._admin._site.channels


def chunked(house):
    client = house.dial()
    headers = {**BEARER, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    client.sendall(http.request("POST", "/api/reload", headers=headers))
    return client


def test_a_body_in_too_many_pieces_isnt_taken_apart(house):
    client = chunked(house)
    client.sendall(b"1\r\nx\r\n" * 1000)
    house.reactor.turn(3)
    assert not house.hear_all(client)
    client.sendall(b"1\r\nx\r\n" * 5000)
    (channel,) = house.daemon._admin._site.channels
    (request,) = channel.requests
    reply = refused(house, client, b"1\r\nx\r\n")
    assert (reply.status, "in more than 1000 pieces" in reply.json["error"]) == (413, True)
    assert request._pieces == 1001


@pytest.mark.parametrize("size", [5000, 20000, 65536])
def test_a_body_that_grows_too_large_is_refused_as_soon_as_it_does(house, size):
    client = chunked(house)
    for _ in range(65536 // size + 1):
        client.sendall(b"%x\r\n" % size + b"x" * size + b"\r\n")
        house.reactor.turn()
    assert refused(house, client, b"5\r\nhello\r\n").status == 413


def test_a_body_that_grows_too_large_and_ends_at_once_is_refused_once(house):
    client = chunked(house)
    client.sendall(b"11170\r\n" + b"x" * 70000 + b"\r\n0\r\n\r\n" + HEALTH)
    house.reactor.turn(10)
    reply, rest = http.parse(house.hear_all(client))
    assert (reply.status, rest) == (413, b"")
    assert client.recv(10) == b""


def test_who_goes_on_without_end_is_cut(house):
    client = chunked(house)

    def send_without_end():
        for _ in range(3000):
            client.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            house.reactor.turn()

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_without_end()


def test_who_neither_goes_on_nor_goes_is_let_go(house):
    client = house.dial()
    headers = {**BEARER, "Content-Length": "10000000"}
    client.sendall(http.request("POST", "/api/reload", headers=headers))
    house.wait(PATIENCE + 1)
    assert not house.daemon._admin._site.channels


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"X-A: " + b"y" * 20000,
        b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 900 + b"\r\n") * 19,
        b"GET /" + b"x" * 20000,
    ],
)  # fmt: skip
def test_a_head_that_is_too_large_is_refused(house, head):
    client = house.dial()
    client.sendall(head)
    assert refused(house, client, b"X: more\r\n\r\nGET / HTTP/1.1\r\n\r\n").status == 431


def test_too_many_headers_are_refused(house):
    client = house.dial()
    client.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200)
    assert refused(house, client, b"X: more\r\n").status == 400


def test_nothing_is_done_for_who_is_gone_before_its_turn(house, monkeypatch):
    client = house.dial()
    client.sendall(http.post("/api/loglevel", {"level": "debug"}, token="wrong") * 2)
    client.close()
    house.wait(0.3)
    assert not house.daemon._admin._site.channels
