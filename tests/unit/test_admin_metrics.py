"""What a scrape gives: of a real daemon, whose reactor is turned by hand."""

import re
import time
from dataclasses import replace

import pytest
from helpers.hand import A_TURN, done, take_turns_at_everything
from helpers.reload_house import House
from helpers.sinks import WELL
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred

from tcpd.admin import process
from tcpd.admin.metric_samples import DEADLINES
from tcpd.admin.metric_table import METRICS
from tcpd.admin.metrics import CONTENT_TYPE, exposition

ONE = '[listeners.a]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "echo"\n'
OTHER = ONE.replace("echo", "discard")


@pytest.fixture
def house(tmp_path, monkeypatch):
    house = House(tmp_path, monkeypatch)
    yield house
    for client in house.clients:
        client.close()
    house.daemon.stopService()
    house.reactor.turn(5)


def scrape(house):
    """Return the value of each sample by its name and labels."""
    body, content_type = done(house.reactor, exposition(house.daemon))
    assert content_type == CONTENT_TYPE
    return {
        (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        for value in [sample.value]
    }


def port_of(house, name="a"):
    return house.ports(name)[0].getHost().port


def end(house, client):
    client.close()
    house.reactor.turn(5)


def test_open_sessions_count_with_the_bytes_that_they_have_moved(house) -> None:
    house.start(ONE)
    client = house.connect(port_of(house))
    assert house.talk(client, b"hello") == b"hello"
    numbers = scrape(house)
    of_a = ("handler=echo", "listener=a")
    assert numbers["tcpd_sessions_open", *of_a] == 1
    assert numbers["tcpd_sessions_total", *of_a] == 1
    assert numbers["tcpd_received_bytes_total", *of_a] == 5
    assert numbers["tcpd_sent_bytes_total", *of_a] == 5
    assert numbers["tcpd_session_received_bytes_count", *of_a] == 0
    end(house, client)
    numbers = scrape(house)
    assert numbers["tcpd_sessions_open", *of_a] == 0
    assert numbers["tcpd_sessions_total", *of_a] == 1
    assert numbers["tcpd_received_bytes_total", *of_a] == 5
    assert numbers["tcpd_sessions_closed_total", *of_a, "reason=peer-closed"] == 1
    assert numbers["tcpd_session_received_bytes_bucket", *of_a[:1], "le=64.0", *of_a[1:]] == 1
    assert numbers["tcpd_session_received_bytes_sum", *of_a] == 5


def counters(numbers):
    return {
        key: value
        for key, value in numbers.items()
        if key[0].endswith(("_total", "_count", "_bucket", "_sum"))
    }


def test_nothing_goes_backwards_whatever_reloads_do(house) -> None:
    house.start(ONE)
    keep = house.connect(port_of(house))
    house.talk(keep, b"12345")
    end(house, house.connect(port_of(house)))
    before = counters(scrape(house))
    for text in (
        OTHER,  # another handler
        OTHER + '[listeners.b]\nlisten = "tcp:0:interface=127.0.0.1"\n',
        '[listeners.b]\nlisten = "tcp:0:interface=127.0.0.1"\n',  # a is gone, and its session stays
        ONE,  # and comes again
        ONE + "nonsense = 1\n",
    ):
        house.reload(text)
        if "[listeners.a]" in text:
            client = house.connect(port_of(house))
            house.talk(client, b"abc")
            end(house, client)
        house.talk(keep, b"x")
        after = counters(scrape(house))
        assert {k: (v, after.get(k)) for k, v in before.items() if after.get(k, 0) < v} == {}
        before = after
    assert before["tcpd_sessions_total", "handler=echo", "listener=a"] == 4
    assert before["tcpd_received_bytes_total", "handler=echo", "listener=a"] == 5 + 5 + 2 * 3


def test_a_handler_of_a_refused_configuration_leaves_no_series(house) -> None:
    house.start(ONE)
    used = house.connect(port_of(house))
    taken = '[listeners.b]\nlisten = "tcp:{}:interface=127.0.0.1"\n'
    free = port_of(house)
    house.reload(OTHER + taken.format("1" if free != 1 else "2").replace("tcp:1", "unix:/no/such"))
    assert not house.daemon.vitals.last_reload.ok
    text = done(house.reactor, exposition(house.daemon))[0].decode()
    assert "discard" not in text
    assert 'listener="b"' not in text
    end(house, used)


def test_refusals_are_there_before_the_first_one(house) -> None:
    house.start(ONE + "limits = { sessions = 1 }\n")
    assert scrape(house)["tcpd_sessions_refused_total", "listener=a", "reason=sessions"] == 0
    house.connect(port_of(house))
    house.connect(port_of(house))
    numbers = scrape(house)
    assert numbers["tcpd_sessions_refused_total", "listener=a", "reason=sessions"] == 1
    assert numbers["tcpd_sessions_limit", "listener=a"] == 1


def test_what_alerts_look_for_is_there_before_it_happens(house) -> None:
    house.start(ONE)
    numbers = scrape(house)
    for reason in ("starved", "failed"):
        assert numbers["tcpd_accept_failures_total", "listener=a", f"reason={reason}"] == 0
    for reason in DEADLINES:
        assert numbers["tcpd_deadlines_fired_total", "listener=a", f"reason={reason}"] == 0


def test_captures_are_counted_by_their_listener(house) -> None:
    house.start(ONE + f'capture = {{ path = "{house.path.parent}" }}\n')
    assert scrape(house)["tcpd_capture_lost_bytes_total", "listener=a"] == 0
    end(house, house.connect(port_of(house)))
    written = ("tcpd_capture_written_bytes_total", "listener=a")
    while not scrape(house)[written]:
        house.reactor.turn()
    assert scrape(house)["tcpd_capture_failing", "listener=a"] == 0


def test_sinks_of_one_name_count_together(house, monkeypatch) -> None:
    house.start(ONE)
    numbers = {"queued": 3, "written": 20, "lost": 100, "failures": 1000}
    other = replace(WELL, name="file", **dict.fromkeys(numbers, 7))
    for state in ("failing", "stuck", "waiting"):
        # A reload has replaced the one that is in trouble; it isn't over yet.
        both = [replace(WELL, state=state, **numbers), replace(WELL, **numbers), other]
        monkeypatch.setattr(house.daemon.sinks, "status", lambda both=both: both)
        found = scrape(house)
        values = {
            (name, sink): found[f"tcpd_sink_{name}", f"sink={sink}"]
            for name in ("records_queued", "records_written_total", "records_lost_total",
                         "failures_total", "failing")
            for sink in ("db", "file")
        }  # fmt: skip
        bad = state != "waiting"
        assert list(values.values()) == [6, 7, 40, 7, 200, 7, 2000, 7, bad, 0]


def test_a_deadline_that_fires_is_counted(house) -> None:
    house.start(ONE + 'deadlines = { idle = "10s" }\n')
    house.connect(port_of(house))
    for _ in range(30):
        house.reactor.advance(0.5)
        house.reactor.turn()
    numbers = scrape(house)
    assert numbers["tcpd_deadlines_fired_total", "listener=a", "reason=idle"] == 1


def test_a_handler_of_any_name_is_escaped(house) -> None:
    name = 'a"b.py'
    code = "from twisted.internet.protocol import Protocol\nclass Quiet(Protocol):\n    pass\n"
    (house.path.parent / name).write_text(code)
    house.start(ONE.replace('"echo"', f"'{house.path.parent}/{name}:Quiet'"))
    handlers = {key[1] for key in scrape(house) if key[0] == "tcpd_sessions_open"}
    assert handlers == {f"handler={house.path.parent}/{name}:Quiet"}


def test_every_metric_of_the_table_is_given_with_its_labels_and_no_other(house) -> None:
    house.start(ONE)
    text = done(house.reactor, exposition(house.daemon))[0].decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert types == {spec.name: spec.kind for spec in METRICS}
    allowed = {"listener", "handler", "reason", "sink", "version", "le"}
    assert set(re.findall(r'[{,](\w+)="', text)) <= allowed


def test_sessions_that_end_amid_a_scrape_are_counted_once(house, monkeypatch) -> None:
    take_turns_at_everything(monkeypatch)
    monkeypatch.setattr("tcpd.admin.turns.Turns.lots", lots_of_one)
    house.start(ONE)
    clients = [house.connect(port_of(house)) for _ in range(5)]
    for client in clients:
        house.talk(client, b"1234567890")
    results, ended = [], []

    scraping = Deferred.fromCoroutine(exposition(house.daemon))
    scraping.addCallback(results.append)
    while not results:
        if clients:
            clients.pop().close()
        house.reactor.turn(3)
        ended.append(house.daemon.tallies.of("a").of("echo").total)
        house.reactor.advance(A_TURN)
    assert len(set(ended)) > 3  # some ended before they were looked at, and some after
    body = results[0][0].decode()
    assert 'tcpd_received_bytes_total{handler="echo",listener="a"} 50.0' in body
    assert 'tcpd_sessions_total{handler="echo",listener="a"} 5.0' in body
    assert scrape(house)["tcpd_received_bytes_total", "handler=echo", "listener=a"] == 50


async def lots_of_one(self, things, size=1):
    for each in things:
        await self.others()
        yield [each]


def test_the_process_has_figures(house) -> None:
    house.start(ONE)
    numbers = scrape(house)
    assert numbers["process_open_fds",] > 3
    assert numbers["process_resident_memory_bytes",] > 1e6
    assert 0 < numbers["process_start_time_seconds",] <= time.time() + 1
    assert numbers["process_cpu_seconds_total",] > 0
    assert numbers["process_max_fds",] >= numbers["process_open_fds",]


def test_the_process_is_looked_at_once_a_scrape(house, monkeypatch) -> None:
    house.start(ONE)
    looks = []
    monkeypatch.setattr(process, "_descriptors", lambda: looks.append(1) or 7)
    assert scrape(house)["process_open_fds",] == 7
    assert len(looks) == 1


def test_reloads_are_counted(house) -> None:
    house.start(ONE)
    assert scrape(house)["tcpd_last_reload_ok",] == 1
    house.reload(OTHER)
    house.reload("nonsense")
    numbers = scrape(house)
    assert numbers["tcpd_reloads_total",] == 1
    assert numbers["tcpd_reloads_refused_total",] == 1
    assert numbers["tcpd_last_reload_ok",] == 0
