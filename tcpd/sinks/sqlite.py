"""A sink that keeps records in an SQLite database: one file that can be asked questions.

Rules:
- The database is in WAL mode, so that whoever reads it and this sink don't wait for each other.
- A batch is a transaction: all of it is there, or nothing, and never twice.
- Somebody else may move the file away or remove it at any time: a new one is made then, and the one
  that was moved has all that was written before.
- The file says by `user_version` which of the `MIGRATIONS` it has had; a file of a later tcpd is
  left alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from tcpd.errors import raise_all
from tcpd.fields import Range
from tcpd.sinks.columns import COLUMNS, row_of
from tcpd.sinks.paths import open_file, path_problems
from tcpd.sinks.record import Record
from tcpd.sinks.sink import Sink, TryAgainError
from tcpd.units import Seconds

MIGRATIONS = (
    """
    CREATE TABLE events (
        time TEXT NOT NULL,
        name TEXT NOT NULL,
        host TEXT NOT NULL,
        run TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        session TEXT,
        listener TEXT,
        handler TEXT,
        client_address TEXT,
        client_port INTEGER,
        bytes_in INTEGER,
        bytes_out INTEGER,
        duration REAL,
        reason TEXT,
        record TEXT NOT NULL,
        UNIQUE (host, run, sequence)
    ) STRICT;
    CREATE INDEX events_by_name_and_time ON events (name, time);
    CREATE INDEX events_by_time ON events (time);
    CREATE INDEX events_by_client ON events (client_address, time);
    """,
)
"""What brings a database from each version to the next; those that were released never change."""

# A record that is there already was written by a try that seemed to have failed.
_INSERT = (
    f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})"  # noqa: S608
    " ON CONFLICT (host, run, sequence) DO NOTHING"
)
# Old records are deleted once in so many seconds, at most so many at once.
CLEAN_EVERY = 60.0
CLEAN_AT_ONCE = 10_000
# Seconds to wait for somebody else who writes to the database.
BUSY = 5.0
# The file beside the database is cut to this once a reader no longer needs what is in it.
WAL_SIZE = 64 * 2**20


@dataclass
class SQLite(Sink):
    """Keep records in an SQLite database, one file."""

    path: Path
    """The file; two more, for as long as it is open, stand beside it."""
    mode: Literal["0600", "0640"] = "0640"
    """Who may read a file that it makes: the owner, or the group too."""
    keep: Annotated[Seconds, Range(1.0)] | None = None
    """Records that are older are deleted; without it, none are."""
    clock: Callable[[], float] = field(init=False, default=time.time, repr=False)
    """Tells the time in seconds since 1970."""

    def __post_init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._place = (0, 0)
        self._clean_at = 0.0
        raise_all(path_problems(self.path))

    def open(self) -> None:
        """Open the database; make it if it isn't there, and bring it up to date."""
        try:
            self._make_file()
            self._open_database()
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise TryAgainError(f"{self.path} is a symbolic link; name its target") from None
            raise TryAgainError(f"{self.path}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def write(self, batch: Sequence[Record]) -> None:
        """Insert some records, in one transaction."""
        self._follow()
        db = self._opened()
        rows = [row_of(record) for record in batch]
        try:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_INSERT, rows)
            db.execute("COMMIT")
            self._clean(db)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise self._failed(error) from error

    def reopen(self) -> None:
        """Make a new file, if the old one was moved away."""
        self._follow()

    def close(self) -> None:
        """Close the database."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _make_file(self) -> None:
        """Make the file if it isn't there, and note which it is.

        SQLite would make it readable for all, and through a symbolic link.
        """
        fd = open_file(self.path, int(self.mode, 8))
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        self._place = (status.st_dev, status.st_ino)

    def _open_database(self) -> None:
        """Open the database, and bring it up to date."""
        self._db = db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)
        version = self._version(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_SIZE}")
        if version < len(MIGRATIONS):
            # Two that open a new file at once: who comes second finds it done.
            db.execute("BEGIN IMMEDIATE")
            for number in range(self._version(db), len(MIGRATIONS)):
                for statement in MIGRATIONS[number].split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")

    def _version(self, db: sqlite3.Connection) -> int:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise TryAgainError(
                f"{self.path} is of version {version}, made by a later tcpd; this one knows"
                f" {len(MIGRATIONS)}"
            )
        return version

    def _follow(self) -> None:
        """Take up a new file if somebody has moved the old one away, or removed it."""
        db = self._db
        if db is None:
            return
        try:
            there = os.stat(self.path, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == self._place:
                return
            gone = False
        except FileNotFoundError:
            gone = True
        # What is beside it belongs to the one that was moved, which has to have it all.
        with contextlib.suppress(sqlite3.Error):
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.close()
        if gone:
            for beside in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self.path}{beside}")
        self.open()

    def _failed(self, error: sqlite3.Error) -> TryAgainError:
        """Return an error of SQLite's for people."""
        # The low byte is what it is, the others are more of it.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return TryAgainError(f"{self.path}: {error}; move it away, and a new one is made")
        return TryAgainError(f"{self.path}: {error}")

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise TryAgainError("it isn't open")
        return self._db

    def _clean(self, db: sqlite3.Connection) -> None:
        """Delete what is too old, some of it at a time."""
        now = self.clock()
        if self.keep is None or now < self._clean_at:
            return
        oldest = datetime.fromtimestamp(now - self.keep, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        rows = "SELECT rowid FROM events WHERE time < ? ORDER BY time LIMIT ?"
        deleted = db.execute(
            f"DELETE FROM events WHERE rowid IN ({rows})",  # noqa: S608
            (oldest, CLEAN_AT_ONCE),
        )
        if deleted.rowcount < CLEAN_AT_ONCE:
            self._clean_at = now + CLEAN_EVERY
