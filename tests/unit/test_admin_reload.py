"""The admin side comes, moves and goes with reloads, and lasts until the daemon's end."""

import socket

import pytest
from helpers import admin_http as http
from helpers.admin_house import BEARER, LISTENER, TOKEN
from helpers.reload_house import free_port


def test_it_is_ready_until_it_drains_and_lasts_until_the_end(house):
    assert (house.get("/readyz").status, house.get("/readyz").body) == (200, b"ready\n")
    house.connect(house.ports("echo")[0].getHost().port)
    house.session.transport.write(b"x" * 50_000_000)  # for a client that doesn't read
    reader = house.stream("/api/events")
    house.daemon.stopService()
    house.wait(0.2)
    reply = house.get("/readyz")
    assert (reply.status, reply.body) == (503, b"draining\n")
    assert house.get("/healthz").status == 200
    assert house.get("/api/status").json["state"] == "draining"
    house.wait(40)
    said = house.hear_all(reader)
    assert b"tcpd stops" in said
    assert reader.recv(10) == b""


def test_a_reload_keeps_the_address_and_takes_a_new_token(house, tmp_path):
    port = house.admin_port
    reader = house.stream("/api/events")
    (tmp_path / "token").write_text("another-token-altogether")
    event = house.reload()
    assert event.changes == ("admin: the token has changed",)
    assert house.admin_port == port
    assert house.change("/api/reload").status == 401
    assert house.change("/api/reload", token="another-token-altogether").status == 200
    assert "configuration.reloaded" in str(house.told(reader))


def test_a_new_token_ends_the_streams_that_the_old_one_opened(house, tmp_path):
    client = house.connect(house.ports("echo")[0].getHost().port)
    tap = house.stream(f"/api/sessions/{house.session.id}/tap", **BEARER)
    anonymous = house.stream("/api/events")
    house.reload()
    house.reload(house.configuration(more='hosts = ["status.example"]'))
    assert [name for name, _ in house.told(tap)] == []
    assert house.session.transport.tap is not None
    (tmp_path / "token").write_text("another-token-altogether")
    house.reload()
    ((name, data),) = house.told(tap)
    assert name == "end"
    assert data["reason"] == "the configuration has changed: the token is wrong"
    assert house.session.transport.tap is None
    assert "end" not in [name for name, _ in house.told(anonymous)]
    assert house.talk(client, b"hi") == b"hi"


def test_what_needs_the_token_from_now_on_ends_without_it(house):
    anonymous = house.stream("/api/events")
    house.reload(house.configuration().replace(":interface=127.0.0.1", "", 1))
    assert "end" in [name for name, _ in house.told(anonymous)]


def test_an_address_that_goes_takes_its_connections_with_it(house):
    first, second = free_port(), free_port()

    def at(*ports):
        listen = ", ".join(f'"tcp:{port}:interface=127.0.0.1"' for port in ports)
        return f'[admin]\nlisten = [{listen}]\ntoken_file = "token"\n' + LISTENER

    house.reload(at(first, second))
    idle, stays = house.dial(first), house.dial(second)
    for client in (idle, stays):
        assert house.exchange(client, http.request("GET", "/healthz")).status == 200
    streams = [house.dial(port) for port in (first, second)]
    for client in streams:
        client.sendall(http.request("GET", "/api/events"))
    house.wait(0.2)
    house.reload(at(second))
    house.reactor.turn(3)
    assert b"this address is gone" in house.hear_all(streams[0])
    assert streams[0].recv(1) == idle.recv(1) == b""
    assert b"event: end" not in house.hear_all(streams[1])
    assert house.exchange(stays, http.request("GET", "/healthz")).status == 200


def test_a_reload_that_takes_its_address_away_is_answered(house):
    port = house.admin_port
    house.path.write_text(house.configuration(free_port()))
    client = house.dial(port)
    reply = house.exchange(client, http.post("/api/reload", token=TOKEN))
    assert reply.json["changes"] == ["admin: listen changed"]
    house.reactor.turn(3)
    assert client.recv(1) == b""


def test_a_reload_moves_it_and_takes_it_away_and_brings_it_back(house):
    first = house.admin_port
    port = free_port()
    event = house.reload(house.configuration(port))
    assert event.changes == ("admin: listen changed",)
    assert house.admin_port == port
    house.reactor.turn(3)
    with pytest.raises(ConnectionRefusedError):
        house.dial(first)
    reader = house.stream("/api/events")
    event = house.reload(LISTENER)
    assert event.changes == ("the admin side is gone",)
    house.reactor.turn(3)
    assert b"tcpd stops" in house.hear_all(reader)
    with pytest.raises(ConnectionRefusedError):
        house.dial(port)
    event = house.reload(house.configuration(port))
    assert event.changes == ("the admin side is new",)
    assert house.get("/api/status").status == 200


def test_a_reload_that_takes_away_who_asked_for_it_is_answered(house):
    house.path.write_text(LISTENER)
    assert house.change("/api/reload").json["changes"] == ["the admin side is gone"]


def test_a_reload_that_cant_have_the_address_changes_nothing(house):
    port = house.admin_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        event = house.reload(house.configuration(taken.getsockname()[1]))
    assert "listener 'admin' cannot listen on" in event.errors[0]
    assert house.admin_port == port
    assert house.get("/api/status").status == 200


def test_other_names_come_with_a_reload(house):
    assert house.get("/api/status", host="status.example").status == 403
    house.reload(house.configuration(more='hosts = ["status.example"]'))
    assert house.get("/api/status", host="status.example").status == 200
