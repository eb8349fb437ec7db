"""The admin side comes, moves and goes with reloads, and lasts until the daemon's end."""

import socket

import pytest
from helpers.admin_house import LISTENER, AdminHouse
from helpers.reload_house import free_port


@pytest.fixture
def house(tmp_path, monkeypatch):
    house = AdminHouse(tmp_path, monkeypatch)
    house.start(house.configuration())
    yield house
    house.close()


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
