"""The daemon as plain data, and what an operator does to it; its reactor is turned by hand."""

import json
import socket
from types import SimpleNamespace

import pytest
from helpers.hand import A_TURN, done, take_turns_at_everything
from helpers.reload_house import House
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tcpd.admin import rates, turns, views
from tcpd.admin.controls import Controls, NotNowError, UnknownError
from tcpd.admin.house import find_session, sessions_of
from tcpd.admin.metrics import exposition
from tcpd.admin.views import SORTS, SortError, Views
from tcpd.sinks.log_switch import LogSwitch

ONE = '[listeners.a]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "echo"\n'
TWO = ONE + '[listeners.b]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "discard"\n'


class Watched(House):
    """A daemon with views and controls."""

    def start(self, text):
        super().start(text)
        self.controls = Controls(self.daemon)
        self.views = Views(self.daemon, self.controls)

    def port(self, name="a"):
        return self.ports(name)[0].getHost().port

    def status(self):
        return done(self.reactor, self.views.status())

    def sessions(self, **wish):
        return done(self.reactor, self.views.sessions(**wish))

    def pass_time(self, seconds, step=0.5):
        for _ in range(int(seconds / step)):
            self.reactor.advance(step)
            self.reactor.turn(2)


@pytest.fixture
def house(tmp_path, monkeypatch):
    house = Watched(tmp_path, monkeypatch)
    yield house
    house.views.stop()
    for client in house.clients:
        client.close()
    house.daemon.stopService()
    house.pass_time(2)


# -- the whole -------------------------------------------------------------------------------


def test_the_status_has_everything_and_is_fit_for_json(house) -> None:
    house.start(TWO)
    house.talk(house.connect(house.port()), b"hello")
    status = json.loads(json.dumps(house.status()))
    assert status["state"] == "running"
    assert status["sessions"] == {"open": 1, "total": 1}
    assert status["last_reload"] is None
    assert status["process"]["fds"] > 3
    a, b = status["listeners"]
    assert (a["name"], a["handler"], a["state"]) == ("a", "echo", "up")
    assert a["addresses"] == [f"127.0.0.1:{house.port()}"]
    assert a["sessions"] == {"open": 1, "total": 1, "limit": 10000}
    assert a["bytes"] == {"in": 5, "out": 5}
    assert a["rate"] == {"in": None, "out": None}
    assert b["sessions"]["open"] == 0
    assert (b["refused"], b["closed"], b["capture"]) == ({}, {}, None)


def test_the_status_tells_of_the_last_reload(house) -> None:
    house.start(ONE)
    house.reload(TWO)
    last = house.status()["last_reload"]
    assert last["ok"]
    assert last["changes"] == ["listener b is new"]
    house.reload("x = 1")
    last = house.status()["last_reload"]
    assert not last["ok"]
    assert "nothing to run" in last["errors"][0]


def test_the_status_tells_of_connectors(house, tmp_path) -> None:
    house.start(ONE + f'[connectors.up]\nconnect = "unix:{tmp_path}/nobody"\n')
    house.pass_time(1)
    (up,) = house.status()["connectors"]
    assert (up["name"], up["handler"], up["state"]) == ("up", "echo", "retrying")
    assert up["target"] == f"unix:{tmp_path}/nobody"
    assert up["failures"] >= 1
    assert up["session"] is None


def test_handlers_are_listed(house) -> None:
    house.start(ONE)
    echo = next(each for each in house.views.handlers() if each["name"] == "echo")
    assert echo["source"] == "built in"
    assert echo["summary"]


def test_who_captures_says_so(house) -> None:
    house.start(ONE)
    house.connect(house.port())
    house.views.capture_of = lambda what: {"file": "x"}
    assert house.status()["listeners"][0]["capture"] == {"file": "x"}
    assert house.sessions()["sessions"][0]["capture"] == {"file": "x"}


# -- sessions --------------------------------------------------------------------------------


def test_a_session_is_described(house) -> None:
    house.start(ONE)
    client = house.connect(house.port())
    house.talk(client, b"hello")
    house.pass_time(3)
    (session,) = house.sessions()["sessions"]
    host, port = client.getsockname()
    assert session["client"] == {"address": host, "port": port}
    assert session["local"] == f"127.0.0.1:{house.port()}"
    assert (session["listener"], session["handler"], session["role"]) == ("a", "echo", "listener")
    assert session["bytes"] == {"in": 5, "out": 5}
    assert session["age"] >= session["idle"] >= 3
    assert (session["queued"], session["tls"], session["reading"]) == (0, False, True)
    detail = house.views.session(session["id"])
    assert detail["id"] == session["id"]
    assert (detail["tls"], detail["proxy"]) == (None, None)
    json.dumps(detail)


def test_when_a_session_began_is_the_same_at_each_look(house, monkeypatch) -> None:
    house.start(ONE)
    house.connect(house.port())
    began, late = house.reactor.seconds(), iter((0.0, 0.003, 0.001, 3600.0, 3600.002))

    def wall_time():
        return 1e9 + house.reactor.seconds() - began + next(late)

    monkeypatch.setattr("tcpd.admin.views.time", SimpleNamespace(time=wall_time))
    opened = []
    for _ in range(5):
        opened.append(house.sessions()["sessions"][0]["opened"])
        house.pass_time(1)
    assert opened[:3] == [opened[0]] * 3
    assert opened[0] == pytest.approx(1e9, abs=0.001)
    assert opened[3:] == [opened[3]] * 2  # somebody has set the clock
    assert opened[3] == pytest.approx(1e9 + 3600, abs=0.001)


def test_only_those_who_are_shown_are_asked_for_their_round_trip(house, monkeypatch) -> None:
    house.start(ONE)
    for _ in range(4):
        house.connect(house.port())
    house.pass_time(0.5)
    asked = []
    monkeypatch.setattr(views, "_round_trip", lambda transport: asked.append(transport) or 0.25)
    shown = house.sessions(limit=2)
    assert (shown["total"], len(asked)) == (4, 2)
    assert [each["rtt"] for each in shown["sessions"]] == [0.25, 0.25]


def test_the_round_trip_is_the_kernels_and_a_unix_socket_has_none(house) -> None:
    path = house.path.parent / "a.sock"
    house.start(f'[listeners.a]\nlisten = ["tcp:0:interface=127.0.0.1", "unix:{path}"]\n')
    house.connect(house.port())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        house.pass_time(0.5)
        first, second = (each["rtt"] for each in house.sessions(sort="client")["sessions"])
    assert 0 < first < 1
    assert second is None


@pytest.mark.parametrize("wrong", ["", "1", "-1", "x-1", "x-²", "x-" + "9" * 50])
def test_there_is_no_session_of_a_wrong_id(house, wrong) -> None:
    house.start(ONE)
    house.connect(house.port())
    assert house.views.session(wrong) is None


def test_an_id_of_another_run_is_wrong(house) -> None:
    house.start(ONE)
    house.connect(house.port())
    (session,) = sessions_of(house.daemon)
    assert find_session(house.daemon, session.id) is session
    assert find_session(house.daemon, f"00000000-{session.number}") is None


def test_sessions_are_filtered(house) -> None:
    house.start(TWO)
    first = house.connect(house.port("a"))
    house.connect(house.port("b"))
    assert house.sessions()["total"] == 2
    assert [each["listener"] for each in house.sessions(listener="b")["sessions"]] == ["b"]
    assert [each["listener"] for each in house.sessions(text="ECHO")["sessions"]] == ["a"]
    port = str(first.getsockname()[1])
    assert [each["listener"] for each in house.sessions(text=f":{port}")["sessions"]] == ["a"]
    assert house.sessions(text="nobody")["total"] == 0
    assert house.sessions(listener="nobody") == {"total": 0, "sessions": []}


@pytest.mark.parametrize("sort", SORTS)
def test_sessions_are_sorted_either_way(house, sort) -> None:
    house.start(ONE)
    for size in (3, 1, 2):
        house.talk(house.connect(house.port()), b"x" * size)
        house.pass_time(1)
    up = [each["id"] for each in house.sessions(sort=sort)["sessions"]]
    down = [each["id"] for each in house.sessions(sort=f"-{sort}")["sessions"]]
    assert up == down[::-1]
    assert len(set(up)) == 3


def test_sessions_are_sorted_by_what_they_moved(house) -> None:
    house.start(ONE)
    for size in (3, 1, 2):
        house.talk(house.connect(house.port()), b"x" * size)
    page = house.sessions(sort="-in")["sessions"]
    assert [each["bytes"]["in"] for each in page] == [3, 2, 1]


def test_a_sort_that_there_isnt_is_refused_with_those_that_are(house) -> None:
    house.start(ONE)
    with pytest.raises(SortError, match=r"sorted by 'size'; known are id, age"):
        house.sessions(sort="size")


@pytest.mark.parametrize(
    ("wish", "count"),
    [
        ({"limit": 2}, 2),
        ({"offset": 2}, 1),
        ({"offset": 9}, 0),
        ({"limit": 0}, 0),
        ({"limit": -1}, 0),
    ],
)
def test_sessions_come_in_pages(house, wish, count) -> None:
    house.start(ONE)
    for _ in range(3):
        house.connect(house.port())
    page = house.sessions(**wish)
    assert (page["total"], len(page["sessions"])) == (3, count)


def test_what_ends_while_a_page_is_made_is_left_out(house, monkeypatch) -> None:
    take_turns_at_everything(monkeypatch)
    monkeypatch.setattr(views, "_LOT", 1)
    house.start(ONE)
    clients = [house.connect(house.port()) for _ in range(3)]
    results = []

    Deferred.fromCoroutine(house.views.sessions()).addCallback(results.append)
    clients[2].close()
    while not results:
        house.reactor.turn(2)
        house.reactor.advance(A_TURN)
    assert len(results[0]["sessions"]) == 2


# -- rates -----------------------------------------------------------------------------------


def test_rates_are_known_a_second_after_the_first_look(house) -> None:
    house.start(ONE)
    client = house.connect(house.port())
    house.status()
    house.talk(client, b"x" * 500)
    house.pass_time(rates.EVERY)
    (listener,) = house.status()["listeners"]
    assert listener["rate"] == {"in": pytest.approx(500), "out": pytest.approx(500)}
    (session,) = house.sessions()["sessions"]
    assert session["rate"]["in"] == pytest.approx(500)
    house.pass_time(rates.EVERY)
    assert house.sessions()["sessions"][0]["rate"] == {"in": 0, "out": 0}
    assert house.views.history()["rates"]["a"]["in"] == [pytest.approx(500), 0]


def test_who_comes_while_somebody_looks_has_a_rate_from_the_next_sample_on(house) -> None:
    house.start(ONE)
    house.status()
    house.pass_time(rates.EVERY)
    client = house.connect(house.port())
    house.talk(client, b"x" * 300)
    assert house.sessions()["sessions"][0]["rate"] == {"in": None, "out": None}
    house.pass_time(rates.EVERY)
    assert house.sessions()["sessions"][0]["rate"]["in"] == pytest.approx(300)


def test_who_was_silent_for_long_has_the_rate_of_what_it_moves_now(house) -> None:
    house.start(ONE)
    client = house.connect(house.port())
    house.talk(client, b"x" * 500)
    for _ in range(8):
        house.status()
        house.pass_time(rates.EVERY)
    (session,) = house.sessions()["sessions"]
    assert session["rate"] == {"in": 0, "out": 0}
    house.talk(client, b"x" * 100)
    house.pass_time(rates.EVERY)
    assert house.sessions()["sessions"][0]["rate"]["in"] == pytest.approx(100)


def test_rates_forget_those_who_have_ended(house, monkeypatch) -> None:
    monkeypatch.setattr(rates, "SPARE", 5)
    house.start(ONE)
    staying = house.connect(house.port())
    for _ in range(20):
        client = house.connect(house.port())
        house.status()
        house.pass_time(rates.EVERY)
        client.close()
        house.reactor.turn(3)
    house.talk(staying, b"x" * 100)
    house.pass_time(rates.EVERY)
    (session,) = house.sessions()["sessions"]
    assert session["rate"]["in"] == pytest.approx(100)
    assert len(house.views._rates._received) <= 2 * 2 + 5 + 1


def test_nobody_samples_when_nobody_looks(house) -> None:
    house.start(ONE)
    house.connect(house.port())
    calls = len(house.reactor.getDelayedCalls())
    house.status()
    assert len(house.reactor.getDelayedCalls()) == calls + 1
    house.pass_time(rates.LINGERS + 2 * rates.EVERY)
    assert len(house.reactor.getDelayedCalls()) == calls
    assert house.views.history()["rates"]["a"]["in"] == []


def test_the_end_of_the_views_leaves_nothing_behind(house, monkeypatch) -> None:
    take_turns_at_everything(monkeypatch)
    house.start(ONE)
    calls = len(house.reactor.getDelayedCalls())
    house.status()
    house.views.stop()
    assert len(house.reactor.getDelayedCalls()) == calls


# -- controls --------------------------------------------------------------------------------


def test_a_suspended_listener_lets_nobody_in_until_it_is_resumed(house) -> None:
    house.start(ONE)
    before = house.connect(house.port())
    house.controls.suspend("a")
    house.controls.suspend("a")
    assert house.status()["listeners"][0]["state"] == "suspended"
    waiting = house.connect(house.port())
    assert house.talk(waiting) is None
    assert house.talk(before) == b"x"
    house.controls.resume("a")
    house.reactor.turn(3)
    assert house.hear(waiting) == b"x"
    assert house.status()["listeners"][0]["state"] == "up"


def test_a_listener_whose_socket_has_broken_is_down(house) -> None:
    house.start(ONE)
    (port,) = house.ports("a")
    with capturedLogs():
        port.connectionLost(Failure(OSError("broken")))
    assert house.status()["listeners"][0]["state"] == "down"
    body, _ = done(house.reactor, exposition(house.daemon))
    assert b'tcpd_listener_up{listener="a"} 0.0' in body


def test_a_listener_stays_suspended_over_a_reload(house) -> None:
    house.start(ONE)
    house.controls.suspend("a")
    house.reload(TWO)
    house.reload(ONE.replace("echo", "discard"))
    assert house.talk(house.connect(house.port())) is None
    assert sessions_of(house.daemon) == []
    assert house.status()["listeners"][0]["state"] == "suspended"


def test_a_drain_ends_a_listeners_sessions_and_no_others(house) -> None:
    house.start(TWO)
    mine, other = house.connect(house.port("a")), house.connect(house.port("b"))
    house.reactor.turn(3)
    with capturedLogs():
        assert house.controls.drain("a") == 1
        assert house.controls.drain("a") in (0, 1)
        assert house.status()["listeners"][0]["state"] == "draining"
        with pytest.raises(NotNowError, match="draining"):
            house.controls.resume("a")
        house.pass_time(3)
    assert house.hear(mine) == b""
    assert house.talk(other) is None  # discard: still there, and silent
    a, b = house.status()["listeners"]
    assert (a["state"], a["closed"]) == ("suspended", {"shutdown": 1})
    assert b["sessions"]["open"] == 1
    house.controls.resume("a")
    assert house.talk(house.connect(house.port())) == b"x"


@pytest.mark.parametrize(
    ("reset", "reason"), [(False, "operator-closed"), (True, "operator-reset")]
)
def test_a_session_is_closed_and_the_record_says_by_whom(house, reset, reason) -> None:
    house.start(ONE)
    client = house.connect(house.port())
    (session,) = sessions_of(house.daemon)
    house.controls.close(session.id, reset=reset)
    house.reactor.turn(3)
    if reset:
        with pytest.raises(ConnectionResetError):
            house.hear(client)
    else:
        assert house.hear(client) == b""
        client.close()
    house.pass_time(3)
    assert house.status()["listeners"][0]["closed"] == {reason: 1}
    with pytest.raises(UnknownError, match="may have ended"):
        house.controls.close(session.id)


def test_a_listener_that_there_isnt_is_told_with_the_one_that_was_meant(house) -> None:
    house.start(ONE.replace("listeners.a", "listeners.greeter"))
    for act in (house.controls.suspend, house.controls.resume, house.controls.drain):
        with pytest.raises(UnknownError, match=r"no listener 'greter'; did you mean 'greeter'\?"):
            act("greter")


def test_a_reload_says_what_has_become_of_it(house) -> None:
    house.start(ONE)
    house.read(TWO)
    assert house.controls.reload().words == ("listener b is new",)
    house.path.write_text("x = 1")
    assert not house.controls.reload().ok
    house.daemon.running = 0
    with pytest.raises(NotNowError):
        house.controls.reload()
    house.daemon.running = 1


def test_a_log_that_isnt_ours_keeps_its_level(house) -> None:
    house.start(ONE)
    assert house.controls.log_level == "info"
    with pytest.raises(NotNowError, match="a log of its own"):
        house.controls.set_log_level("debug", "root")
    with pytest.raises(UnknownError, match="there are debug, info"):
        house.controls.set_log_level("loud", "root")


def test_the_level_of_our_log_changes_and_a_reload_brings_the_files_back(house, tmp_path) -> None:

    house.start(ONE)
    switch = LogSwitch({}, file=tmp_path / "log")
    house.daemon.log_switch = switch
    house.daemon.config = house.read(f'{ONE}[log]\nfile = "{tmp_path}/log"\n')
    house.controls.set_log_level("error", "root")
    assert house.controls.log_level == "error"
    house.talk(house.connect(house.port()))
    house.clients.pop().close()
    house.reactor.turn(3)
    assert (tmp_path / "log").read_text() == ""
    house.reload()
    assert house.controls.log_level == "info"


# -- turns -----------------------------------------------------------------------------------


def test_the_state_of_the_daemon(tmp_path, monkeypatch) -> None:
    house = House(tmp_path, monkeypatch)
    daemon = house.daemon = house.make(ONE)
    daemon.startService()
    assert daemon.state == "starting"
    house.reactor.turn()
    assert daemon.state == "running"
    client = house.connect(house.ports("a")[0].getHost().port)
    stopped = daemon.stopService()
    assert daemon.state == "draining"
    client.close()
    for _ in range(20):
        house.reactor.advance(0.5)
        house.reactor.turn(2)
    assert stopped.called
    assert daemon.state == "stopping"


def test_others_have_their_turn_when_time_is_up(house, monkeypatch) -> None:
    house.start(ONE)
    monkeypatch.setattr(turns, "LONGEST", -1)
    seen = []
    house.reactor.callLater(0, seen.append, "other")

    async def work():
        async for lot in turns.Turns(house.reactor).lots(list(range(5)), 2):
            seen.append(list(lot))

    done(house.reactor, work())
    assert seen == [[0, 1], "other", [2, 3], [4]]
