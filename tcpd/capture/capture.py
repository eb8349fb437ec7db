"""A capture that runs: of a listener's sessions, or of one.

Rules:
- A session never waits for it. What the disk can't take in time is lost, counted, and told in the
  file where it is missing.
- It ends by itself at its limits. Sessions go on.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from twisted.logger import Logger

from tcpd.capture.files import Files
from tcpd.capture.packets import Packets
from tcpd.capture.settings import CaptureConfig, file_name
from tcpd.capture.texts import HexDump, JsonLines
from tcpd.capture.track import Format, Lost, Side
from tcpd.capture.watch import Watch, subject_of
from tcpd.capture.writer import Writer
from tcpd.session import Session

_FORMATS: dict[str, Callable[[], Format]] = {
    "pcapng": Packets,
    "hexdump": HexDump,
    "jsonl": JsonLines,
}
# Seconds between two lines about losses.
TELL_EVERY = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureStatus:
    """How a capture is doing."""

    kind: Literal["configured", "live"]
    listener: str
    session: str
    """The session's id, if it is of that one alone."""
    format: str
    path: str
    """The file, or the directory of the sessions' files."""
    state: Literal["running", "full", "ended"]
    since: float
    """When it began, in seconds since 1970."""
    sessions: int
    """How many are being captured."""
    written: int
    """Bytes in files."""
    waiting: int
    """Bytes that wait for the disk."""
    lost_pieces: int
    lost_bytes: int
    problem: str
    """Why nothing can be written now; empty if it can."""


class Capture:
    """Writes sessions' bytes to files.

    Args:
        reactor: the reactor.
        config: what to write, where, and how much.
        stem: what the files' names begin with: the listener's name, or what was asked for.
        listener: the name of the listener or connector.
        session: the id of the session, if it is of that one alone.
        kind: where the wish for it came from.
        time_ns: tells the nanoseconds since 1970.

    Attributes:
        config: what to write; changed by a reload.
        running: whether it takes anything more.
        on_end: called once it has ended by itself.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: CaptureConfig,
        stem: str,
        *,
        listener: str,
        session: str = "",
        kind: Literal["configured", "live"] = "configured",
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.config = config
        self.listener = listener
        self.session = session
        self.kind: Literal["configured", "live"] = kind
        self.running = True
        self.on_end: Callable[[Capture], object] = lambda capture: None
        self.time_ns = time_ns
        self.watches: set[Watch] = set()
        self._reactor = reactor
        self._stem = stem
        self._since = time_ns()
        self._format = _FORMATS[config.format]()
        many = config.files == "session"
        mine = None
        if many:
            name = re.escape(stem) + r"-[0-9a-f]{8}-\d+" + re.escape(file_name("", config.format))
            mine = re.compile(rf"({name})(\.\d+)?")
        self._files = Files(
            config.path,
            lambda: self._format.header(session or listener),
            rotate_size=config.rotate_size if kind == "configured" else None,
            rotate_every=config.rotate_every,
            keep=config.keep,
            mine=mine,
        )
        self._writer = Writer(f"capture-{stem}", self._files, config.queue_size, self._told)
        self._taken = 0
        self._lost_pieces = 0
        self._lost_bytes = 0
        self._untold = Lost()
        self._told_at = 0.0
        self._told_lost = 0
        self._state: Literal["running", "full", "ended"] = "running"
        self._timer: Any = None
        if kind == "live":
            self._start_timer()

    def make_file(self) -> None:
        """Make the file now, for a capture that nothing may stand in the way of.

        Raises:
            OSError: it can't be made, or is there already.
        """
        self._files.begin(self._name())

    def change(self, config: CaptureConfig) -> None:
        """Take other limits; the files go on."""
        before, self.config = self.config, config
        if self._timer is not None and config.max_time != before.max_time:
            self._cancel_timer()
            self._start_timer()
        self._files.rotate_size = config.rotate_size
        self._files.rotate_every = config.rotate_every
        self._files.keep = config.keep
        self._writer.limit = config.queue_size

    def watch(self, session: Session, *, amid: bool = False) -> Watch | None:
        """Capture a session from now on.

        Args:
            session: the session.
            amid: whether it has begun before.

        Returns:
            The watch, whose `ended` is to be called when the session has ended; None if the
            capture is over, or the session's transport can't be tapped: it is another package's.
        """
        if not self.running:
            return None
        if self._timer is None and self.config.max_time is not None:
            self._start_timer()
        name = self._name(session)
        track = self._format.track(subject_of(session))
        watch = Watch(self, session, track, name, self.config.session_size)
        if not watch.start():
            self.log.warn(
                "session {session} can't be captured: its transport isn't tcpd's",
                session=str(session),
            )
            return None
        self.watches.add(watch)
        at = self.time_ns()
        if amid:
            received, sent = session.bytes_in, session.bytes_out
            self.take(name, 0, lambda lost: track.amid(at, received, sent, lost))
        else:
            self.take(name, 0, lambda lost: track.begin(at, lost))
        return watch

    def take(
        self, name: str, size: int, make: Callable[[Lost | None], bytes], *, last: bool = False
    ) -> bool:
        """Write a piece, unless there is no room for it.

        Args:
            name: the file.
            size: how many bytes of a session are in it.
            make: makes the piece, given what was lost before.
            last: whether it is the last for a file.

        Returns:
            Whether it is going to be written.
        """
        writer = self._writer
        if not writer.has_room(size):
            self._lose(size)
            if last and self.config.files == "session":
                writer.offer(name, b"", last=True)  # so that the file is let go of
            return False
        lost = None
        if self._untold.pieces:
            lost, self._untold = self._untold, Lost()
        data = make(lost)
        if data or last:
            self._taken += len(data)
            writer.offer(name, data, size, last=last and self.config.files == "session")
        most = self.config.max_size
        if most is not None and self._taken >= most and self.running:
            self._end_at("max_size")
        return True

    def take_data(self, watch: Watch, side: Side, data: bytes) -> None:
        """Write a piece that is a session's bytes; as `take`, with less ado."""
        size = len(data)
        if self._untold.pieces or not self._writer.has_room(size):
            at = self.time_ns()
            if not self.take(watch.name, size, lambda lost: watch.track.data(at, side, data, lost)):
                watch.track.skip(side, size)
            return
        piece = watch.track.data(self.time_ns(), side, data, None)
        self._taken += len(piece)
        self._writer.offer(watch.name, piece, size)
        most = self.config.max_size
        if most is not None and self._taken >= most and self.running:
            self._end_at("max_size")

    def reopen(self) -> None:
        """Let go of the files, which something may have moved away, and begin new ones."""
        if self.kind == "configured":
            self._writer.reopen()

    def stop(self, why: str = "the capture was stopped") -> None:
        """Take nothing more from any session, and have written what waits."""
        if self._state == "ended":
            return
        self.running = False
        self._state = "ended"
        self._cancel_timer()
        for watch in tuple(self.watches):
            watch.stop(why)
        if self._untold.pieces and self.config.files == "listener":
            at, lost = self.time_ns(), self._untold
            self._untold = Lost()
            self._writer.offer(self._name(), self._format.trailer(at, lost))
        self._writer.close()

    def wait(self, tell: Callable[[], float] = lambda: math.inf) -> None:
        """Wait until it has been written; for the very end.

        Args:
            tell: called now and then meanwhile; gives in how many seconds to call it again.
        """
        self._writer.wait(tell)
        self._tell_lost(always=True)

    @property
    def is_over(self) -> bool:
        """Whether it was stopped, and all is written."""
        return self._writer.is_over

    def status(self) -> CaptureStatus:
        """Return how it is doing."""
        where = self.config.path
        if self.config.files == "listener":
            where /= self._name()
        return CaptureStatus(
            kind=self.kind,
            listener=self.listener,
            session=self.session,
            format=self.config.format,
            path=str(where),
            state=self._state,
            since=self._since / 1e9,
            sessions=len(self.watches),
            written=self._writer.written,
            waiting=self._writer.waiting,
            lost_pieces=self._lost_pieces + self._writer.lost_pieces,
            lost_bytes=self._lost_bytes + self._writer.lost_bytes,
            problem=self._writer.problem,
        )

    # -- limits and losses -------------------------------------------------------------------

    def _name(self, session: Session | None = None) -> str:
        stem = self._stem
        if session is not None and self.config.files == "session":
            stem = f"{stem}-{session.id}"
        return file_name(stem, self.config.format)

    def _start_timer(self) -> None:
        if self.config.max_time is not None:
            self._timer = self._reactor.callLater(self.config.max_time, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self.running:
            self._end_at("max_time")

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _end_at(self, limit: str) -> None:
        """End, since a limit is reached; not at once, for we may be amid a session's read."""
        self.running = False
        self._state = "full"
        self._cancel_timer()
        for watch in tuple(self.watches):
            watch.mute()
        self.log.info(
            "the capture of {what} ends: {limit} is reached", what=self._what(), limit=limit
        )
        self._reactor.callLater(0, self._end, f"{limit} is reached")

    def _end(self, why: str) -> None:
        if self._state == "ended":  # somebody has stopped it meanwhile, or its session has ended
            return
        for watch in tuple(self.watches):
            watch.stop(why)
        self.on_end(self)

    def _lose(self, size: int) -> None:
        self._lost_pieces += 1
        self._lost_bytes += size
        self._untold = Lost(pieces=self._untold.pieces + 1, size=self._untold.size + size)
        self._tell_lost()

    def _tell_lost(self, *, always: bool = False) -> None:
        now = self._reactor.seconds()
        lost = self._lost_pieces + self._writer.lost_pieces
        if lost > self._told_lost and (
            always or now - self._told_at >= TELL_EVERY or not self._told_at
        ):
            self.log.error(
                "the capture of {what} has lost {lost}, as nothing can be written fast enough{why}",
                what=self._what(),
                lost=str(Lost(pieces=lost, size=self._lost_bytes + self._writer.lost_bytes)),
                why=f": {self._writer.problem}" if self._writer.problem else "",
            )
            self._told_at = now or 1e-9
            self._told_lost = lost

    def _told(self, problem: str) -> None:
        """Pass on what the writer says, from its thread."""
        self._reactor.callFromThread(self._say, problem)

    def _say(self, problem: str) -> None:
        if problem:
            self.log.error(
                "the capture of {what} can't be written: {problem}; it is tried again",
                what=self._what(),
                problem=problem,
            )
        else:
            self._tell_lost(always=True)
            self.log.info("the capture of {what} is written again", what=self._what())

    def _what(self) -> str:
        return f"session {self.session}" if self.session else f"listener {self.listener}"
