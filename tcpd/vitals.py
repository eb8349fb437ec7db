"""How the process itself fares: since when it runs, how late its loop is, how reloads went.

Loop lag is how much later than due the reactor runs a timer. Whatever holds the loop, a handler
that computes or a disk that doesn't answer, shows in it, for every session waits as long.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime

from tcpd.events import Bus, ConfigurationRefused, ConfigurationReloaded
from tcpd.tally import Histogram

# Seconds between two looks. Twice a second costs nothing, and what holds the loop for long is met.
EVERY = 0.5
# Seconds for which the worst is kept.
RECENT = 60.0
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""The upper bounds of the buckets for loop lag, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReload:
    """How the last reload went."""

    at: float
    """When it was over, in seconds since the epoch."""
    ok: bool
    words: tuple[str, ...]
    """What has changed, or all that was wrong."""


class Vitals:
    """Watches the loop and the reloads.

    Args:
        bus: where reloads are reported.
        clock: the reactor's clock, which has to be monotonic.

    Attributes:
        began: when this began, in seconds since the epoch.
        lag: how late the loop was when it was last looked at, in seconds.
        lags: all that was found since the start.
        reloads: how many have been applied.
        refused_reloads: how many were refused.
        last_reload: how the last one went; None if there was none.
        wrong_tokens: how many the admin side was shown.
    """

    def __init__(self, bus: Bus, clock: IReactorTime) -> None:
        self.began = time.time()
        self.lag = 0.0
        self.lags = Histogram(LAGS)
        self.reloads = 0
        self.refused_reloads = 0
        self.last_reload: LastReload | None = None
        self.wrong_tokens = 0
        self._clock = clock
        self._since = clock.seconds()
        self._due = 0.0
        self._call: Any = None
        # The highest of the last minute: each is lower than those before it.
        self._peaks: deque[tuple[float, float]] = deque()
        self._unsubscribe: list[Callable[[], None]] = [
            bus.subscribe(ConfigurationReloaded, self._reloaded),
            bus.subscribe(ConfigurationRefused, self._refused),
        ]

    def start(self) -> None:
        """Begin to look at the loop."""
        if self._call is None:
            self._again()

    def stop(self) -> None:
        """Look no more."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    @property
    def uptime(self) -> float:
        """Seconds since the beginning."""
        return self._clock.seconds() - self._since

    @property
    def lag_max(self) -> float:
        """How late the loop was at the worst in the last minute, in seconds."""
        self._forget_old()
        return self._peaks[0][1] if self._peaks else 0.0

    def _again(self) -> None:
        self._due = self._clock.seconds() + EVERY
        self._call = self._clock.callLater(EVERY, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        self.lag = lag = max(0.0, now - self._due)
        self.lags.add(lag)
        peaks = self._peaks
        while peaks and peaks[-1][1] <= lag:
            peaks.pop()
        peaks.append((now, lag))
        self._forget_old()
        self._again()

    def _forget_old(self) -> None:
        oldest = self._clock.seconds() - RECENT
        while self._peaks and self._peaks[0][0] < oldest:
            self._peaks.popleft()

    def _reloaded(self, event: ConfigurationReloaded) -> None:
        self.reloads += 1
        self.last_reload = LastReload(at=time.time(), ok=True, words=event.changes)

    def _refused(self, event: ConfigurationRefused) -> None:
        self.refused_reloads += 1
        self.last_reload = LastReload(at=time.time(), ok=False, words=event.errors)
