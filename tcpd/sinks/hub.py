"""All the sinks of the daemon: each event of the bus becomes a record for those that want it.

Rules:
- It subscribes to what some sink wants and to nothing else, so that `bus.wants` stays false.
- An event becomes a record once, however many sinks get it.
- A sink can be added, removed or changed while events come; of one that is changed, the new one
  begins when the old one has written what it had.
"""

from __future__ import annotations

import itertools
import math
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from operator import attrgetter
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from tcpd.event_names import handler_event_name
from tcpd.events import Bus, Event, HandlerEvent, SessionEvent, event_classes
from tcpd.session import RUN
from tcpd.sinks.record import Record, SinkLost, Source
from tcpd.sinks.runner import Runner, SinkStatus
from tcpd.sinks.settings import SinkConfig
from tcpd.sinks.trouble import Trouble

# Seconds between looks at how the sinks are doing.
LOOK_EVERY = 1.0
# A handler may call its events what it likes: for so many names it is kept who gets them.
NAMES_KEPT = 1024

Offer = Callable[[Record], None]


class Sinks:
    """Runs the sinks.

    Events wait from the beginning; they are written from `start` on.

    Args:
        bus: where events come from.
        clock: the reactor's clock.
        configs: the sinks, by name.
    """

    def __init__(self, bus: Bus, clock: IReactorTime, configs: Mapping[str, SinkConfig]) -> None:
        self._bus = bus
        self._source = Source(host=socket.gethostname(), run=RUN)
        self._numbers = itertools.count(1)
        self._latest: Record | None = None
        self._configs: Mapping[str, SinkConfig] = {}
        self._runners: dict[str, Runner] = {}
        self._ending: list[Runner] = []
        self._troubles: dict[Runner, Trouble] = {}
        # What those have come to that have ended while others took their place.
        self._past: dict[str, SinkTotals] = {}
        self._unsubscribe: list[Callable[[], None]] = []
        self._started = False
        self._look = LoopingCall(self.look)
        self._look.clock = clock
        self._clock = clock
        self.prepare(configs).commit()

    def start(self) -> None:
        """Begin to write. Threads are made here, so not before a daemon has forked."""
        self._started = True
        for runner in self._runners.values():
            runner.start()
        self._look_or_not()

    def prepare(self, configs: Mapping[str, SinkConfig]) -> Change:
        """Return the change from the sinks that run to those of another configuration.

        Nothing happens before its `commit`, and nothing can fail there: whatever can be wrong was
        found when the configuration was read, or shows as the sink's own trouble later.
        """
        return Change(self, configs)

    def reopen(self) -> None:
        """Have all sinks open their files anew, each in its own time."""
        for runner in self._runners.values():
            runner.reopen()

    def finish(self, tell: Callable[[], float] = lambda: math.inf) -> None:
        """Have all sinks write what waits, and end; blocks until they have, or their time is up.

        For the very end, when the reactor has stopped and the last sessions have been closed.

        Args:
            tell: called now and then meanwhile; gives in how many seconds to call it again.
        """
        if self._look.running:
            self._look.stop()
        self._route({})
        everyone = [*self._ending, *self._runners.values()]
        for runner in everyone:
            runner.close()
        for runner in everyone:
            while not runner.is_over():
                runner.wait(tell())
            self._troubles[runner].say_end()
        self._ending, self._runners, self._troubles = [], {}, {}

    def status(self) -> list[SinkStatus]:
        """Return how each sink is doing, those that are about to end included."""
        return [runner.status() for runner in (*self._runners.values(), *self._ending)]

    def totals(self) -> dict[str, SinkTotals]:
        """Return what the sinks of each name have come to since tcpd began."""
        totals = dict(self._past)
        for each in self.status():
            totals[each.name] = totals.get(each.name, SinkTotals()).plus(each)
        return totals

    def look(self) -> None:
        """Log what is to be said of sinks in trouble, and let go of those that have ended."""
        now = self._clock.seconds()
        for trouble in self._troubles.values():
            trouble.look(now)
        for runner in [each for each in self._ending if each.is_over()]:
            self._ending.remove(runner)
            past = self._past.get(runner.name, SinkTotals())
            self._past[runner.name] = past.plus(runner.status())
            self._troubles.pop(runner).say_end()
        self._look_or_not()

    def _look_or_not(self) -> None:
        """Look from time to time, as long as there is any sink."""
        wanted = self._started and bool(self._troubles)
        if wanted and not self._look.running:
            self._look.start(LOOK_EVERY, now=False)
        elif not wanted and self._look.running:
            self._look.stop()

    def _take_over(self, configs: Mapping[str, SinkConfig], fresh: dict[str, Runner]) -> None:
        """Run these: `fresh` are new, the others run already."""
        old = self._runners
        self._configs = dict(configs)
        self._runners = {name: fresh.get(name) or old[name] for name in configs}
        self._route(self._runners)
        for name, runner in old.items():
            if self._runners.get(name) is not runner:
                runner.close()
                self._ending.append(runner)
        for name, runner in fresh.items():
            self._troubles[runner] = Trouble(runner)
            if self._started:
                runner.start(after=old.get(name))
        self._look_or_not()

    def make_runner(self, name: str, config: SinkConfig) -> Runner:
        """Return a runner that isn't started yet."""

        def say_lost(lost: int) -> Record:
            return self._record(SinkLost(sink=name, lost=lost))

        return Runner(name, config, say_lost)

    def record_of(self, event: Event) -> Record:
        """Return the record of an event that is passing: the same for all who ask for it then."""
        latest = self._latest
        if latest is None or latest.event is not event:
            latest = self._latest = self._record(event)
        return latest

    def _record(self, event: Event) -> Record:
        return Record(event, time.time_ns(), next(self._numbers), self._source)

    def _route(self, runners: Mapping[str, Runner]) -> None:
        """Subscribe to what these want, and to nothing else."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

        @lru_cache(maxsize=NAMES_KEPT)
        def who_wants(name: str, place: str) -> tuple[Offer, ...]:
            return tuple(r.offer for r in runners.values() if _wants(r.config, name, place))

        def take(event: Any, name: str, place: str) -> None:
            offers = who_wants(name, place)
            if offers:
                record = self.record_of(event)
                for offer in offers:
                    offer(record)

        self._unsubscribe = [
            self._bus.subscribe(cls, _subscriber(cls, take))
            for cls in _wanted(each.config for each in runners.values())
        ]


@dataclass(frozen=True, slots=True)
class SinkTotals:
    """What the sinks of one name have come to; it never gets less, whatever a reload changes."""

    written: int = 0
    lost: int = 0
    failures: int = 0

    def plus(self, status: SinkStatus) -> SinkTotals:
        """Return these with what one more sink has come to."""
        return SinkTotals(
            self.written + status.written,
            self.lost + status.lost,
            self.failures + status.failures,
        )


class Change:
    """The change of all sinks to another configuration, ready to be made.

    Attributes:
        added: the names of those that are new.
        removed: those that go.
        changed: those that go on with another configuration.
    """

    def __init__(self, sinks: Sinks, configs: Mapping[str, SinkConfig]) -> None:
        running = sinks._configs
        self._sinks = sinks
        self._new = configs
        self.added = [name for name in configs if name not in running]
        self.removed = [name for name in running if name not in configs]
        self.changed = [n for n in configs if n in running and configs[n] != running[n]]
        self._fresh = {n: sinks.make_runner(n, configs[n]) for n in (*self.added, *self.changed)}

    def commit(self) -> None:
        """Make the change."""
        self._sinks._take_over(self._new, self._fresh)


def _wanted(configs: Iterable[SinkConfig]) -> Iterator[type[Event]]:
    """Give the classes of the events that any of some sinks may want."""
    patterns = {pattern for config in configs for pattern in config.events}
    for cls in event_classes():
        if any(pattern.matches(cls.event_name) for pattern in patterns):
            yield cls
    # What handlers call theirs isn't known before they come.
    if not all(pattern.is_only_ours for pattern in patterns):
        yield HandlerEvent


def _wants(config: SinkConfig, name: str, place: str) -> bool:
    """Return whether a sink gets an event of this name, about this listener or connector."""
    if place and not any(fnmatchcase(place, pattern) for pattern in config.listeners):
        return False
    return any(pattern.matches(name) for pattern in config.events)


def _subscriber(cls: type[Event], take: Callable[[Any, str, str], None]) -> Callable[[Any], None]:
    """Return what is called with each event of a class."""
    if cls is HandlerEvent:

        def handlers_own(event: HandlerEvent) -> None:
            take(event, handler_event_name(event.name), event.identity.listener)

        return handlers_own
    name = cls.event_name
    if issubclass(cls, SessionEvent):

        def of_session(event: SessionEvent) -> None:
            take(event, name, event.identity.listener)

        return of_session
    fields = cls.__dataclass_fields__
    place = next((each for each in ("listener", "connector") if each in fields), "")
    get = attrgetter(place) if place else lambda event: ""

    def of_place(event: Event) -> None:
        take(event, name, get(event))

    return of_place
