"""Streams of the admin side: events, taps, snapshots; and readers who don't keep up."""

import base64
import json
import socket

from helpers import admin_http as http
from helpers.admin_house import BEARER, LISTENER

from tcpd.admin import feeds, site
from tcpd.admin.stream import KEEP_ALIVE


def test_events_come_as_they_happen(house):
    reader = house.stream("/api/events?event=session.*&listener=echo")
    client = house.connect(house.ports("echo")[0].getHost().port)
    client.close()
    found = house.told(reader)
    assert [data["event.name"] for _, data in found] == ["session.opened", "session.closed"]
    first, second = (data["event.sequence"] for _, data in found)
    assert second == first + 1


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
    events = [data["event.name"] for name, data in found if name == "event"]
    assert events == ["listener.changed", "session.opened"]
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


def echoed(house, client, data):
    """Have a session echo something, without any time passing."""
    client.sendall(data)
    house.reactor.turn(3)
    house.hear_all(client)


def test_what_passes_is_told_at_once(house):
    client = house.connect(house.ports("echo")[0].getHost().port)
    tap = house.stream(f"/api/sessions/{house.session.id}/tap", **BEARER)
    reader = house.stream("/api/events?event=session.*")
    house.hear_all(tap)
    house.hear_all(reader)
    echoed(house, client, b"now")
    assert base64.b64encode(b"now") in house.hear_all(tap)
    client.close()
    house.reactor.turn(3)
    assert b"session.closed" in house.hear_all(reader)


def test_a_stream_goes_on_as_soon_as_its_reader_has_read(house):
    client = house.connect(house.ports("echo")[0].getHost().port)
    reader = house.stream(f"/api/sessions/{house.session.id}/tap", **BEARER)
    sent = 0
    for _ in range(8):  # more than a connection takes at once, less than is kept
        echoed(house, client, b"x" * 50_000)
        sent += 50_000
    said = house.hear_all(reader)
    for _ in range(60):
        house.reactor.turn()
        said += house.hear_all(reader)
    found = http.events(http.dechunk(said.partition(b"\r\n\r\n")[2]))
    assert sum(len(base64.b64decode(data["data"])) for _, data in found) == 2 * sent
    assert not any(data["lost"] for _, data in found)


class Reader:
    """A stream to a reader who takes so many events at a time."""

    def __init__(self, takes):
        self.takes = takes
        self.sent = []

    @property
    def ready(self):
        return self.takes > 0

    def send_encoded(self, data, event=""):
        self.takes -= 1
        self.sent.append((event, json.loads(data)))

    def send(self, view, event=""):
        self.send_encoded(json.dumps(view).encode(), event)

    def close(self, reason=""):
        self.sent.append(("end", reason))


def in_order(house, sent):
    """Return which session each event is about, the first that there was being 1; or the notice."""
    first = min(house.daemon.listeners["echo"].serving.origin.sessions)
    return [
        int(data["session.id"].rpartition("-")[2]) - first + 1 if "session.id" in data else data
        for _, data in sent
    ]


def told_of_six(house, takes):
    """Return what a reader is sent for whom three events are kept, who takes some after five."""
    events = feeds.Events(house.daemon, feeds.EventPattern("session.opened"), most=3)
    feed = feeds.EventFeed(events)
    port = house.ports("echo")[0].getHost().port
    for _ in range(5):
        house.connect(port)
    reader = Reader(takes)
    feed.fill(reader)
    house.connect(port)
    assert len(events) == 3
    reader.takes = 10
    feed.fill(reader)
    feed.stop()
    return reader.sent


def test_events_that_are_lost_are_told_of_where_they_were(house):
    sent = told_of_six(house, 1)
    # The fourth, fifth and sixth found no room: the notice took it.
    assert in_order(house, sent) == [1, 2, 3, {"lost": 3}]
    assert sent[-1][0] == "lost"


def test_events_go_on_behind_those_that_are_lost(house):
    sent = told_of_six(house, 2)
    assert in_order(house, sent) == [1, 2, 3, {"lost": 2}, 6]


def test_bytes_that_are_lost_are_told_of_where_they_were(house, monkeypatch):
    monkeypatch.setattr(feeds, "TAPPED", 10)
    client = house.connect(house.ports("echo")[0].getHost().port)
    feed = feeds.TapFeed(house.session)
    echoed(house, client, b"abcdefg")  # and as much back, of which three bytes have room
    echoed(house, client, b"hi")
    reader = Reader(10)
    feed.fill(reader)
    echoed(house, client, b"jk")
    feed.fill(reader)
    feed.stop()
    found = [
        (data["direction"], base64.b64decode(data["data"]), data["lost"]) for _, data in reader.sent
    ]
    assert found == [
        ("in", b"abcdefg", 0),
        ("out", b"abc", 0),
        ("", b"", 8),
        ("in", b"jk", 0),
        ("out", b"jk", 0),
    ]


def test_a_loss_stands_with_the_bytes_that_come_after_it(house, monkeypatch):
    monkeypatch.setattr(feeds, "TAPPED", 10)
    client = house.connect(house.ports("echo")[0].getHost().port)
    feed = feeds.TapFeed(house.session)
    echoed(house, client, b"abcdefg")
    reader = Reader(1)
    feed.fill(reader)
    echoed(house, client, b"hi")
    reader.takes = 10
    feed.fill(reader)
    feed.stop()
    found = [(data["direction"], data["lost"]) for _, data in reader.sent]
    assert found == [("in", 0), ("out", 0), ("in", 4), ("out", 0)]


def test_a_long_piece_loses_only_what_has_no_room(house, monkeypatch):
    monkeypatch.setattr(feeds, "TAPPED", 100)
    monkeypatch.setattr(feeds, "PIECE", 30)
    house.connect(house.ports("echo")[0].getHost().port)
    feed = feeds.TapFeed(house.session)
    data = bytes(range(250))
    feed._heed("in", data)
    reader = Reader(10)
    feed.fill(reader)
    feed.stop()
    assert b"".join(base64.b64decode(each["data"]) for _, each in reader.sent) == data[:100]
    assert [each["lost"] for _, each in reader.sent] == [0, 0, 0, 0, 150]


def test_an_event_has_the_same_number_and_time_for_all_who_read_it(house):
    port = house.ports("echo")[0].getHost().port
    first = house.stream("/api/events?event=session.opened")
    house.connect(port)
    second = house.stream("/api/events?event=session.opened")
    house.connect(port)
    both = [data for _, data in house.told(first)]
    (later,) = [data for _, data in house.told(second)]
    assert both[1]["event.sequence"] == both[0]["event.sequence"] + 1
    assert later == both[1]


def test_the_page_gets_the_newest_events(house, monkeypatch):
    monkeypatch.setattr("tcpd.admin.api.SNAPSHOT_EVENTS", 2)
    reader = house.stream("/api/stream")
    house.wait(0.1)
    house.told(reader)
    for _ in range(5):
        house.connect(house.ports("echo")[0].getHost().port)
        house.wait(0.01)
    house.wait(1.5)
    found = [(name, data) for name, data in house.told(reader) if name in ("event", "lost")]
    assert [name for name, _ in found] == ["lost", "event", "event"]
    assert found[0][1] == {"lost": 3}
    assert in_order(house, found[1:]) == [4, 5]


def test_there_are_not_too_many_streams_and_some_are_kept_for_who_has_the_token(house, monkeypatch):
    monkeypatch.setattr(site, "MOST_STREAMS", 1)
    reader = house.stream("/api/events")
    reply = house.get("/api/stream")
    assert reply.status == 503
    assert reply.json["error"] == "too many event streams are open: 1 of 1"
    assert reply.json["hint"].startswith("close one")
    other = house.stream("/api/events", **BEARER)
    assert other.recv(12) == b"HTTP/1.1 200"
    assert house.get("/api/events", headers=BEARER).status == 503
    reader.close()
    house.wait(0.2)
    assert house.stream("/api/events").recv(12) == b"HTTP/1.1 200"
    assert house.get("/api/events").status == 503


def test_nobody_takes_the_streams_of_another_address(house, monkeypatch, tmp_path):
    monkeypatch.setattr(site, "MOST_STREAMS", 1)
    listen = f'"unix:{tmp_path}/a.sock", "tcp:0:interface=127.0.0.1"'
    house.reload(f'[admin]\nlisten = [{listen}]\ntoken_file = "token"\n' + LISTENER)
    places = [each.getHost() for each in house.daemon.roster.aside["admin"].ports]
    (port,) = (each.port for each in places if hasattr(each, "port"))

    def read(client):
        client.sendall(http.request("GET", "/api/events"))
        house.wait(0.2)
        return client.recv(12)

    def dial_unix():
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "a.sock"))
        house.clients.append(client)
        house.reactor.turn(3)
        return client

    # As another user, whom the file's mode lets in.
    monkeypatch.setattr("tcpd.admin.auth._user_of", lambda transport: 4711)
    assert read(dial_unix()) == b"HTTP/1.1 200"
    assert read(dial_unix()) == b"HTTP/1.1 503"
    assert read(house.dial(port)) == b"HTTP/1.1 200"
    monkeypatch.setattr("tcpd.admin.auth._user_of", lambda transport: 4712)
    assert read(dial_unix()) == b"HTTP/1.1 200"


def test_a_stream_that_is_refused_leaves_nothing_behind(house, monkeypatch):
    monkeypatch.setattr(site, "MOST_STREAMS", 0)
    house.connect(house.ports("echo")[0].getHost().port)
    path = f"/api/sessions/{house.session.id}/tap"
    assert house.get(path, headers=BEARER).status == 503
    assert house.session.transport.tap is None


def test_a_feed_that_fails_ends_its_stream_with_a_word(house, monkeypatch, logged):
    def fail(self, stream):
        raise RuntimeError("no")

    monkeypatch.setattr(feeds.EventFeed, "fill", fail)
    reader = house.stream("/api/events")
    ((name, data),) = house.told(reader)
    assert (name, "log" in data["reason"]) == ("end", True)
    assert [each for each in logged if "log_failure" in each]
