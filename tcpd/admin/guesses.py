"""Wrong tokens: they are counted, told of in the log, and answered only so fast.

Rules:
- A token is compared before anything else, so who has the right one is let in whatever others do.
- The log has one line at once and then one in `SILENCE` seconds at most, with how many there were
  and who sent the last of them.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from tcpd.admin.answers import Problem
from tcpd.admin.auth import Peer
from tcpd.admission.rates import Rates
from tcpd.vitals import Vitals

# Wrong tokens in a second that hear that they are wrong, also at once; the others are too many.
RATE = 10
# Seconds between two lines in the log.
SILENCE = 10.0
# Whose the bucket is: who guesses has as many addresses as he likes.
_EVERYBODY = 0


class Guesses:
    """Heeds wrong tokens.

    Args:
        clock: the reactor.
        vitals: where they are counted.
    """

    log = Logger()

    def __init__(self, clock: Any, vitals: Vitals) -> None:
        self._clock = clock
        self._vitals = vitals
        self._rate = Rates(RATE, RATE, clock.seconds())
        self._unsaid = 0
        self._last = ""
        self._call: Any = None

    def wrong(self, peer: Peer, problem: Problem) -> Problem:
        """Take note of a wrong token, and return what is to be answered.

        Args:
            peer: who has sent it.
            problem: what would be answered if it were the only one.
        """
        self._vitals.wrong_tokens += 1
        self._unsaid += 1
        self._last = peer.name
        if self._call is None:
            self._say()
        if self._rate.take(_EVERYBODY, self._clock.seconds()):
            return problem
        hint = "wait a second, and see what 'token_file' names; the right token is always let in"
        headers = {b"Retry-After": b"1", b"Connection": b"close"}
        return Problem(429, "too many wrong tokens, of which this is one", hint, headers)

    def stop(self) -> None:
        """Say what hasn't been said."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
            self._tell()

    def _say(self) -> None:
        self._call = None
        if self._tell():
            self._call = self._clock.callLater(SILENCE, self._say)

    def _tell(self) -> bool:
        """Say how many there were since the last time; gives whether there were any."""
        count, self._unsaid = self._unsaid, 0
        if count == 1:
            self.log.warn("admin: {peer} has sent a wrong token", peer=self._last)
        elif count:
            text = "admin: {count} wrong tokens within {seconds:g} seconds, the last from {peer}"
            self.log.warn(text, count=count, seconds=SILENCE, peer=self._last)
        return count > 0
