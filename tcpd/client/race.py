"""Attempts that start one after another until one succeeds (RFC 8305, "happy eyeballs")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")

STAGGER = 0.25
"""Seconds between two starts, RFC 8305 section 5."""


class Race(Generic[T]):
    """Attempts that start one after another until one succeeds; the others are then cancelled.

    Args:
        reactor: measures the time between two starts.
        attempts: each starts when it is called.
        stagger: seconds between two starts; after a failure the next starts at once.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        attempts: Sequence[Callable[[], Deferred[T]]],
        stagger: float = STAGGER,
    ) -> None:
        self._reactor = reactor
        self._waiting = list(attempts)
        self._stagger = stagger
        self._running: list[Deferred[T]] = []
        self._timer: IDelayedCall | None = None
        self._errors: list[BaseException] = []
        self._over = False
        self.result: Deferred[T] = Deferred(lambda _: self._end())

    def start(self) -> Deferred[T]:
        """Start the first; the result is the winner's, or fails with an `ExceptionGroup` of all."""
        self._next()
        return self.result

    def _next(self) -> None:
        self._stop_timer()
        if not self._waiting:
            return
        attempt = self._waiting.pop(0)()
        self._running.append(attempt)
        if self._waiting:
            self._timer = self._reactor.callLater(self._stagger, self._next)
        attempt.addCallbacks(self._won, self._failed, (attempt,), {}, (attempt,), {})

    def _won(self, value: T, attempt: Deferred[T]) -> None:
        self._running.remove(attempt)
        if not self._over:
            self._end()
            self.result.callback(value)

    def _failed(self, failure: Failure, attempt: Deferred[T]) -> None:
        self._running.remove(attempt)
        if self._over:
            return
        self._errors.append(cast(BaseException, failure.value))
        if self._waiting:
            self._next()
        elif not self._running:
            self._over = True
            self.result.errback(BaseExceptionGroup("connecting", self._errors))

    def _end(self) -> None:
        self._over = True
        self._stop_timer()
        for attempt in list(self._running):
            attempt.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
