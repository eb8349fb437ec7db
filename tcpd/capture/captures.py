"""All captures of the daemon: those that its configuration asks for, and those of an operator.

    captures.configure(configs)                       # of all sessions of some listeners, to come
    capture = captures.start(session)                 # of one session, from now on
    capture = captures.start("echo", format="jsonl")  # of all sessions of a listener, old and new
    captures.stop("echo")

Rules:
- While nothing is captured, nothing here is called for any session.
- A session stays in the capture that it has begun in, whatever a reload changes.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

from tcpd.capture.capture import Capture, CaptureStatus
from tcpd.capture.settings import CaptureConfig, Format, LiveCaptureConfig, file_name
from tcpd.capture.watch import Watch
from tcpd.errors import TcpdError, did_you_mean
from tcpd.escape import escape_text
from tcpd.events import Bus
from tcpd.session import Session

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class CaptureError(TcpdError):
    """A capture can't be started or stopped; the text says why."""


class CaptureWishError(CaptureError):
    """What was asked for is no format, or no name of a file: it could be had at no time."""


@dataclass(frozen=True, slots=True)
class CaptureTotals:
    """What the captures of one listener have come to; it never gets less, but for `failing`.

    Attributes:
        written: bytes in files.
        lost: bytes of sessions that are in none.
        failing: whether one of them can't write now.
    """

    written: int = 0
    lost: int = 0
    failing: bool = False

    def plus(self, status: CaptureStatus) -> CaptureTotals:
        """Return these with what one more capture has come to."""
        return CaptureTotals(
            self.written + status.written,
            self.lost + status.lost_bytes,
            self.failing or bool(status.problem),
        )


class Captures:
    """Runs the captures.

    Args:
        bus: where sessions begin and end.
        reactor: the reactor.
        sessions_of: returns the open sessions of a listener or connector.
    """

    def __init__(
        self, bus: Bus, reactor: Any, sessions_of: Callable[[str], Iterable[Session]]
    ) -> None:
        self._bus = bus
        self._reactor = reactor
        self._sessions_of = sessions_of
        self._live = LiveCaptureConfig()
        # Of all sessions of a listener, as configured; and what an operator has asked for: of a
        # listener by its name, of a session by its number.
        self._configured: dict[str, Capture] = {}
        self._started: dict[str | int, Capture] = {}
        # Configured once, and still with sessions; and all that have yet to write something.
        self._retired: list[Capture] = []
        self._ending: list[Capture] = []
        # What those have come to that are over.
        self._past: dict[str, CaptureTotals] = {}
        self._watches: dict[int, list[Watch]] = {}
        self._is_hooked = False

    def configure(
        self, configs: Mapping[str, CaptureConfig], live: LiveCaptureConfig | None = None
    ) -> None:
        """Capture the sessions to come of these listeners and connectors, and of no others.

        Nothing here fails. Whatever can be wrong was found when the configuration was read, or
        shows later in the log.

        Args:
            configs: by their names.
            live: what holds for the captures that an operator starts.
        """
        self._live = live or self._live
        old, self._configured = self._configured, {}
        for name, config in configs.items():
            running = old.get(name)
            if running is not None and running.config == config:
                self._configured[name] = running
                continue
            # To the same files nobody else may write.
            known = [each for each in (running, *self._retired) if each is not None]
            same = next((each for each in known if _writes_as(each, name, config)), None)
            if same is None:
                same = Capture(self._reactor, config, name, listener=name)
            elif same in self._retired:
                self._retired.remove(same)
            same.change(config)
            self._configured[name] = same
        for name, capture in old.items():
            if self._configured.get(name) is not capture:
                self._retired.append(capture)
        self._settle()

    def start(self, what: Session | str, *, format: str = "pcapng", file: str = "") -> Capture:
        """Capture a session, or all of a listener, those that are open included, from now on.

        Args:
            what: the session, or the name of a listener or connector.
            format: `pcapng`, `hexdump` or `jsonl`.
            file: the name of the file, without a directory; by default of what it is, and when.

        Raises:
            CaptureWishError: there is no such format, or the file's name isn't one.
            CaptureError: it can't be done, or is being done already.
        """
        known = _known_format(format)
        stem = _stem_of(file, known) if file else ""
        listener = what if isinstance(what, str) else what.listener
        if _key(what) in self._started:
            raise CaptureError(f"{_shown(what)} is being captured already")
        config = self._live_config(listener, known)
        if not stem:
            at = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            stem = f"{listener}-{at}" if isinstance(what, str) else f"{listener}-{what.id}-{at}"
        session = "" if isinstance(what, str) else what.id
        capture = Capture(
            self._reactor, config, stem, listener=listener, session=session, kind="live"
        )
        try:
            capture.make_file()
        except OSError as error:
            capture.stop()
            raise CaptureError(_why(error, capture.status().path)) from None
        capture.on_end = self._over
        self._started[_key(what)] = capture
        if isinstance(what, str):
            for each in self._sessions_of(what):
                self._watch(capture, each, amid=True)
        elif not self._watch(capture, what, amid=True):
            self._over(capture)
            raise CaptureError(f"{_shown(what)} can't be captured: its transport isn't tcpd's")
        self._settle()
        return capture

    def stop(self, what: Session | str) -> CaptureStatus:
        """End what `start` has begun; returns how it did.

        Args:
            what: as it was given there. A listener or connector may be gone meanwhile: its sessions
                go on being captured.

        Raises:
            CaptureError: there is nothing to stop.
        """
        capture = self._started.get(_key(what))
        if capture is None:
            raise CaptureError(self._why_none_stops(what))
        self._over(capture)
        return capture.status()

    def status(self) -> list[CaptureStatus]:
        """Return how each is doing."""
        return [each.status() for each in self._all()]

    def _why_none_stops(self, what: Session | str) -> str:
        """Return why there is no capture of just this to stop; others may have it among theirs."""
        shown = _shown(what)
        if not isinstance(what, str):
            captures = self._running_of(what)
            live = next((each for each in captures if each.kind == "live"), None)
            if live is not None:
                name = escape_text(live.listener, limit=80)
                hint = f"'tcpdctl capture stop --listener {name}' ends that for all of them"
                return f"{shown} is captured as one of listener {name}'s; {hint}"
            if captures:
                whose = _shown(captures[0].listener)
                return f"{shown} is captured until it ends, as {whose} was configured when it began"
        elif what in self._configured:
            hint = "take it out of there, and reload"
            return f"{shown} is captured as it is configured; {hint}"
        elif any(each.listener == what for each in self._retired):
            return f"{shown} isn't captured any more, but for sessions of before, until they end"
        return f"no capture of {shown} runs; one that was started may have reached a limit"

    def totals(self) -> dict[str, CaptureTotals]:
        """Return what the captures of each listener have come to since tcpd began."""
        totals = dict(self._past)
        for capture in self._all():
            name = capture.listener
            totals[name] = totals.get(name, CaptureTotals()).plus(capture.status())
        return totals

    def of(self, what: Session | str) -> CaptureStatus | None:
        """Return how the capture of a session or listener is doing; None if it has none.

        A session has the listener's, too, unless that has had all that it takes of a session. If
        there are two, it is the one that was started.
        """
        if isinstance(what, str):
            capture = self._started.get(what) or self._configured.get(what)
            return capture.status() if capture is not None else None
        captures = self._running_of(what)
        return captures[-1].status() if captures else None

    def _running_of(self, session: Session) -> list[Capture]:
        """Return those that take what passes in a session, the latest last."""
        watches = self._watches.get(session.number, ())
        return [each.capture for each in watches if each in each.capture.watches]

    def reopen(self) -> None:
        """Have those that are configured let go of their files, and begin new ones."""
        for capture in (*self._configured.values(), *self._retired):
            capture.reopen()

    def finish(self, tell: Callable[[], float] = lambda: math.inf) -> None:
        """End all, and write what waits; blocks for a few seconds at most.

        Args:
            tell: called now and then meanwhile; gives in how many seconds to call it again.
        """
        everyone = self._all()
        for capture in everyone:
            capture.stop("tcpd stops")
        for capture in everyone:
            capture.wait(tell)
        self._configured.clear()
        self._started.clear()
        self._watches.clear()
        self._retired, self._ending = [], []
        self._settle()

    # -- sessions ----------------------------------------------------------------------------

    def _began(self, session: Session) -> None:
        name = session.origin.name
        for capture in (self._configured.get(name), self._started.get(name)):
            if capture is not None:
                self._watch(capture, session)

    def _ended(self, session: Session) -> None:
        for watch in self._watches.pop(session.number, ()):
            watch.ended()
        alone = self._started.get(session.number)
        if alone is not None:
            self._over(alone)
        if self._retired:
            self._settle()

    def _watch(self, capture: Capture, session: Session, *, amid: bool = False) -> bool:
        watch = capture.watch(session, amid=amid)
        if watch is not None:
            self._watches.setdefault(session.number, []).append(watch)
        return watch is not None

    # -- ends --------------------------------------------------------------------------------

    def _over(self, capture: Capture) -> None:
        """End one that was started, or let it be that has ended."""
        for key in [key for key, each in self._started.items() if each is capture]:
            del self._started[key]
        self._forget(capture)
        capture.stop()
        self._ending.append(capture)
        self._settle()

    def _forget(self, capture: Capture) -> None:
        for number, watches in list(self._watches.items()):
            left = [each for each in watches if each.capture is not capture]
            if left:
                self._watches[number] = left
            else:
                del self._watches[number]

    def _settle(self) -> None:
        """End those that nobody needs, and ask to hear of sessions only if somebody has to."""
        for capture in [each for each in self._retired if not each.watches]:
            self._retired.remove(capture)
            capture.stop()
            self._ending.append(capture)
        for capture in [each for each in self._ending if each.is_over]:
            self._ending.remove(capture)
            past = self._past.get(capture.listener, CaptureTotals()).plus(capture.status())
            self._past[capture.listener] = replace(past, failing=False)
        wanted = bool(self._configured or self._started or self._watches)
        if wanted == self._is_hooked:
            return
        self._is_hooked = wanted
        bus = self._bus
        if wanted:
            bus.at_begins = [*bus.at_begins, self._began]
            bus.at_ends = [*bus.at_ends, self._ended]
        else:  # new lists, since one of them may be being gone through
            bus.at_begins = [each for each in bus.at_begins if each != self._began]
            bus.at_ends = [each for each in bus.at_ends if each != self._ended]

    def _all(self) -> list[Capture]:
        return [
            *self._configured.values(),
            *self._started.values(),
            *self._retired,
            *self._ending,
        ]

    def _live_config(self, listener: str, format_: Format) -> CaptureConfig:
        path = self._live.path
        if path is None and listener in self._configured:
            path = self._configured[listener].config.path
        if path is None:
            raise CaptureError("no directory is configured for captures; set 'path' in [capture]")
        live = self._live
        return CaptureConfig(
            path=path, format=format_, max_size=live.max_size, max_time=live.max_time
        )


def _known_format(name: str) -> Format:
    formats: tuple[Format, ...] = get_args(Format)
    known = next((each for each in formats if each == name), None)
    if known is None:
        hint = did_you_mean(name, formats) or f"there are {', '.join(formats)}"
        raise CaptureWishError(f"there is no format '{escape_text(name, 40)}'; {hint}")
    return known


def _stem_of(file: str, format_: Format) -> str:
    """Return a file's name without what the format adds."""
    stem = file.removesuffix(file_name("", format_))
    if not _FILE.fullmatch(file) or not stem:
        hint = "a name has up to 100 of the characters A-Z a-z 0-9 _ . -, and no directory"
        raise CaptureWishError(f"'{escape_text(file, 100)}' isn't a file's name; {hint}")
    return stem


def _writes_as(capture: Capture, name: str, config: CaptureConfig) -> bool:
    """Return whether a capture writes to the files that another configuration asks for."""
    mine = capture.config
    return (capture.listener, mine.path, mine.format, mine.files) == (
        name, config.path, config.format, config.files,
    ) and capture.running  # fmt: skip


def _key(what: Session | str) -> str | int:
    return what if isinstance(what, str) else what.number


def _shown(what: Session | str) -> str:
    return (
        f"listener {escape_text(what, limit=80)}" if isinstance(what, str) else f"session {what.id}"
    )


def _why(error: OSError, path: str) -> str:
    if error.errno == errno.EEXIST:
        return f"{path} is there already; choose another name"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return f"{path}: its directory isn't one, or is a symbolic link"
    return f"{path} can't be made: {error.strerror}"
