"""Records in real servers: Redis, PostgreSQL and NATS, which may go away while events come."""

import asyncio
import gc
import json
import threading
import time

import pytest
from helpers import servers
from helpers.sinks import NOON, SOURCE, closed, config, record, records, said, until
from twisted.internet.task import Clock

from tcpd.events import Bus
from tcpd.sinks import hub
from tcpd.sinks.hub import Sinks
from tcpd.sinks.nats_stream import NATSStream, subject_of
from tcpd.sinks.postgresql import PostgreSQL
from tcpd.sinks.record import Record
from tcpd.sinks.redis_stream import RedisStream
from tcpd.sinks.settings import Retry
from tcpd.sinks.sink import TryAgainError


class RedisCase:
    server = servers.Redis
    twice = True
    """Whether a record may be there twice, after a connection was lost."""

    @staticmethod
    def sink(server, **options):
        return RedisStream(url=f"redis://127.0.0.1:{server.port}/0", **options)

    @staticmethod
    def read(server):
        import redis

        with redis.Redis(port=server.port) as client:
            return [json.loads(fields[b"record"]) for _, fields in client.xrange("tcpd:events")]


class PostgreSQLCase:
    server = servers.PostgreSQL
    twice = False

    @staticmethod
    def sink(server, **options):
        return PostgreSQL(connection=server.connection, **options)

    @staticmethod
    def read(server):
        import psycopg

        with psycopg.connect(server.connection) as db:
            rows = db.execute("SELECT record FROM tcpd_events ORDER BY sequence").fetchall()
        return [row[0] for row in rows]


class NATSCase:
    server = servers.NATS
    twice = False

    @staticmethod
    def sink(server, **options):
        return NATSStream(servers=(f"nats://127.0.0.1:{server.port}",), **options)

    @staticmethod
    def read(server):
        import nats

        async def read():
            client = await nats.connect(f"nats://127.0.0.1:{server.port}")
            stream = client.jetstream()
            state = (await stream.stream_info("TCPD")).state
            numbers = range(state.first_seq, state.last_seq + 1)
            messages = await asyncio.gather(*(stream.get_msg("TCPD", n) for n in numbers))
            found = [json.loads(each.data) for each in messages]
            await client.close()
            return found

        return asyncio.run(read())


@pytest.fixture(scope="module", params=[RedisCase, PostgreSQLCase, NATSCase])
def case(request, tmp_path_factory):
    """One kind of server that runs, and what there is to know of its sink."""
    directory = tmp_path_factory.mktemp(request.param.__name__)
    with servers.running(request.param.server, directory) as server:
        yield request.param, server


def test_restarted_amid_traffic_it_has_every_record(case):
    kind, server = case
    bus = Bus()
    retry = Retry(initial=0.05, max=0.2)
    settings = config(kind.sink(server), retry=retry, queue=20_000, batch=50, stop=20.0)
    sinks = Sinks(bus, Clock(), {"server": settings})
    sinks.start()

    def status():
        return sinks.status()[0]

    sent = 0

    def send(count):
        nonlocal sent
        for _ in range(count):
            sent += 1
            bus.emit(closed(sent))
            if sent % 20 == 0:
                time.sleep(0.001)

    send(500)
    until(lambda: status().written)
    for _ in range(2):
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        while stopping.is_alive():
            send(20)
        before = status().failures
        until(lambda: status().failures > before)  # noqa: B023
        send(300)
        server.start()
        send(300)
    sinks.finish()
    assert (status_ := sinks.status()) == [], status_
    found = [int(each["session.id"].split("-")[1]) for each in kind.read(server)]
    assert sorted(set(found)) == list(range(1, sent + 1))
    assert kind.twice or len(found) == sent


def test_a_server_that_hangs_is_left_and_found_again_and_has_every_record(
    case, caplog, monkeypatch
):
    kind, server = case
    monkeypatch.setattr(hub, "RUN", "00c0ffee")  # its records have the numbers of other tests'
    bus = Bus()
    sink = kind.sink(server, timeout=1.0)
    settings = config(sink, retry=Retry(initial=0.05, max=0.2), stop=20.0)
    sinks = Sinks(bus, Clock(), {"server": settings})
    sinks.start()
    first = 5 * 10**8

    def send(numbers):
        for number in numbers:
            bus.emit(closed(first + number))

    send(range(100))
    until(lambda: sinks.status()[0].written == 100)
    server.hang()
    try:
        send(range(100, 200))
        until(lambda: sinks.status()[0].failures)
    finally:
        server.hang(on=False)
    send(range(200, 300))
    sinks.finish()
    found = [int(each["session.id"].split("-")[1]) - first for each in kind.read(server)]
    found = [number for number in found if 0 <= number < 300]
    assert sorted(set(found)) == list(range(300))
    assert kind.twice or len(found) == 300
    gc.collect()
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []


def opened(kind, server, **options):
    sink = kind.sink(server, **options)
    sink.open()
    return sink


def test_whatever_a_handler_says_can_be_stored(case):
    kind, server = case
    hostile = "\0\udc80\u20ac'; DROP TABLE tcpd_events; --\n\x7f"
    values = {"a.b": hostile, hostile: [1, {"x": hostile}], "n": 2**63 - 1, "f": 0.1}
    values |= {"duration": "5m", "bytes.in": [1], "bytes.out": {}, "close.reason": 1.5}
    each = Record(said(f"peer said * > {hostile} .. ", **values), NOON, 10**9, SOURCE)
    sink = opened(kind, server)
    sink.write([each])
    sink.close()
    (found,) = [row for row in kind.read(server) if row["event.sequence"] == 10**9]
    assert found == each.fields


def test_a_batch_that_comes_again_is_there_once_where_that_can_be_told(case):
    kind, server = case
    batch = records(3, 3 * 10**9)
    sink = opened(kind, server)
    sink.write(batch[:2])
    sink.write(batch)
    sink.close()
    found = [each["event.sequence"] - 3 * 10**9 for each in kind.read(server)]
    assert [each for each in found if each >= 0] == ([0, 1, 0, 1, 2] if kind.twice else [0, 1, 2])


def test_closed_in_any_state_it_can_be_opened_again(case):
    kind, server = case
    sink = kind.sink(server)
    sink.close()
    for number in range(2):
        sink.open()
        sink.write([record(2 * 10**9 + number)])
        sink.close()
        sink.close()
    found = [each["event.sequence"] for each in kind.read(server)]
    assert {2 * 10**9, 2 * 10**9 + 1} <= set(found)


@pytest.mark.parametrize("case_", [RedisCase, PostgreSQLCase, NATSCase])
def test_a_server_that_is_away_is_tried_again(case_):
    pytest.importorskip({"RedisCase": "redis", "NATSCase": "nats"}.get(case_.__name__, "psycopg"))

    class Nobody:
        port = servers.free_port()
        connection = f"host=127.0.0.1 port={port}"

    sink = case_.sink(Nobody, timeout=2.0)
    with pytest.raises(TryAgainError, match=r".+"):
        sink.open()
    sink.close()


@pytest.mark.parametrize("case_", [RedisCase, PostgreSQLCase, NATSCase])
def test_a_server_that_never_answers_is_given_up(case_):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:

        class Silent:
            port = silent.getsockname()[1]
            connection = f"host=127.0.0.1 port={port} sslmode=disable gssencmode=disable"

        sink = case_.sink(Silent, timeout=1.0)
        before = time.monotonic()
        with pytest.raises(TryAgainError, match=r".+"):
            sink.open()
        sink.close()
        assert time.monotonic() - before < servers.PATIENCE


def test_a_redis_stream_is_bounded(tmp_path):
    import redis

    with servers.running(servers.Redis, tmp_path) as server:
        sink = opened(RedisCase, server, max_length=100)
        for _ in range(10):
            sink.write(records(100))
        sink.close()
        with redis.Redis(port=server.port) as client:
            assert client.xlen("tcpd:events") <= 300


class GuardedNATS(servers.NATS):
    how: tuple[str, ...] = ()

    def command(self):
        return [*super().command(), *self.how]


@pytest.mark.parametrize(
    ("how", "user"), [(("--auth", "s3cret"), None), (("--user", "eve", "--pass", "s3cret"), "eve")]
)
def test_nats_lets_in_who_knows_the_token_or_password(tmp_path, monkeypatch, how, user):
    monkeypatch.setattr(GuardedNATS, "how", how)
    for name in ("s3cret", "guessed"):
        (tmp_path / name).write_text(f"{name}\n")
    with servers.running(GuardedNATS, tmp_path) as server:
        sink = NATSCase.sink(server, user=user, password_file=tmp_path / "guessed", timeout=5.0)
        with pytest.raises(TryAgainError, match="Authorization Violation"):
            sink.open()
        sink.close()
        sink = NATSCase.sink(server, user=user, password_file=tmp_path / "s3cret", timeout=5.0)
        sink.open()
        sink.write(records(2))
        sink.close()


def test_event_names_are_words_of_a_nats_subject():
    assert subject_of("session.closed") == "session.closed"
    assert subject_of("a b.*.>..\u00e9") == "a_b._._._._"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: RedisStream(url="redis://:pw@h/0"), "there is a password in it"),
        (lambda: RedisStream(url="redis://h/0?password=x"), "there is a password in it"),
        (lambda: RedisStream(url="http://h"), "begins with 'redis://', 'rediss://', 'unix://'"),
        (lambda: RedisStream(url="redis://h:port"), "this isn't a URL"),
        (lambda: NATSStream(servers=("nats://u:p@h",)), "there is a password in it"),
        (lambda: NATSStream(servers=("nats://token@h",)), "is a token for NATS"),
        (lambda: NATSStream(subject="a.*"), "a subject has words"),
        (lambda: NATSStream(stream="a b"), "a stream's name"),
        (lambda: PostgreSQL(connection="host=h password = x"), "there is a password in it"),
        (lambda: PostgreSQL(connection="host=h sslpassword=x"), "there is a password in it"),
        (lambda: PostgreSQL(connection="postgresql://u:p@h/d"), "there is a password in it"),
        (lambda: PostgreSQL(table='a"; DROP TABLE x'), "this isn't a name for a table"),
    ],
)
def test_options_that_are_wrong_are_told(make, problem):
    with pytest.raises(ExceptionGroup) as caught:
        make()
    (error,) = caught.value.exceptions
    assert problem in str(error)


def test_passwords_come_from_files(tmp_path):
    with pytest.raises(ExceptionGroup, match="options"):
        RedisStream(password_file=tmp_path / "none")
    (tmp_path / "pw").write_text("secret\n")
    for cls in (RedisStream, NATSStream, PostgreSQL):
        assert cls(password_file=tmp_path / "pw").password_file == tmp_path / "pw"
