"""The process's signals, each answered in a turn of the reactor's own loop.

Rules:
- A signal may come amid anything, so all that its handler does is to have the reactor call the
  answer soon. It wakes a loop that sleeps, and one that doesn't run yet answers when it does.
- One that comes again before it was answered is answered once, but for TERM: there the second may
  mean more than the first.
- The reactor brings handlers of its own, which end the process by the signal: it installs them when
  it starts. Ours come before, so that a signal during the start is not lost, and again after. What
  comes in between waits.
- Before that, while the configuration is read, a HUP waits too (`begin`): it would end the process,
  and what it asks for may come too late for the file that is being read. A Ctrl-C ends the process
  at once: as a KeyboardInterrupt it would come up in anybody's code, and be taken for its failure.
- Once the reactor has stopped they are ignored: Python takes our handlers away before the process
  is over, and one signal more would still end it by that signal.
- A Ctrl-C that somebody else wants, as a debugger does, and a SIGINT or SIGQUIT that this process
  was started to ignore, as a shell does for what runs in the background, stay as they are.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

# Those that a terminal sends, of which somebody else may have made something.
_OF_TERMINALS = (signal.SIGINT, signal.SIGQUIT)


def begin() -> None:
    """Have a HUP wait until one that heeds it runs, and a Ctrl-C end the process until then.

    To be called in the main thread, by who will call `Signals.heed`.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Signals:
    """Answers signals, from `heed` on.

    Args:
        reactor: the reactor.
        answers: what to call for each signal; it must not raise.

    Attributes:
        heeded: the signals that are answered.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, answers: Mapping[signal.Signals, Callable[[], object]]
    ) -> None:
        self._reactor = reactor
        self._answers = dict(answers)
        self.heeded: list[signal.Signals] = []
        self._waiting: set[int] = set()

    def heed(self) -> None:
        """Answer signals from now on; to be called in the main thread, once or more often."""
        if self.heeded:
            return
        self.heeded = [number for number in self._answers if self._is_free(number)]
        self._install()
        self._reactor.addSystemEventTrigger("before", "startup", self._hold)
        self._reactor.callWhenRunning(self._install_again)
        self._reactor.addSystemEventTrigger("after", "shutdown", self._ignore)

    def _is_free(self, number: signal.Signals) -> bool:
        free = (signal.SIG_DFL, signal.default_int_handler)
        return number not in _OF_TERMINALS or signal.getsignal(number) in free

    def _install(self) -> None:
        for number in self.heeded:
            signal.signal(number, self._came)

    def _hold(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self.heeded)

    def _install_again(self) -> None:
        for number in self.heeded:
            if number not in _OF_TERMINALS or self._is_ours_or_the_reactors(number):
                signal.signal(number, self._came)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.heeded)

    def _ignore(self) -> None:
        for number in self.heeded:
            signal.signal(number, signal.SIG_IGN)

    def _is_ours_or_the_reactors(self, number: signal.Signals) -> bool:
        owner = getattr(signal.getsignal(number), "__self__", None)
        return owner is self or owner is self._reactor

    def _came(self, number: int, frame: object) -> None:
        if number not in self._waiting:
            if number != signal.SIGTERM:
                self._waiting.add(number)
            self._reactor.callFromThread(self._answer, signal.Signals(number))

    def _answer(self, number: signal.Signals) -> None:
        self._waiting.discard(number)
        self.log.info("received {signal}", signal=number.name)
        self._answers[number]()
