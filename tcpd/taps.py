"""Copies of a session's bytes as they pass, for as long as somebody wants them.

    remove = add_tap(session.transport, watch)     # watch("in", b"...") from now on
    ...
    remove()                                       # and nothing is copied any more

Rules:
- A session that nobody watches has no tap at all: `transport.tap` is None, which costs it nothing.
- Several may watch one session, and each comes and goes by itself. One that raises loses its own
  copy; the others and the session go on.
- Whatever stood in `transport.tap` before stays, and stays first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

Tap = Callable[[str, bytes], object]
"""Called with `in` or `out`, and the bytes; in the session's own time, so it has to be quick."""


def add_tap(transport: Any, tap: Tap) -> Callable[[], None] | None:
    """Have a copy of all bytes that pass from now on.

    Args:
        transport: a session's transport.
        tap: is called with each piece, as the handler reads it or the kernel takes it; with TLS,
            in the clear. It is called no more once the session has ended.

    Returns:
        A function that ends it, which may be called at any time, more than once, and after the
        session's end. None if the transport can't be tapped: it is another package's.
    """
    if not hasattr(transport, "tap"):
        return None
    taps = transport.tap
    if not isinstance(taps, _Taps):
        taps = _Taps(transport, taps)
        transport.tap = taps
    return taps.add(tap)


class _Taps:
    """What stands in `transport.tap` while anybody watches."""

    log = Logger()

    def __init__(self, transport: Any, first: Tap | None) -> None:
        self._transport = transport
        self._first = first
        # A new tuple each time, so that a tap may come or go while bytes are on their way.
        self._taps: tuple[_One, ...] = ()

    def __call__(self, direction: str, data: bytes) -> None:
        if self._first is not None:
            self._call(self._first, direction, data)
        for each in self._taps:
            if each.tap is not None:
                self._call(each.tap, direction, data)

    def add(self, tap: Tap) -> Callable[[], None]:
        one = _One(tap)
        self._taps = (*self._taps, one)

        def remove() -> None:
            one.tap = None
            self._settle()

        return remove

    def _call(self, tap: Tap, direction: str, data: bytes) -> None:
        try:
            tap(direction, data)
        except Exception:
            self.log.failure("A tap of {transport} failed and is off", transport=self._transport)
            if tap is self._first:
                self._first = None
            for each in self._taps:
                if each.tap is tap:
                    each.tap = None
            self._settle()

    def _settle(self) -> None:
        """Let go of what is over, and of the transport once nobody is left."""
        self._taps = tuple(each for each in self._taps if each.tap is not None)
        if not self._taps and self._transport.tap is self:
            self._transport.tap = self._first


class _One:
    """Somebody's tap, until it ends; the same callable may be there twice."""

    __slots__ = ("tap",)

    def __init__(self, tap: Tap) -> None:
        self.tap: Tap | None = tap
