"""Who has a place among the connections of the admin side, and who gives way."""

import pytest
from twisted.logger import capturedLogs, formatEvent

from tcpd.admin import crowd, site
from tcpd.admin.crowd import SILENCE, Crowd


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Three connections and no more."""
    monkeypatch.setattr(crowd, "MOST", 3)
    monkeypatch.setattr(site, "MOST", 3)


class Member:
    lot = "a port"

    def __init__(self, name, gone):
        self.name = name
        self.give_way = lambda: gone.append(name)


def three():
    """Return a crowd that is full, those in it, and what tells who has given way."""
    all_, gone = Crowd(), []
    members = [Member(each, gone) for each in "abc"]
    assert all(all_.join(each, 0.0) for each in members)
    return all_, members, gone


def test_who_begins_a_request_has_waited_the_shortest():
    all_, (a, _, _), gone = three()
    all_.waits(a)
    all_.join(Member("d", gone), 0.0)
    assert gone == ["b"]


def test_who_has_left_gives_no_way_and_takes_no_place():
    all_, (a, b, _), gone = three()
    all_.leave(a)
    assert all_.join(Member("d", gone), 0.0)
    assert gone == []
    all_.works(b)
    assert all_.join(Member("e", gone), 0.0)
    assert gone == ["c"]


def test_that_there_are_too_many_is_said_now_and_then():
    all_, _, gone = three()
    with capturedLogs() as found:
        for now in (0.0, 1.0, SILENCE, SILENCE + 1, SILENCE + 2):
            all_.join(Member("more", gone), now)
    text = "the admin side has 3 connections of one kind; the oldest idle give way"
    assert [formatEvent(each) for each in found] == [text] * 2


class Arrival:
    """A connection in a handshake."""

    def __init__(self, name, server, since, gone):
        self.server, self.stage_since = server, since
        self.abort_because = lambda cause: gone.append((name, cause))


def test_of_too_many_in_a_handshake_the_oldest_of_that_address_go(house):
    gone, here, there = [], object(), object()
    serving = house.daemon.roster.aside["admin"].serving
    for name, server, since in (("x", there, 0), ("b", here, 2), ("a", here, 1), ("c", here, 3)):
        serving.arriving(Arrival(name, server, since, gone))
    assert gone == []
    serving.arriving(Arrival("d", here, 4, gone))
    assert gone == [("a", "sessions")]
    serving.arrivals.clear()
