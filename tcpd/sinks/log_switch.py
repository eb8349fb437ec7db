"""The process's log, which can become another while everybody goes on writing to it.

What twistd is given once, at the start, is this; where lines go, in what form and from which level
on, may then change with each reload.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from tcpd.sinks.log_output import LogOutput, choose_log_output, with_level

Form = Literal["text", "json"]


@implementer(ILogObserver)
class LogSwitch:
    """Writes log events as it was last told to.

    Args:
        environ: the environment, which says whether journald reads our standard output.
        default: the file if the configuration names none; None for standard output.
        form: how lines look.
        file: the file to append to.
        level: the least important events that are written, `debug` to `critical`.
        owner: the user and group that a new file is given to; see `choose_log_output`.

    Attributes:
        output: where lines go now.

    Raises:
        TcpdError: the file can't be opened.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        default: Path | None = None,
        *,
        form: Form = "text",
        file: Path | None = None,
        level: str = "info",
        owner: tuple[int, int] | None = None,
    ) -> None:
        self._environ = environ
        self._default = default
        self._owner = owner
        self._is = (form, file)
        self._level = level
        self.output = self._new(form, file)
        self._observer = with_level(self.output, level)

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        self._observer(event)

    def _new(self, form: Form, file: Path | None) -> LogOutput:
        # Once the process is its owner, what it makes is its own.
        owner = self._owner if os.geteuid() == 0 else None
        return choose_log_output(form, file or self._default, self._environ, owner)

    def open(self, form: Form, file: Path | None) -> LogOutput:
        """Return what writes in a form to a file: what does so now, or another, ready to be used.

        Raises:
            TcpdError: the file can't be opened.
        """
        return self.output if self._is == (form, file) else self._new(form, file)

    def switch(self, output: LogOutput, form: Form, file: Path | None, level: str) -> None:
        """Write to an output from now on, and close the one before if it is another."""
        old, self.output = self.output, output
        if old is output and level == self._level:
            return
        self._is, self._level = (form, file), level
        self._observer = with_level(output, level)
        if old is not output:
            old.close()

    def reopen(self) -> None:
        """Open the file anew, after something has moved it away; keep the old one if that fails.

        Raises:
            TcpdError: it can't be opened.
        """
        self.output.reopen()
