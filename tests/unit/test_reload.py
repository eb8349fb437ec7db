"""A reload from the signal to the last word about it; connectors and the log under it."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from helpers.reload_house import House
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs

from tcpd.daemon import Daemon
from tcpd.events import ConfigurationRefused, ConfigurationReloaded, ConnectorChanged, SessionClosed
from tcpd.reload import difference
from tcpd.sd_notify import ServiceManager
from tcpd.sinks.log_switch import LogSwitch

ECHO = '[listeners.a]\nlisten = "tcp:0:interface=127.0.0.1"\n'


@pytest.fixture
def house(tmp_path: Path, monkeypatch):
    house = House(tmp_path, monkeypatch)
    yield house
    house.close()


def hang_up(house) -> None:
    house.signals[signal.SIGHUP](signal.SIGHUP, None)


def reloads(house) -> int:
    kinds = (ConfigurationRefused, ConfigurationReloaded)
    return sum(isinstance(each, kinds) for each in house.events)


# -- when ------------------------------------------------------------------------------------


def test_the_signal_has_it_done_in_a_turn_of_its_own(house) -> None:
    house.start(ECHO)
    hang_up(house)
    assert reloads(house) == 0
    house.reactor.turn()
    assert reloads(house) == 1


def test_signals_that_come_before_it_has_begun_are_one(house) -> None:
    house.start(ECHO)
    hang_up(house)
    hang_up(house)
    house.reactor.turn()
    assert reloads(house) == 1
    hang_up(house)
    house.reactor.turn()
    assert reloads(house) == 2


def test_a_signal_that_comes_while_it_is_done_has_it_done_once_more(house, monkeypatch) -> None:
    house.start(ECHO)
    read, path = house.daemon._reloader._read, house.path

    def read_and_be_told():
        config = read()
        if "idle" not in path.read_text():
            path.write_text(ECHO + 'deadlines = { idle = "1m" }\n')
            hang_up(house)
        return config

    monkeypatch.setattr(house.daemon._reloader, "_read", read_and_be_told)
    hang_up(house)
    house.reactor.turn(2)
    first, second = [each for each in house.events if isinstance(each, ConfigurationReloaded)]
    assert (first.changes, second.changes) == ((), ("listener a: deadlines.idle changed",))


def test_a_signal_before_the_daemon_is_ready_waits_until_it_is(house) -> None:
    house.daemon = house.make(ECHO)
    house.daemon.privilegedStartService()
    hang_up(house)
    house.daemon.startService()
    assert house.messages == []
    house.reactor.advance(0)  # what waits for the reactor to run comes before all else
    house.reactor.turn()
    assert [sorted(each) for each in house.messages] == [
        ["READY", "STATUS"],
        ["MONOTONIC_USEC", "RELOADING"],
        ["READY", "STATUS"],
    ]


def test_a_daemon_that_stops_reloads_no_more(house) -> None:
    house.start(ECHO)
    hang_up(house)
    house.daemon.stopService()
    with capturedLogs() as logs:
        house.reactor.turn()
    assert reloads(house) == 0
    said = [each["log_format"] for each in logs]
    assert "the configuration is not read again, since tcpd is stopping" in said
    assert "RELOADING" not in [key for each in house.messages for key in each]


def test_what_cannot_be_read_again_is_no_reload(house) -> None:
    house.start(ECHO)
    daemon = Daemon(house.read(), house.reactor, ServiceManager({}), heed_signals=True)
    house.signals.clear()
    daemon.privilegedStartService()
    daemon.stopService()
    assert signal.SIGTERM in house.signals
    assert signal.SIGHUP not in house.signals
    assert daemon.reload() is False


# -- what is told ----------------------------------------------------------------------------


def test_the_service_manager_hears_of_it_with_the_time(house) -> None:
    house.start(ECHO)
    before = time.monotonic_ns() // 1000
    house.reload(ECHO + '[listeners.b]\nlisten = "tcp:0:interface=127.0.0.1"\n')
    _, reloading, ready = house.messages
    assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert ready["READY"] == "1"
    assert ready["STATUS"].endswith(": 2 listeners")


def test_a_refused_one_is_told_too_and_every_error_once(house) -> None:
    house.start(ECHO)
    with capturedLogs() as logs:
        event = house.reload('[listeners.a]\nlisten = "tcp:99999"\nlissten = 1\n')
    first, second = event.errors
    assert first.startswith(f"{house.path}:2: listeners.a.listen: 'tcp:99999' isn't a valid")
    assert second.startswith(f"{house.path}:3: listeners.a.lissten: unknown key")
    errors = [each for each in logs if each["log_level"] is LogLevel.error]
    assert [each.get("problem") for each in errors] == [first, second, None]
    assert house.messages[-1]["READY"] == "1"
    status = house.messages[-1]["STATUS"]
    assert status.endswith(f": 1 listener; the last reload was refused: {first} (and 1 more)")
    house.reload(ECHO)
    assert "refused" not in house.messages[-1]["STATUS"]
    assert event.fields()["errors"] == [first, second]


def test_a_file_that_is_gone_or_is_no_toml_changes_nothing(house) -> None:
    house.start(ECHO)
    (port,) = house.ports("a")
    assert isinstance(house.reload("[listeners.a\n"), ConfigurationRefused)
    house.path.unlink()
    assert isinstance(house.reload(), ConfigurationRefused)
    assert house.ports("a") == [port]


def test_sinks_come_change_and_go(house) -> None:
    house.start(ECHO)
    sinks = house.daemon.sinks
    one, other = ('[sinks.x]\nkind = "memory"\n', '[sinks.y]\nkind = "memory"\n')
    assert house.reload(ECHO + one).changes == ("sink x is new",)
    assert house.reload(ECHO + one + "queue = 7\n" + other).changes == (
        "sink x: queue changed",
        "sink y is new",
    )
    assert house.daemon.bus.wants(SessionClosed)
    assert house.reload(ECHO).changes == ("sink x is gone", "sink y is gone")
    assert not house.daemon.bus.wants(SessionClosed)
    sinks.finish()
    assert sinks.status() == []


def test_a_reload_that_is_refused_touches_no_sink(house) -> None:
    house.start(ECHO)
    broken = ECHO + 'lissten = 1\n[sinks.x]\nkind = "memory"\n'
    assert isinstance(house.reload(broken), ConfigurationRefused)
    assert house.daemon.sinks.status() == []


def test_a_mistake_of_ours_does_not_leave_the_service_manager_waiting(house, monkeypatch) -> None:
    house.start(ECHO)
    (port,) = house.ports("a")
    monkeypatch.setattr(house.daemon, "make_listener", lambda *_: 1 / 0)
    with capturedLogs() as logs:
        assert house.daemon.reload() is False
    assert [each["log_failure"].type for each in logs if "log_failure" in each] == [
        ZeroDivisionError
    ]
    assert house.messages[-1]["READY"] == "1"
    assert "the last reload failed" in house.messages[-1]["STATUS"]
    assert house.ports("a") == [port]


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "GeneratorExit", "SystemExit"])
def test_whatever_a_handlers_file_raises_the_reload_is_refused(house, tmp_path, kind) -> None:
    file = tmp_path / "mine.py"
    mine = ECHO + f'handler = "{file}:Mine"\n'
    good = "from twisted.internet.protocol import Factory\n\n\nclass Mine(Factory):\n    pass\n"
    house.start(ECHO)
    file.write_text(f"raise {kind}\n")
    event = house.reload(mine)
    assert f"failed to import: {kind}" in event.errors[0]
    assert house.messages[-1]["READY"] == "1"
    file.write_text(good + f"    def __init__(self):\n        raise {kind}\n")
    assert f"can't be made: {kind}" in house.reload(mine).errors[0]
    file.write_text(good + f"    def doStart(self):\n        raise {kind}\n")
    event = house.reload(mine)
    assert f"failed to start: {kind}" in event.errors[0]
    assert house.messages[-1]["READY"] == "1"
    read = "    @property\n    def what_was_read(self):\n        raise"
    file.write_text(f"{good}{read} {kind}\n")
    assert isinstance(house.reload(mine), ConfigurationReloaded)
    assert isinstance(house.reload(), ConfigurationReloaded)
    assert house.messages[-1]["READY"] == "1"


def test_lists_that_let_nobody_in_are_warned_of_when_they_come(house) -> None:
    house.start(ECHO)
    access = 'access = { allow = ["10.1.0.0/16"], deny = ["10.0.0.0/8"] }\n'
    for expected in (1, 0):
        with capturedLogs() as logs:
            house.reload(ECHO + access)
        assert sum("lets nobody in" in each.get("note", "") for each in logs) == expected


def test_what_takes_a_restart_is_said(house, monkeypatch) -> None:
    monkeypatch.setattr(difference, "APPLIED", ("listeners",))
    house.start(ECHO)
    with capturedLogs() as logs:
        house.reload(ECHO + '[sinks.x]\nkind = "memory"\n')
    assert [each.get("name") for each in logs if each["log_level"] is LogLevel.warn] == ["sinks"]


def test_a_log_that_is_not_ours_cannot_be_changed_and_that_is_said(house) -> None:
    house.start(ECHO)
    with capturedLogs() as logs:
        house.reload(ECHO + '[log]\nlevel = "warn"\n')
    (warning,) = [each for each in logs if each["log_level"] is LogLevel.warn]
    assert "log of its own" in warning["log_format"]
    assert warning["keys"] == "level"


def test_the_events_have_fields() -> None:
    reloaded = ConfigurationReloaded(changes=("a is new",), duration=0.0123456789)
    assert reloaded.fields() == {"changes": ["a is new"], "duration": 0.012346}
    refused = ConfigurationRefused(errors=("no",), duration=1.0)
    assert refused.fields() == {"errors": ["no"], "duration": 1.0}


# -- connectors ------------------------------------------------------------------------------


@pytest.fixture
def linked(house, tmp_path):
    """A house with a listener on a UNIX socket, and a function that connects to it."""
    listener = f'[listeners.a]\nlisten = "unix:{tmp_path}/s.sock"\nhandler = "discard"\n'

    def text(more="", name="up", handler="discard", path=f"{tmp_path}/s.sock"):
        connector = f'connect = "unix:{path}"\nhandler = "{handler}"\n{more}'
        return f"{listener}[connectors.{name}]\n{connector}"

    house.text = text
    house.start(text())
    house.reactor.turn(5)
    house.states = []
    house.daemon.bus.subscribe(
        ConnectorChanged, lambda each: house.states.append((each.connector, each.state))
    )
    house.ends = []
    house.daemon.bus.subscribe(SessionClosed, lambda each: house.ends.append(each.reason))
    assert house.daemon.connectors["up"].state == "connected"
    return house


def settle(house) -> None:
    for _ in range(5):
        house.reactor.turn()
        house.reactor.advance(0)


def test_a_connector_comes_and_goes(linked) -> None:
    event = linked.reload(linked.text(name="down"))
    assert event.changes == ("connector up is gone", "connector down is new")
    settle(linked)
    assert linked.daemon.connectors.keys() == {"down"}
    assert linked.daemon.connectors["down"].state == "connected"
    assert ("up", "stopped") in linked.states
    assert linked.daemon.roster._departing == []


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("reconnect = { initial = 7 }\n", "reconnect.initial"),
        ("deadlines = { idle = '1m' }\n", "deadlines.idle"),
        ("capture = { path = '/' }\n", "capture"),
    ],
)
def test_pauses_and_deadlines_leave_the_connection_alone(linked, more, key) -> None:
    before = linked.daemon.connectors["up"]
    event = linked.reload(linked.text(more))
    assert event.changes == (f"connector up: {key} changed",)
    settle(linked)
    assert linked.daemon.connectors["up"] is before
    assert (linked.states, linked.ends) == ([], [])


def test_another_handler_is_another_connection_after_the_first(linked) -> None:
    before = linked.daemon.connectors["up"]
    event = linked.reload(linked.text(handler="echo"))
    assert event.changes == ("connector up: handler changed; it connects anew",)
    assert linked.daemon.connectors["up"] is not before
    assert linked.daemon.connectors["up"].state == "idle"  # until the other has stopped
    settle(linked)
    assert linked.states == [("up", "stopped"), ("up", "connecting"), ("up", "connected")]
    assert linked.daemon.roster._departing == []


def test_one_that_waits_for_its_forerunner_may_be_removed_again(linked) -> None:
    linked.reload(linked.text(handler="echo"))
    waiting = linked.daemon.connectors["up"]
    assert waiting.parent is None
    linked.reload(ECHO)
    settle(linked)
    assert waiting.state == "idle"
    assert linked.daemon.connectors == {}
    assert linked.daemon.roster._departing == []


@pytest.mark.parametrize("between", [True, False])
def test_of_two_replacements_in_a_row_one_connects_and_only_after_the_first(
    linked, between
) -> None:
    before = linked.daemon.connectors["up"]
    closing = Deferred()
    stop = before.stopService
    before.stopService = lambda: stop().addCallback(lambda _: closing)
    linked.reload(linked.text(handler="echo"))
    skipped = linked.daemon.connectors["up"]
    settle(linked)
    linked.reload(linked.text(handler="chargen") if between else ECHO)
    settle(linked)
    linked.reload(linked.text(handler="daytime"))
    last = linked.daemon.connectors["up"]
    settle(linked)
    assert (skipped.state, last.state) == ("idle", "idle")
    closing.callback(None)
    settle(linked)
    assert skipped.state == "idle"
    assert linked.daemon.connectors == {"up": last}
    assert [each for each in linked.states if each[1] == "connecting"] == [("up", "connecting")]
    assert not linked.daemon.roster._closing


def test_a_connection_that_never_ends_is_cut_once_its_connector_is_gone(house, tmp_path) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(path)
        there.listen()
        house.start(ECHO + f'[connectors.up]\nconnect = "unix:{path}"\nhandler = "chargen"\n')
        house.reactor.turn(5)
        peer, _ = there.accept()  # it reads nothing, so that what is queued never goes out
        with peer:
            up = house.daemon.connectors["up"]
            house.reload(ECHO)
            settle(house)
            house.reactor.advance(4.9)
            settle(house)
            assert list(house.daemon.roster._closing) == ["up"]
            assert up.serving.origin.sessions
            house.reactor.advance(0.2)
            settle(house)
            assert not up.serving.origin.sessions
            assert (house.daemon.roster._closing, house.daemon.roster._departing) == ({}, [])


def test_one_that_has_given_up_tries_again_when_its_pauses_change(linked, tmp_path) -> None:
    once = "reconnect = { tries = 1 }\n"
    linked.reload(linked.text(once, path=f"{tmp_path}/none.sock"))
    settle(linked)
    assert linked.states[-1] == ("up", "gave-up")
    linked.reload(linked.text(once.replace("1", "2"), path=f"{tmp_path}/none.sock"))
    settle(linked)
    assert linked.states[-2:] == [("up", "connecting"), ("up", "retrying")]


# -- the log ---------------------------------------------------------------------------------


def start_with_log(house, text: str) -> LogSwitch:
    config = house.read(text)
    says = config.log
    log = LogSwitch({}, form=says.format, file=says.file, level=says.level)
    house.daemon = Daemon(
        config, house.reactor, house.manager, log, read_again=house.read, heed_signals=True
    )
    house.daemon.startService()
    house.reactor.turn()
    return log


def event(level: LogLevel, text: str) -> dict:
    return {"log_level": level, "log_format": text, "log_namespace": "x", "log_time": 0.0}


def test_file_form_and_level_of_the_log_change(house, tmp_path) -> None:
    log = start_with_log(house, ECHO + '[log]\nfile = "one.log"\n')
    log(event(LogLevel.info, "first"))
    house.path.write_text(ECHO + '[log]\nfile = "two.log"\nformat = "json"\nlevel = "warn"\n')
    assert house.daemon.reload()
    log(event(LogLevel.info, "not important"))
    log(event(LogLevel.warn, "second"))
    assert "first" in (tmp_path / "one.log").read_text()
    (line,) = (tmp_path / "two.log").read_text().splitlines()
    assert json.loads(line)["message"] == "second"


def test_a_log_file_that_cannot_be_opened_refuses_the_reload(house, tmp_path) -> None:
    log = start_with_log(house, ECHO + '[log]\nfile = "one.log"\n')
    house.path.write_text(ECHO.replace("listeners.a", "listeners.b") + '[log]\nfile = "two.log"\n')
    os.mkfifo(tmp_path / "two.log")
    assert not house.daemon.reload()
    assert "a" in house.daemon.listeners
    log(event(LogLevel.info, "still here"))
    assert "still here" in (tmp_path / "one.log").read_text()


def test_a_new_log_that_is_not_used_after_all_is_closed(house, tmp_path) -> None:
    start_with_log(house, ECHO + '[log]\nfile = "one.log"\n')
    before = len(os.listdir("/proc/self/fd"))
    text = ECHO + '[log]\nfile = "two.log"\n[listeners.b]\nlisten = "unix:/no/such/dir/x"\n'
    house.path.write_text(text)
    assert not house.daemon.reload()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_signal_opens_the_log_file_anew_even_if_the_reload_is_refused(house, tmp_path) -> None:
    start_with_log(house, ECHO + '[log]\nfile = "one.log"\n')
    (tmp_path / "one.log").rename(tmp_path / "one.log.1")
    house.path.write_text("nonsense")
    hang_up(house)
    house.reactor.turn()
    assert (tmp_path / "one.log").exists()


def test_the_access_log_is_switched_on_and_off(house) -> None:
    house.start(ECHO)
    assert len(house.daemon.bus.at_ends) == 1
    house.reload(ECHO + "[log]\naccess = false\n")
    assert house.daemon.bus.at_ends == []
    house.reload(ECHO + '[log]\nlevel = "error"\n')
    assert house.daemon.bus.at_ends == []
    house.reload(ECHO)
    assert len(house.daemon.bus.at_ends) == 1
