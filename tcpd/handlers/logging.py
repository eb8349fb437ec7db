"""`logging`: records what each peer sends, and what another handler answers.

It says nothing itself, or a banner; or it stands before another handler (`then`) and records both
directions. Records go to the daemon's log, or to a file, or to a file for each session.

Rules:
- A recording is bounded, in bytes and in records; where it stops, it says so.
- What can't be written is counted and told, once a minute at most; the session never notices.
- The handler behind is connected to the transport itself where that can be tapped, as tcpd's own
  can: producers, half-close and TLS are as without us. Elsewhere a thin wrapper stands between.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from zope.interface import directlyProvides, implementer, providedBy

from tcpd.errors import FieldError, TcpdError, raise_all
from tcpd.escape import escape_text
from tcpd.events import Identity
from tcpd.fields import Range
from tcpd.handlers.recording import (
    Record,
    append,
    check_path,
    data_lines,
    file_lines,
    path_for,
    peer_of,
    stop_line,
)
from tcpd.interfaces import HandlerMaker, IHandlerUser, IReadsFiles, ISessionFactory, made_of
from tcpd.scalars import HandlerName
from tcpd.session import Session, address_and_port
from tcpd.taps import add_tap
from tcpd.units import ByteSize

# How many bytes a record holds at most. Escaped they take up to four times as much, which is still
# one line for journald (LineMax=48K).
RECORD_SIZE = 4096
# A session's share of the log or disk, if nothing else is said.
MAX_BYTES = ByteSize(2**20)
# How often a loss is told, in seconds.
LOSS_TOLD_EVERY = 60.0

_numbers = itertools.count(1)


@implementer(ISessionFactory, IHandlerUser, IReadsFiles)
@dataclass
class Logging(Factory[Any]):
    """Record what each peer sends, and what a handler behind it answers."""

    format: Literal["text", "hex", "base64", "jsonl"] = "text"
    """How bytes are shown: escaped, as a hex dump, as Base64, or a JSON object a record."""
    path: Path | None = None
    """The file to append to; the daemon's log without it. `{session}`, `{peer}`, `{listener}` or
    `{time}` (of its begin) in the file's name make a file for each session, peer and so on."""
    banner: bytes = b""
    """What to say to each peer when it connects."""
    then: HandlerName | None = None
    """The handler that answers; both directions are recorded."""
    then_options: dict[str, Any] = field(default_factory=dict)
    """The options of that handler."""
    max_bytes: Annotated[ByteSize, Range(1)] = MAX_BYTES
    """How many bytes of a session are recorded, both directions together."""
    max_records: Annotated[int, Range(1)] = 10_000
    """How many records of a session are written; one that sends single bytes makes many."""

    now: Callable[[], float] = field(default=time.time, init=False, repr=False, compare=False)
    """Gives the seconds since 1970; no option, but a test may replace it."""
    _next: Any = field(default=None, init=False, repr=False, compare=False)

    noisy = False
    log = Logger()

    def __post_init__(self) -> None:
        problems = []
        if self.path is None and self.format == "jsonl":
            hint = "for the daemon's log choose 'text', 'hex' or 'base64'"
            error = FieldError(("format",), "'jsonl' needs a path", hint, [("path",)])
            problems.append(error)
        if self.path is not None:
            self.path = self.path.expanduser().absolute()  # twistd may change the directory
            try:
                check_path(self.path)
            except ValueError as error:
                problems.append(FieldError(("path",), str(error)))
        if self.then is not None and self.banner:
            hint = "leave out one of them"
            problem = "the handler in 'then' speaks instead"
            problems.append(FieldError(("banner",), problem, hint, [("then",)]))
        if self.then is None and self.then_options:
            problem = "there is no handler in 'then'"
            problems.append(FieldError(("then_options",), problem, rests_on=[("then",)]))
        raise_all(problems)
        self.losses = Losses(self.log)

    def use_handlers(self, make: HandlerMaker) -> None:
        """Make the handler that answers."""
        if self.then is not None:
            self._next = make("then", self.then, "then_options", self.then_options)

    @property
    def what_was_read(self) -> tuple[object, ...]:
        """What the handler that answers is made of."""
        return made_of(self._next)

    def startFactory(self) -> None:
        """Start the handler that answers."""
        start = getattr(self._next, "doStart", None)
        if start is not None:
            start()

    def stopFactory(self) -> None:
        """Stop the handler that answers, and say what was lost."""
        stop = getattr(self._next, "doStop", None)
        if stop is not None:
            stop()
        self.losses.tell()

    def buildSession(self, session: Session) -> Any:
        """Return the protocol of one of tcpd's sessions."""
        build = getattr(self._next, "buildSession", None)
        inner = build(session) if build is not None else self._inner(session.peer)
        if inner is None:
            return None
        recording = Recording(self, session.identity, session.log)
        transport = session.transport
        if not hasattr(transport, "tap"):
            return Recorder(inner, recording)
        add_tap(transport, recording.add)
        return inner

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol of a connection outside tcpd."""
        inner = self._inner(addr)
        address, port = address_and_port(addr)
        who = Identity(
            session_id=str(next(_numbers)),
            listener="",
            handler="logging",
            client_address=address,
            client_port=port,
            local_address="",
        )
        return None if inner is None else Recorder(inner, Recording(self, who, self.log))

    def _inner(self, addr: IAddress | None) -> Any:
        if self.then is None:
            return Listen(self.banner)
        if self._next is None:
            raise TcpdError("'then' is only a name so far; give 'use_handlers' what makes handlers")
        return self._next.buildProtocol(addr)


class Losses:
    """Counts what couldn't be recorded, and tells it once a minute at most.

    Args:
        log: where it is told.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._told_at = float("-inf")
        self._reason = ""
        self.records = 0
        self.bytes = 0

    def add(self, at: float, records: int, size: int, error: OSError) -> None:
        """Count records, with `size` bytes together, that were lost at a time in seconds."""
        self.records += records
        self.bytes += size
        self._reason = str(error)
        if abs(at - self._told_at) >= LOSS_TOLD_EVERY:
            self._told_at = at
            self._log.error(
                "can't record: {reason}; sessions go on, what is lost is counted",
                reason=escape_text(self._reason, limit=500),
            )

    def tell(self) -> None:
        """Tell the sum, if there is any."""
        if self.records:
            self._log.error(
                "{records} records with {size} bytes were not recorded: {reason}",
                records=self.records,
                size=self.bytes,
                reason=escape_text(self._reason, limit=500),
            )


class Recording:
    """Records one session.

    Args:
        options: how, where, and how much.
        who: the session, as records name it.
        log: the session's logger.
    """

    def __init__(self, options: Logging, who: Identity, log: Logger) -> None:
        self._options = options
        self._who = who
        self._log = log
        self._offsets = {"in": 0, "out": 0}
        self._bytes_left: int = options.max_bytes
        self._records_left = options.max_records
        self._stopped = False
        self._path = path_for(options.path, who, options.now()) if options.path else ""

    def add(self, direction: str, data: bytes) -> None:
        """Record bytes that go `in` or `out`; what the limits leave no room for is left out."""
        offset = self._offsets[direction]
        self._offsets[direction] += len(data)
        if self._stopped or not data:
            return
        at = self._options.now()
        room = min(self._bytes_left, self._records_left * RECORD_SIZE)
        kept = data[:room]
        records = [
            Record(
                at=at,
                who=self._who,
                direction=direction,
                offset=offset + start,
                data=kept[start : start + RECORD_SIZE],
            )
            for start in range(0, len(kept), RECORD_SIZE)
        ]
        self._bytes_left -= len(kept)
        self._records_left -= len(records)
        if self._path:
            lines = "".join(file_lines(self._options.format, record) for record in records)
            self._append(at, lines, len(records), len(kept))
        else:
            for record in records:
                self._log_record(record)
        if len(data) > room:
            self._stop(at, "max_bytes" if not self._bytes_left else "max_records")

    def _log_record(self, record: Record) -> None:
        shape = self._options.format
        for line in data_lines(shape, record):
            self._log.info(
                "{session} {direction} {line}" if shape == "hex" else "{session} {place}: {line}",
                session=self._session,
                place=record.place,
                direction=record.direction,
                offset=record.offset,
                length=len(record.data),
                line=line,
            )

    def _stop(self, at: float, limit: str) -> None:
        self._stopped = True
        if self._path:
            self._append(at, stop_line(self._options.format, at, self._who, limit), 0, 0)
        else:
            self._log.info(
                "{session} is recorded no further: {limit} is reached",
                session=self._session,
                limit=limit,
            )

    def _append(self, at: float, lines: str, records: int, size: int) -> None:
        try:
            append(self._path, lines)
        except OSError as error:
            self._options.losses.add(at, records, size, error)

    @property
    def _session(self) -> str:
        return f"{self._who.session_id} ({peer_of(self._who)})"


@implementer(IHalfCloseableProtocol)
class Listen(Protocol):
    """Says the banner and drops what comes.

    Args:
        banner: what to say, or nothing.
    """

    def __init__(self, banner: bytes) -> None:
        self._banner = banner

    def connectionMade(self) -> None:
        """Say it."""
        if self._banner and self.transport is not None:
            self.transport.write(self._banner)

    def dataReceived(self, data: bytes) -> None:
        """Drop it; it is recorded already."""

    def readConnectionLost(self) -> None:
        """The peer has said everything: close when the banner is sent."""
        if self.transport is not None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nobody shuts down our side alone, so there is nothing to do."""


class Recorder:
    """A protocol that records what passes and is the inner protocol in everything else."""

    def __init__(self, inner: Any, recording: Recording) -> None:
        self._inner = inner
        self._recording = recording
        directlyProvides(self, providedBy(inner))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def makeConnection(self, transport: Any) -> None:
        """Connect the inner protocol to a transport that records what is written."""
        self._inner.makeConnection(RecordingTransport(transport, self._recording))

    def dataReceived(self, data: bytes) -> None:
        """Record and pass on."""
        self._recording.add("in", data)
        self._inner.dataReceived(data)


class RecordingTransport:
    """A transport that records what is written and is the real one in everything else."""

    def __init__(self, transport: Any, recording: Recording) -> None:
        self._transport = transport
        self._recording = recording
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Record and pass on."""
        self._recording.add("out", data)
        self._transport.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Record and pass on."""
        self.write(b"".join(iovec))
