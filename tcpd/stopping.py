"""How the daemon stops, whoever asks for it: a signal, `reactor.stop()`, or `stopService`.

Rules:
- It accepts and dials no more, then sessions finish (`tcpd.drain`), then everything else stops.
- The service manager hears how far it is, in every phase, about once a second, and its watchdog is
  fed until the end: while the reactor runs by the daemon, and after that, when files are still
  written, from here.
- Nothing that hangs can make it last much longer than the drain may.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sized
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import ReactorNotRunning

from tcpd.drain import LAST, TICK, Drain
from tcpd.events import Bus
from tcpd.net.lingering import LONGEST, lingering_on
from tcpd.sd_notify import ServiceManager
from tcpd.serving import Serving

# Seconds that each word of progress allows the service manager to wait for the next one, so that a
# long drain is not cut by its own limit for a stop (EXTEND_TIMEOUT_USEC in sd_notify(3)).
EXTENSION = 10

# What it does, where there is nothing more to tell.
AT_ONCE = "stopping"


class House(Protocol):
    """What is stopped: the daemon."""

    bus: Bus

    @property
    def drain_limit(self) -> float:
        """How many seconds sessions may take to finish."""

    def servings(self) -> Iterable[Serving]:
        """Give what makes sessions, as long as it may have some."""

    def close_doors(self) -> list[Callable[[], Any]]:
        """Return what has to be called so that nobody comes in, and nothing is dialled."""

    def stop_the_rest(self) -> Deferred[Any]:
        """Stop all that still runs."""


class Stopping:
    """Stops the daemon, and with it the reactor if a signal asks for it.

    Args:
        house: the daemon.
        reactor: the reactor.
        manager: the service manager that wants to hear of us.
    """

    def __init__(self, house: House, reactor: Any, manager: ServiceManager) -> None:
        self._house = house
        self._reactor = reactor
        self._manager = manager
        self._quick = False
        self._asked = False
        self._drain: Drain | None = None
        self._last_wait: Deferred[None] | None = None
        self._linger_call: Any = None
        self._waiting: list[Deferred[None]] = []

    @property
    def drains(self) -> bool:
        """Whether sessions are being ended, or given time to finish."""
        return self._drain is not None

    def terminate(self) -> None:
        """Stop the reactor, and us with it, when sessions have finished; asked again, at once."""
        if self._asked or self._drain is not None:
            self.quit()
        else:
            self._stop_reactor()

    def quit(self) -> None:
        """Stop the reactor, and us with it, without time for sessions to finish."""
        self._quick = True
        if self._drain is not None:
            self._drain.hurry()
            self._tell(AT_ONCE)
        if self._last_wait is not None:
            self._last_wait.cancel()
        self._stop_reactor()

    def _stop_reactor(self) -> None:
        self._asked = True
        try:
            self._reactor.stop()
        except ReactorNotRunning:  # somebody was first
            pass

    def stop(self) -> Deferred[None]:
        """Stop the daemon, once.

        Returns:
            A Deferred that fires when that is done.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if self._drain is None:
            self._begin()
        return done

    def _begin(self) -> None:
        limit = 0.0 if self._quick else self._house.drain_limit
        deadline = self._reactor.seconds() + limit
        servings = tuple(self._house.servings())
        drain = Drain(self._reactor, self._house.bus, servings, limit, self._tell_progress)
        self._drain = drain
        self._manager.notify(STOPPING="1", STATUS=_progress(drain.left, limit))
        closing = [maybeDeferred(close) for close in self._house.close_doors()]
        drain.start()
        closed: Deferred[Any] = DeferredList(closing, consumeErrors=True)
        drain.over.addCallback(lambda _: _within(self._reactor, LAST, closed))
        drain.over.addCallback(lambda _: self._linger(deadline))
        drain.over.addCallback(lambda _: _within(self._reactor, LAST, self._house.stop_the_rest()))
        drain.over.addCallback(self._finished)

    def _tell_progress(self, left: int, seconds: float) -> None:
        self._tell(_progress(left, seconds))

    def _tell(self, status: str, **more: str) -> None:
        """Say how far it is, and ask for the time until it is said again."""
        extension = str(EXTENSION * 1_000_000)
        self._manager.notify(STATUS=status, EXTEND_TIMEOUT_USEC=extension, **more)

    def _linger(self, deadline: float) -> Deferred[None]:
        """Wait for what has been closed and is still on its way to its reader, if there is time."""
        now = self._reactor.seconds()
        left = 0.0 if self._quick else min(LONGEST, max(0.0, deadline - now))
        lingering = lingering_on(self._reactor)
        self._last_wait = _within(self._reactor, left, lingering.finished())
        if left and not self._last_wait.called:
            self._tell_lingering(lingering, now + left)
        return self._last_wait.addCallback(self._lingered)

    def _tell_lingering(self, lingering: Sized, deadline: float) -> None:
        seconds = deadline - self._reactor.seconds()
        self._tell(_progress(len(lingering), seconds, "reader", "to take the rest"))
        self._linger_call = self._reactor.callLater(TICK, self._tell_lingering, lingering, deadline)

    def _lingered(self, _: None) -> None:
        self._last_wait = None
        if self._linger_call is not None:
            self._linger_call.cancel()
            self._linger_call = None
            self._tell(AT_ONCE)

    def tell_writing(self, what: str) -> float:
        """Say that something is still being written, when the reactor turns no more.

        Args:
            what: what is written.

        Returns:
            In how many seconds, at most, to say it again.
        """
        interval = self._manager.watchdog_interval
        fed = {} if interval is None else {"WATCHDOG": "1"}
        self._tell(f"stopping: writes what waits for {what}", **fed)
        return TICK if interval is None else min(TICK, interval)

    def _finished(self, result: object) -> None:
        self._drain = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)


def _progress(left: int, seconds: float, what: str = "session", how: str = "left") -> str:
    """Return a line for `systemctl status` that says how far the stop is."""
    if not left or seconds <= 0:
        return AT_ONCE
    return f"draining: {left} {what}{'s' if left > 1 else ''} {how}, {math.ceil(seconds)} s"


def _within(clock: Any, seconds: float, awaited: Deferred[Any]) -> Deferred[None]:
    """Return a Deferred that fires when another does, when the time is over, or if cancelled."""

    def fire(_: object = None) -> None:
        if call.active():
            call.cancel()
        if not done.called:
            done.callback(None)

    done: Deferred[None] = Deferred(fire)
    call = clock.callLater(seconds, fire)
    awaited.addBoth(fire)
    return done
