"""A sink that adds records to a Redis stream.

Rules:
- A batch is a transaction (MULTI): all of it is added, or nothing.
- If the connection is lost before Redis has answered, nobody knows which; the batch is added again
  then, so a record may be there twice. Its host, run and sequence tell.

The client is redis-py, which blocks, in the sink's own thread: txredisapi would share the reactor
with the sessions, and need a retry of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tcpd.errors import raise_all
from tcpd.fields import Range
from tcpd.sinks.record import Record
from tcpd.sinks.secrets import file_problems, read_password, url_problems
from tcpd.sinks.sink import Sink, TryAgainError
from tcpd.units import Seconds

TIMEOUT = Seconds(5.0)


@dataclass
class RedisStream(Sink):
    """Add records to a Redis stream."""

    url: str = "redis://127.0.0.1:6379/0"
    """The server: `redis://host:port/db`, `rediss://` for TLS, `unix:///path?db=0`."""
    stream: str = "tcpd:events"
    """The key of the stream."""
    max_length: Annotated[int, Range(1)] = 1_000_000
    """About how many records the stream keeps; Redis drops the oldest."""
    username: str | None = None
    """Whom to log in as; without it, Redis's default user."""
    password_file: Path | None = None
    """A file that holds the password."""
    cafile: Path | None = None
    """The authorities that `rediss://` trusts, in PEM; without it, those of the system."""
    timeout: Annotated[Seconds, Range(0.1)] = TIMEOUT
    """How long the server may take to connect, and to answer."""

    def __post_init__(self) -> None:
        self._client: Any = None
        raise_all(
            [
                *url_problems("url", self.url, ("redis", "rediss", "unix")),
                *file_problems("password_file", self.password_file),
                *file_problems("cafile", self.cafile),
            ]
        )

    def open(self) -> None:
        """Connect, and see that the server answers."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options: dict[str, Any] = {"socket_timeout": self.timeout}
        if not self.url.startswith("unix:"):
            options |= {"socket_connect_timeout": self.timeout, "socket_keepalive": True}
        if self.cafile is not None:
            options["ssl_ca_certs"] = str(self.cafile)
        # A try of redis-py's own would add a batch twice without anybody's notice.
        self._client = redis.Redis.from_url(
            self.url,
            username=self.username,
            password=read_password(self.password_file),
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        try:
            self._client.ping()
        except redis.RedisError as error:
            raise TryAgainError(error) from error

    def write(self, batch: Sequence[Record]) -> None:
        """Add some records, in one transaction."""
        import redis

        pipeline = self._client.pipeline(transaction=True)
        for record in batch:
            fields = {"event.name": record.name, "record": record.line}
            pipeline.xadd(self.stream, fields, maxlen=self.max_length, approximate=True)
        try:
            pipeline.execute()
        except redis.RedisError as error:
            raise TryAgainError(error) from error

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
