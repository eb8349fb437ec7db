"""A sink that publishes records to a NATS JetStream stream.

Rules:
- A record counts as written when JetStream has acknowledged it. Core NATS acknowledges nothing, so
  that a record would be lost whenever nobody listens, or the server restarts: it isn't offered.
- Each message bears an id; JetStream drops one that comes again within its window (2 minutes).

The client is nats-py, which is asyncio's: its loop runs in a second thread of the sink, so that the
server's pings are answered while there is nothing to write.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import ssl
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tcpd.errors import FieldError, raise_all
from tcpd.fields import OneOrMore, Range
from tcpd.sinks.record import Record
from tcpd.sinks.secrets import file_problems, read_password, url_problems
from tcpd.sinks.sink import Sink, TryAgainError
from tcpd.units import ByteSize, Seconds

TIMEOUT = Seconds(5.0)
MAX_SIZE = ByteSize(2**30)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_NOT_IN_SUBJECTS = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass
class NATSStream(Sink):
    """Publish records to a NATS JetStream stream."""

    servers: Annotated[tuple[str, ...], OneOrMore()] = ("nats://127.0.0.1:4222",)
    """The server, or those of a cluster: `nats://host:port`, or `tls://host:port`."""
    subject: str = "tcpd.events"
    """What subjects begin with; the event's name follows: `tcpd.events.session.closed`."""
    stream: str = "TCPD"
    """The stream that is made if none takes these subjects yet."""
    max_size: Annotated[ByteSize, Range(1024)] = MAX_SIZE
    """How much a stream that is made keeps; it drops the oldest."""
    user: str | None = None
    """Whom to log in as."""
    password_file: Path | None = None
    """A file that holds the password; or, without a user, the token."""
    cafile: Path | None = None
    """The authorities that `tls://` trusts, in PEM; without it, those of the system."""
    timeout: Annotated[Seconds, Range(0.1)] = TIMEOUT
    """How long the server may take to connect, and to acknowledge."""

    def __post_init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._jetstream: Any = None
        self._gone = asyncio.Event()
        errors = [
            error
            for server in self.servers
            for error in url_problems("servers", server, ("nats", "tls"))
        ]
        errors += file_problems("password_file", self.password_file)
        errors += file_problems("cafile", self.cafile)
        if not _SUBJECT.fullmatch(self.subject):
            problem = "a subject has words of letters, digits, _ and -, with dots between them"
            errors.append(FieldError(("subject",), problem))
        if not _NAME.fullmatch(self.stream):
            errors.append(FieldError(("stream",), "a stream's name has letters, digits, _ and -"))
        raise_all(errors)

    def open(self) -> None:
        """Connect, and make the stream if there is none."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run, args=(self._loop,), name="tcpd-sink-nats", daemon=True
        )
        self._thread.start()
        self._do(self._connect(), 2 * self.timeout)

    def write(self, batch: Sequence[Record]) -> None:
        """Publish some records, and wait until all are acknowledged."""
        self._do(self._publish(batch), self.timeout)

    def close(self) -> None:
        """Close the connection, and end the thread."""
        loop, thread, client = self._loop, self._thread, self._client
        self._loop = self._thread = self._client = self._jetstream = None
        if loop is None or thread is None:
            return
        if client is not None:
            future = asyncio.run_coroutine_threadsafe(client.close(), loop)
            concurrent.futures.wait([future], self.timeout)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(self.timeout)

    def _do(self, work: Coroutine[Any, Any, None], timeout: float) -> None:
        """Have the loop do something, and wait for it."""
        import nats.errors

        if self._loop is None:
            work.close()
            raise TryAgainError("it isn't open")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(timeout)
        except TimeoutError as error:
            future.cancel()
            raise TryAgainError("the server doesn't answer in time") from error
        except (nats.errors.Error, OSError) as error:
            raise TryAgainError(str(error) or type(error).__name__) from error

    async def _connect(self) -> None:
        import nats
        from nats.js.api import StreamConfig
        from nats.js.errors import NotFoundError

        gone = self._gone = asyncio.Event()

        async def ignore(*_: object) -> None:
            """Do nothing: what fails is raised where it is waited for."""

        async def closed() -> None:
            gone.set()

        options: dict[str, Any] = {}
        if self.user is not None:
            options["user"] = self.user
        password = read_password(self.password_file)
        if password is not None:
            options["token" if self.user is None else "password"] = password
        if any(server.startswith("tls:") for server in self.servers):
            cafile = str(self.cafile) if self.cafile is not None else None
            options["tls"] = ssl.create_default_context(cafile=cafile)
        self._client = await nats.connect(
            list(self.servers),
            name="tcpd",
            allow_reconnect=False,  # the sink is opened anew
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=max(1, int(self.timeout)),
            error_cb=ignore,
            disconnected_cb=ignore,
            closed_cb=closed,
            **options,
        )
        self._jetstream = self._client.jetstream(timeout=self.timeout)
        subjects = f"{self.subject}.>"
        try:
            await self._jetstream.find_stream_name_by_subject(subjects)
        except NotFoundError:
            config = StreamConfig(
                name=self.stream, subjects=[subjects], max_bytes=int(self.max_size)
            )
            await self._jetstream.add_stream(config)

    async def _publish(self, batch: Sequence[Record]) -> None:
        work: asyncio.Future[Any] = asyncio.gather(*(self._publish_one(record) for record in batch))
        # Even if nobody waits any more: asyncio would print it where no log is.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        # nats-py would wait for acknowledgements that can't come any more.
        end: asyncio.Future[Any] = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ConnectionResetError("the connection is lost")
            work.result()
        finally:
            end.cancel()
            work.cancel()

    async def _publish_one(self, record: Record) -> None:
        source = record.source
        headers = {"Nats-Msg-Id": f"{source.host}-{source.run}-{record.sequence}"}
        subject = f"{self.subject}.{subject_of(record.name)}"
        await self._jetstream.publish(subject, record.line.encode("ascii"), headers=headers)


def subject_of(name: str) -> str:
    """Return an event's name as words of a subject: no wildcards, no spaces, no empty word."""
    words = _NOT_IN_SUBJECTS.sub("_", name).split(".")
    return ".".join(word or "_" for word in words)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Be the loop's thread."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
