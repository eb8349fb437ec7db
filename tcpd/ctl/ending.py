"""How tcpdctl ends: the exit statuses that scripts can rely on, and the error that carries one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tcpd.errors import TcpdError

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
UNKNOWN = 4
BAD_CONFIG = 78  # EX_CONFIG of sysexits(3), as twistd tcpd has it
INTERRUPTED = 130  # 128 and the signal's number, as shells have it
CUT_OFF = 141

STATUSES = {
    OK: "done",
    FAILED: "the daemon refused, or it failed",
    USAGE: "a wrong command line",
    UNREACHABLE: "no daemon could be reached",
    UNKNOWN: "there is no such session or listener",
    BAD_CONFIG: "the configuration is wrong (check, reload)",
    INTERRUPTED: "Ctrl-C; in top and tail that is 0",
    CUT_OFF: "who read its output has gone, as head does",
}


class CtlError(TcpdError):
    """What ends a command.

    Args:
        status: the exit status.
        problem: what is wrong; anything a peer may have said in it is escaped when it's shown.
        hint: what would be right, or nothing.
        errors: each mistake with its place, where there may be several: in a configuration.
    """

    def __init__(
        self, status: int, problem: str, hint: str = "", errors: Sequence[str] = ()
    ) -> None:
        super().__init__(status, problem, hint)
        self.status = status
        self.problem = problem
        self.hint = hint
        self.errors = errors

    @property
    def view(self) -> Mapping[str, Any]:
        """The error as --json prints it."""
        view = {"error": self.problem, "hint": self.hint, "status": self.status}
        return view | ({"errors": list(self.errors)} if self.errors else {})

    def __str__(self) -> str:
        return f"{self.problem}; {self.hint}" if self.hint else self.problem
