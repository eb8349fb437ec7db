"""When a handler is started and stopped: with its first use, and after its last.

Ports that are open use it, and so do sessions: a handler that others have replaced, or whose ports
are closed, is stopped when the last of its sessions has ended, and not before.
"""

from __future__ import annotations

import traceback
from typing import Any, ClassVar

from twisted.logger import Logger

from tcpd.errors import StartError
from tcpd.escape import escape_text


class HandlerLife:
    """How long one handler is in use.

    Args:
        factory: the handler; its `doStart` and `doStop` are called, if it has them, as Twisted's
            ports do.
        name: what logs call it.
    """

    log: ClassVar[Logger] = Logger()
    __slots__ = ("_factory", "_name", "_uses")

    def __init__(self, factory: Any, name: str) -> None:
        self._factory = factory
        self._name = name
        self._uses = 0

    def begin_use(self) -> None:
        """Note one use more; with the first the handler is started.

        Raises:
            StartError: it failed at that; the text says how and where.
        """
        if self._uses == 0:
            self._start()
        self._uses += 1

    def end_use(self) -> None:
        """Note one use less; after the last the handler is stopped.

        What it raises is logged, and changes nothing: everything else has to close, too.
        """
        self._uses -= 1
        if self._uses == 0:
            self._stop()

    def _start(self) -> None:
        start = getattr(self._factory, "doStart", None)
        if start is None:
            return
        try:
            start()
        except BaseException as error:  # KeyboardInterrupt and the like, too: it is anybody's code
            problem = f"the handler {self._name} failed to start: {_told(error)}"
            raise StartError(problem) from error

    def _stop(self) -> None:
        stop = getattr(self._factory, "doStop", None)
        if stop is None:
            return
        try:
            stop()
        except BaseException:
            self.log.failure("the handler {handler} failed to stop", handler=self._name)


def _told(error: BaseException) -> str:
    """Return an error in one line, with the file and line that it comes from."""
    text = escape_text(f"{type(error).__name__}: {error}", limit=300)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({frame.filename}:{frame.lineno})"
