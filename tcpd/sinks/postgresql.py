"""A sink that keeps records in a PostgreSQL table.

Rules:
- A batch is a transaction: all of it is there, or nothing. One that comes again, since nobody knew
  whether it had been committed, is there once: host, run and sequence are unique.
- A server that hangs, but whose kernel goes on acknowledging, is left after a while.
- The table is made if it isn't there; one that is there is left as it is, whoever made it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tcpd.errors import FieldError, raise_all
from tcpd.fields import Range
from tcpd.sinks.columns import COLUMNS, row_of
from tcpd.sinks.record import Record
from tcpd.sinks.secrets import conninfo_problems, file_problems, read_password
from tcpd.sinks.sink import Sink, TryAgainError
from tcpd.units import Seconds

TIMEOUT = Seconds(5.0)

_CREATE = """
    CREATE TABLE {table} (
        time timestamptz NOT NULL,
        name text NOT NULL,
        host text NOT NULL,
        run text NOT NULL,
        sequence bigint NOT NULL,
        session text,
        listener text,
        handler text,
        client_address text,
        client_port integer,
        bytes_in bigint,
        bytes_out bigint,
        duration double precision,
        reason text,
        record jsonb NOT NULL,
        UNIQUE (host, run, sequence)
    );
    CREATE INDEX ON {table} (name, time);
    CREATE INDEX ON {table} (time);
    CREATE INDEX ON {table} (client_address, time);
"""
_INSERT = "INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING"
_TABLE = re.compile(r"([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}")


@dataclass
class PostgreSQL(Sink):
    """Keep records in a PostgreSQL table."""

    connection: str = ""
    """Where, as libpq says it: `host=db.example dbname=tcpd user=tcpd sslmode=verify-full`."""
    password_file: Path | None = None
    """A file that holds the password; without it, what libpq finds by itself (~/.pgpass)."""
    table: str = "tcpd_events"
    """The table, perhaps with its schema before it."""
    timeout: Annotated[Seconds, Range(1.0)] = TIMEOUT
    """How long the server may take to connect, and to carry out a statement; twice that for a
    batch."""

    def __post_init__(self) -> None:
        self._db: Any = None
        self._insert: Any = None
        errors = [
            *conninfo_problems("connection", self.connection),
            *file_problems("password_file", self.password_file),
        ]
        if not _TABLE.fullmatch(self.table):
            hint = "a name has small letters, digits and _; 'schema.table' works too"
            errors.append(FieldError(("table",), "this isn't a name for a table", hint))
        raise_all(errors)

    def open(self) -> None:
        """Connect, and make the table if it isn't there."""
        import psycopg
        from psycopg import sql

        table = sql.Identifier(*self.table.split("."))
        self._insert = sql.SQL(_INSERT).format(
            table=table,
            columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
            values=sql.SQL(", ").join(sql.Placeholder() for _ in COLUMNS),
        )
        milliseconds = int(self.timeout * 1000)
        options: dict[str, Any] = {
            "application_name": "tcpd",
            "connect_timeout": max(2, int(self.timeout)),  # libpq knows no less
            # A server that has vanished is noticed in time, whether or not it is waited for.
            "tcp_user_timeout": milliseconds,
            "keepalives_idle": max(1, int(self.timeout)),
            "keepalives_interval": 1,
            "keepalives_count": 3,
        }
        password = read_password(self.password_file)
        if password is not None:
            options["password"] = password
        try:
            self._db = db = psycopg.connect(self.connection, **options)
            with self._in_time():
                db.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(milliseconds)))
                (there,) = db.execute("SELECT to_regclass(%s)", (self.table,)).fetchone() or (None,)
                if there is None:
                    db.execute(sql.SQL(_CREATE).format(table=table))
                db.commit()
        except psycopg.Error as error:
            raise TryAgainError(error) from error

    def write(self, batch: Sequence[Record]) -> None:
        """Insert some records, in one transaction."""
        import psycopg

        rows = [row_of(record) for record in batch]
        try:
            with self._in_time(), self._db.transaction(), self._db.cursor() as cursor:
                cursor.executemany(self._insert, rows)
        except psycopg.DataError:
            raise  # trying it again would end the same
        except psycopg.Error as error:
            raise TryAgainError(error) from error

    def close(self) -> None:
        """Close the connection."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Break the connection off if what is done with it takes too long.

        The server has a limit for each statement, but one that hangs keeps none.
        """
        import psycopg

        db = self._db

        def break_off() -> None:
            with contextlib.suppress(OSError, psycopg.Error):
                connection = socket.socket(fileno=os.dup(db.fileno()))
                with connection:
                    connection.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(2 * self.timeout, break_off)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
