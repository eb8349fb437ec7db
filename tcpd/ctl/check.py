"""`tcpdctl check FILE`: what `twistd tcpd --config FILE --check-config` does, in this process."""

from __future__ import annotations

import contextlib
import io
from argparse import Namespace

from tcpd.ctl.commands import say_json
from tcpd.ctl.ending import FAILED, OK, CtlError


def check(given: Namespace) -> int:
    """Check a configuration; prints ok, or all that is wrong on standard error.

    Raises:
        CtlError: it is wrong, and JSON is wanted.
    """
    out, err = io.StringIO(), io.StringIO()
    quiet = contextlib.ExitStack()
    if given.json:
        quiet.enter_context(contextlib.redirect_stdout(out))
        quiet.enter_context(contextlib.redirect_stderr(err))
    with quiet:
        status = _check(str(given.file))
    if given.json:
        if status != OK:
            errors = [line for line in err.getvalue().splitlines() if line]
            raise CtlError(status, "the configuration is wrong", errors=errors)
        say_json({"ok": True})
    return status


def _check(path: str) -> int:
    from tcpd.tap import Options

    try:
        # --config=..., so that a path may begin with a dash.
        Options().parseOptions([f"--config={path}", "--check-config"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    raise RuntimeError("--check-config ends the process")
