"""The events of before somebody looked: kept while there is an admin side, and given first."""

import gc
import socket
import weakref
from contextlib import closing

from helpers.admin_house import LISTENER, AdminHouse

from tcpd.admin import recent
from tcpd.events import ConfigurationRefused, HandlerEvent, Identity, SessionOpened

WHO = Identity("r-1", "echo", "echo", "192.0.2.1", 5000, "192.0.2.9:80")


def come_and_go(house):
    house.connect(house.ports("echo")[0].getHost().port).close()
    house.wait(0.1)


def names(found):
    return [data["event.name"] for name, data in found if name in ("event", "message")]


def handlers_own(house, **data):
    house.daemon.bus.emit(HandlerEvent(identity=WHO, name="told", data=data))


def test_the_page_begins_with_what_has_happened(house):
    come_and_go(house)
    reader = house.stream("/api/stream")
    found = house.told(reader, 0.5)
    assert names(found) == ["listener.changed", "session.opened", "session.closed"]
    assert [name for name, _ in found][:2] == ["history", "snapshot"]
    come_and_go(house)
    assert names(house.told(reader, 1.5)) == ["session.opened", "session.closed"]


def test_events_begin_with_as_many_as_are_asked_for_of_those_that_fit(house):
    come_and_go(house)
    come_and_go(house)
    handlers_own(house, word="x")
    path = "/api/events?event=session.*&listener=echo&recent=3"
    found = house.told(house.stream(path))
    assert names(found) == ["session.closed", "session.opened", "session.closed"]
    (told,) = house.told(house.stream("/api/events?event=told&recent=100"))
    assert (told[1]["word"], told[1]["session.id"]) == ("x", "r-1")
    assert house.told(house.stream("/api/events")) == []
    assert house.get("/api/events?recent=x").status == 400


def test_they_are_bounded_in_number_and_in_bytes(house):
    for _ in range(recent.MOST):
        handlers_own(house, text="x" * 8000)
    few = len(names(house.told(house.stream("/api/events?recent=100"), 1)))
    assert 2 <= few <= recent.SIZE // 8000
    for _ in range(2 * recent.MOST):
        handlers_own(house)
    assert len(names(house.told(house.stream("/api/events?recent=100"), 1))) == recent.MOST


def test_nothing_that_a_handler_gave_is_kept_alive(house):
    class Thing:
        def __str__(self):
            return "a thing"

    thing = Thing()
    gone = weakref.ref(thing)
    handlers_own(house, thing=thing)
    del thing
    come_and_go(house)  # the hub itself remembers the last event
    gc.collect()
    assert gone() is None
    (told,) = house.told(house.stream("/api/events?event=told&recent=1"))
    assert told[1]["thing"] == "a thing"


def test_without_an_admin_side_nothing_is_kept(house):
    bus = house.daemon.bus
    house.reload(LISTENER)
    assert "admin" not in house.daemon.roster.aside
    assert not bus.wants(SessionOpened)
    house.reload(house.configuration())
    come_and_go(house)
    found = names(house.told(house.stream("/api/stream"), 0.5))
    assert found[-2:] == ["session.opened", "session.closed"]
    assert "listener.changed" not in found


def test_a_refused_reload_that_would_have_added_the_admin_side_keeps_nothing(tmp_path, monkeypatch):
    with (
        closing(AdminHouse(tmp_path, monkeypatch)) as house,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        house.start(LISTENER)
        bus = house.daemon.bus
        event = house.reload(house.configuration(taken.getsockname()[1]))
        assert isinstance(event, ConfigurationRefused)
        assert not bus.wants(SessionOpened)
        house.reload(house.configuration())
        assert bus.wants(SessionOpened)
        assert house.change("/api/listeners/echo/suspend").status == 200
