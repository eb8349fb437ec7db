"""Streams of the admin side: events, taps, snapshots; and readers who don't keep up."""

import base64

import pytest
from helpers import admin_http as http
from helpers.admin_house import BEARER, AdminHouse
from twisted.logger import globalLogPublisher

from tcpd.admin import feeds, site
from tcpd.admin.stream import KEEP_ALIVE


@pytest.fixture
def house(tmp_path, monkeypatch):
    house = AdminHouse(tmp_path, monkeypatch)
    house.start(house.configuration())
    yield house
    house.close()


@pytest.fixture
def logged():
    found = []
    globalLogPublisher.addObserver(found.append)
    yield found
    globalLogPublisher.removeObserver(found.append)


def test_events_come_as_they_happen(house):
    reader = house.stream("/api/events?event=session.*&listener=echo")
    client = house.connect(house.ports("echo")[0].getHost().port)
    client.close()
    found = house.told(reader)
    assert [data["event.name"] for _, data in found] == ["session.opened", "session.closed"]
    assert [data["event.sequence"] for _, data in found] == [1, 2]


def test_nobody_is_subscribed_when_nobody_reads(house):
    house.events.clear()
    before = {kind: len(each) for kind, each in house.daemon.bus._subscriptions.items()}
    reader = house.stream("/api/events")
    house.connect(house.ports("echo")[0].getHost().port)
    assert house.told(reader)
    reader.close()
    house.wait(0.2)
    after = {kind: len(each) for kind, each in house.daemon.bus._subscriptions.items() if each}
    assert after == before


def test_a_pattern_that_fits_nothing_is_refused(house):
    assert house.get("/api/events?event=session.clsed").status == 400


def test_a_stream_that_has_nothing_to_say_keeps_alive(house):
    reader = house.stream("/api/events")
    house.hear_all(reader)
    house.wait(KEEP_ALIVE + 1)
    assert http.dechunk(house.hear_all(reader)) == b":\n\n"


def test_the_page_gets_snapshots(house):
    reader = house.stream("/api/stream?limit=5&sort=-id")
    house.connect(house.ports("echo")[0].getHost().port)
    found = house.told(reader, 2.5)
    names = [name for name, _ in found]
    assert names[:2] == ["history", "snapshot"]
    assert names.count("snapshot") >= 2
    assert [data["event.name"] for name, data in found if name == "event"] == ["session.opened"]
    last = [data for name, data in found if name == "snapshot"][-1]
    assert last["status"]["sessions"]["open"] == 1
    assert len(last["sessions"]["sessions"]) == 1


def test_a_tap_shows_both_directions_and_goes_with_its_reader(house):
    client = house.connect(house.ports("echo")[0].getHost().port)
    session = house.session
    assert session.transport.tap is None
    reader = house.stream(f"/api/sessions/{session.id}/tap", **BEARER)
    assert session.transport.tap is not None
    house.talk(client, b"<script>\x00\xff")
    found = [data for _, data in house.told(reader)]
    assert [each["direction"] for each in found] == ["in", "out"]
    assert {base64.b64decode(each["data"]) for each in found} == {b"<script>\x00\xff"}
    reader.close()
    house.wait(0.2)
    assert session.transport.tap is None


def test_a_tap_ends_with_its_session(house):
    client = house.connect(house.ports("echo")[0].getHost().port)
    reader = house.stream(f"/api/sessions/{house.session.id}/tap", **BEARER)
    client.sendall(b"bye")
    client.close()
    found = house.told(reader)
    assert found[0][1]["direction"] == "in"
    assert found[-1][0] == "end"
    assert found[-1][1]["reason"]


def test_a_reader_who_doesnt_read_costs_a_bounded_amount_and_is_told(house, monkeypatch):
    monkeypatch.setattr(feeds, "TAPPED", 64 * 1024)
    client = house.connect(house.ports("echo")[0].getHost().port)
    session = house.session
    reader = house.dial()
    reader.sendall(http.request("GET", f"/api/sessions/{session.id}/tap", headers=BEARER))
    house.wait(0.2)
    sent = 0
    admin = house.daemon.roster.aside["admin"].serving.origin
    for _ in range(150):
        for _ in range(4):
            client.sendall(b"x" * 32768)
            sent += 32768
            house.reactor.turn(2)
            house.hear_all(client)
        house.wait(0.05)
    (stream,) = admin.sessions.values()
    assert stream.transport.queued < 1_000_000
    said, silent = b"", 0
    while silent < 10:
        house.wait(0.05)
        more = house.hear_all(reader)
        silent = 0 if more else silent + 1
        said += more
    found = http.events(http.dechunk(said.partition(b"\r\n\r\n")[2]))
    shown = sum(len(base64.b64decode(data["data"])) for _, data in found)
    lost = sum(data["lost"] for _, data in found)
    assert lost > 0
    assert shown + lost == session.bytes_in + session.bytes_out == 2 * sent


def test_events_that_come_too_fast_are_counted(house, monkeypatch):
    monkeypatch.setattr(feeds, "EVENTS", 3)
    events = feeds.Events(house.daemon.bus, feeds.EventPattern("*"), most=3)
    for _ in range(5):
        house.connect(house.ports("echo")[0].getHost().port)
    taken = [events.take() for _ in range(4)]
    assert [each is None for each in taken] == [False, False, False, True]
    assert (events.take_lost(), events.take_lost()) == (2, 0)
    events.stop()


def test_there_are_not_too_many_streams(house, monkeypatch):
    monkeypatch.setattr(site, "MOST_STREAMS", 1)
    reader = house.stream("/api/events")
    reply = house.get("/api/events")
    assert reply.status == 503
    reader.close()
    house.wait(0.2)
    assert house.stream("/api/events").recv(12) == b"HTTP/1.1 200"


def test_a_feed_that_fails_ends_its_stream_with_a_word(house, monkeypatch, logged):
    def fail(self, stream):
        raise RuntimeError("no")

    monkeypatch.setattr(feeds.EventFeed, "fill", fail)
    reader = house.stream("/api/events")
    ((name, data),) = house.told(reader)
    assert (name, "log" in data["reason"]) == ("end", True)
    assert [each for each in logged if "log_failure" in each]
