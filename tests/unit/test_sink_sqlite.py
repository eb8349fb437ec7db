"""Records in a database: asked questions, never there twice, kept as long as they should be."""

import json
import os
import re
import sqlite3
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers.sinks import NOON, closed, identity, record, records, said

from tcpd.events import SessionOpened, SessionRefused
from tcpd.sinks import sqlite
from tcpd.sinks.columns import COLUMNS
from tcpd.sinks.sink import TryAgainError
from tcpd.sinks.sqlite import SQLite

GUIDE = Path(__file__).parents[2] / "docs" / "sinks.md"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def sink(path):
    made = SQLite(path=path)
    made.open()
    yield made
    made.close()


def ask(path, query, *values):
    with sqlite3.connect(path) as db:
        rows = db.execute(query, values).fetchall()
    db.close()
    return rows


def count(path):
    return ask(path, "SELECT count(*) FROM events")[0][0]


def test_a_record_is_a_row(sink, path):
    sink.write([record(7)])
    (row,) = ask(path, "SELECT * FROM events")
    found = dict(zip(COLUMNS, row, strict=True))
    assert json.loads(found.pop("record")) == record(7).fields
    assert found == {
        "time": "2026-09-21T14:13:20.123456Z", "name": "session.closed", "host": "gw1",
        "run": "ab12cd34", "sequence": 7, "session": "ab12cd34-7", "listener": "main",
        "handler": "echo", "client_address": "192.0.2.1", "client_port": 5000, "bytes_in": 10,
        "bytes_out": 20, "duration": 1.5, "reason": "peer-closed",
    }  # fmt: skip


def test_what_an_event_does_not_say_is_null_and_a_refusal_has_its_reason(sink, path):
    refused = SessionRefused(listener="web", client_address="::1", client_port=1, reason="rate")
    hostile = said("x", session="forged", y="'; DROP TABLE events; --\0")
    sink.write([record(1, event=refused), record(2, event=hostile)])
    assert ask(path, "SELECT session, listener, reason FROM events ORDER BY sequence") == [
        (None, "web", "rate"),
        ("ab12cd34-1", "main", None),
    ]
    (value,) = ask(path, "SELECT record ->> '$.y' FROM events WHERE name = 'x'")[0]
    assert value == "'; DROP TABLE events; --\\0"


def test_a_batch_that_comes_again_is_there_once(sink, path):
    sink.write(records(3))
    sink.write(records(5))
    assert count(path) == 5


def yesterday(hour):
    day = datetime.now(UTC).replace(hour=hour, minute=0, second=0) - timedelta(days=1)
    return int(day.timestamp()) * 10**9


def test_who_talked_to_us_yesterday_is_one_query(sink, path):
    (query,) = re.findall(r"^```sql yesterday\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.M)
    day = 86400 * 10**9
    sink.write(
        [
            record(1, yesterday(1), address="192.0.2.1"),
            record(2, yesterday(23), address="192.0.2.1"),
            record(3, yesterday(12), address="2001:db8::1"),
            record(4, yesterday(12) - day, address="192.0.2.7"),
            record(5, yesterday(12) + day, address="192.0.2.8"),
            record(6, yesterday(12), event=said("login", client="x")),
            # Yesterday's, and still open; and one of both whose end is among the others.
            record(7, yesterday(13), event=SessionOpened(identity=identity(7))),
            record(
                8, yesterday(13), event=SessionOpened(identity=identity(8, address="192.0.2.9"))
            ),
            record(9, yesterday(0), event=SessionOpened(identity=identity(1))),
        ]
    )
    rows = ask(path, query)
    assert [row[:4] for row in rows] == [
        ("192.0.2.1", 3, 20, 40),
        ("2001:db8::1", 1, 10, 20),
        ("192.0.2.9", 1, None, None),
    ]
    assert all(len(row) == 6 for row in rows)
    plan = str(ask(path, "EXPLAIN QUERY PLAN " + query))
    assert "USING INDEX events_by_name_and_time" in plan


def test_it_is_readable_while_it_is_written(sink, path):
    sink.write(records(1))
    with sqlite3.connect(path) as reader:
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        sink.write(records(1, 2))
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
    reader.close()
    assert count(path) == 2


@pytest.mark.parametrize(
    "data",
    [
        {"duration": "5m", "close.reason": {"a": 1}},
        {"bytes.in": [1], "bytes.out": 1.5, "refuse.reason": 2**62},
    ],
)
def test_whatever_a_handler_calls_its_values_no_column_refuses_them(sink, path, data):
    sink.write([record(1, event=said("login", **data))])
    assert ask(path, "SELECT listener, bytes_in, bytes_out, duration, reason FROM events") == [
        ("main", None, None, None, None)
    ]
    (line,) = ask(path, "SELECT record FROM events")[0]
    assert json.loads(line).items() >= data.items()


@pytest.mark.parametrize("told", [False, True])
def test_a_file_that_was_moved_away_has_all_and_a_new_one_the_rest(sink, path, tmp_path, told):
    sink.write(records(2))
    path.rename(tmp_path / "moved.db")
    if told:
        sink.reopen()
        assert path.exists()
    sink.write(records(3, 3))
    sink.close()
    assert (count(tmp_path / "moved.db"), count(path)) == (2, 3)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["events.db", "moved.db"]


def test_two_whose_file_was_moved_away_share_the_new_one(sink, path, tmp_path):
    other = SQLite(path=path)
    other.open()
    for number, each in enumerate((sink, other), 1):
        each.write(records(1, number))
    path.rename(tmp_path / "moved.db")
    for number, each in enumerate((sink, other, sink), 3):
        each.write(records(1, number))
    other.close()
    sink.close()
    assert (count(tmp_path / "moved.db"), count(path)) == (2, 3)


def test_a_file_that_was_removed_is_made_anew(sink, path):
    sink.write(records(2))
    path.unlink()
    sink.write(records(3, 3))
    assert count(path) == 3


def test_what_is_no_database_is_told_with_what_to_do_about_it(path, tmp_path):
    path.write_bytes(b"no database" * 1000)
    sink = SQLite(path=path)
    with pytest.raises(TryAgainError, match=r"events\.db: file is not a database; move it away"):
        sink.open()
    sink.close()
    path.rename(tmp_path / "odd")
    sink.open()
    sink.write(records(1))
    sink.close()
    assert count(path) == 1


def test_two_that_make_the_file_at_once_both_write_to_it(path, monkeypatch):
    first, second = SQLite(path=path), SQLite(path=path)
    version = SQLite._version

    def amid(self, db):
        found = version(self, db)
        monkeypatch.undo()
        second.open()
        return found

    monkeypatch.setattr(SQLite, "_version", amid)
    first.open()
    for number, sink in enumerate((first, second), 1):
        sink.write(records(1, number))
        sink.close()
    assert count(path) == 2


@pytest.mark.parametrize("umask", [0, 0o077])
@pytest.mark.parametrize("mode", ["0640", "0600"])
def test_only_those_can_read_it_who_may(path, mode, umask):
    sink = SQLite(path=path, mode=mode)
    old = os.umask(umask)
    try:
        sink.open()
        sink.write(records(1))
    finally:
        os.umask(old)
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {int(mode, 8)}
    sink.close()


def test_a_symbolic_link_is_not_followed(path, tmp_path):
    sink = SQLite(path=path)
    path.symlink_to(tmp_path / "target")
    with pytest.raises(TryAgainError, match="is a symbolic link; name its target"):
        sink.open()
    assert not (tmp_path / "target").exists()
    with pytest.raises(ExceptionGroup):
        SQLite(path=path)


def test_somebody_who_keeps_it_locked_is_waited_for_and_nothing_is_lost(sink, path, monkeypatch):
    sink.close()
    monkeypatch.setattr(sqlite, "BUSY", 0.01)
    sink.open()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgainError, match="locked"):
            sink.write(records(1))
        other.execute("COMMIT")
    other.close()
    sink.write(records(1))
    assert count(path) == 1


def test_an_older_database_is_brought_up_to_date_and_a_later_one_left_alone(path, monkeypatch):
    first = SQLite(path=path)
    first.open()
    first.write(records(2))
    first.close()
    more = (*sqlite.MIGRATIONS, "ALTER TABLE events ADD COLUMN more TEXT")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", more)
        first.open()
        first.write(records(1, 3))
        first.close()
    assert ask(path, "PRAGMA user_version") == [(2,)]
    assert ask(path, "SELECT sequence, more FROM events") == [(1, None), (2, None), (3, None)]
    with pytest.raises(TryAgainError, match="of version 2, made by a later tcpd"):
        first.open()


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    sink = SQLite(path=path)
    sink.open()
    sink.close()
    broken = (*sqlite.MIGRATIONS, "ALTER TABLE events ADD COLUMN more TEXT; SELECT nonsense")
    monkeypatch.setattr(sqlite, "MIGRATIONS", broken)
    with pytest.raises(TryAgainError, match="nonsense"):
        sink.open()
    sink.close()
    assert ask(path, "PRAGMA user_version") == [(1,)]
    monkeypatch.undo()
    sink.open()
    sink.write(records(1))
    sink.close()
    assert count(path) == 1


def test_old_records_are_deleted_some_at_a_time(path, monkeypatch):
    monkeypatch.setattr(sqlite, "CLEAN_AT_ONCE", 4)
    sink = SQLite(path=path, keep=3600.0)
    sink.clock = lambda: NOON / 10**9
    sink.open()
    hour = 3600 * 10**9
    sink.write([record(number, NOON - 2 * hour) for number in range(1, 7)])
    assert count(path) == 2
    sink.write(records(1, 7))
    assert ask(path, "SELECT sequence FROM events") == [(7,)]
    sink.write([record(8, NOON - 2 * hour)])
    assert count(path) == 2  # it looks again after a while
    sink.clock = lambda: NOON / 10**9 + sqlite.CLEAN_EVERY
    sink.write(records(1, 9))
    assert ask(path, "SELECT sequence FROM events") == [(7,), (9,)]
    sink.close()


def test_it_may_be_made_in_one_thread_and_used_in_another(path):
    sink = SQLite(path=path)

    def work():
        sink.open()
        sink.write([record(1, event=closed())])
        sink.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert count(path) == 1
