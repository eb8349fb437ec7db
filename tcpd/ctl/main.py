"""`tcpdctl`: finds the daemon, runs the command, and ends with the status that fits.

Rules:
- No Twisted is imported but by `check`, so that a command, and a Tab in a shell, takes no time.
- With --json an error is one object on one line of standard output, and nothing is on standard
  error; without, it is text on standard error, and nothing is on standard output.
"""

from __future__ import annotations

import io
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tcpd.ctl.api import Api, Place, parse_url, read_token, trust_of
from tcpd.ctl.commands import ASKING
from tcpd.ctl.ending import CUT_OFF, FAILED, INTERRUPTED, OK, USAGE, CtlError
from tcpd.ctl.options import SOCKET, parse_options
from tcpd.ctl.text import as_json, clean_words
from tcpd.escape import one_line

COMPLETE = "__complete"
"""What the completion scripts call; no command for people."""


def find_daemon(given: Namespace, environ: Mapping[str, str]) -> Api:
    """Return the daemon that the options, or the environment, name.

    Raises:
        CtlError: the URL, the token file or the CA file is wrong.
    """
    if given.url is not None:
        place = parse_url(given.url)
    else:
        place = Place(path=given.socket or environ.get("TCPDCTL_SOCKET") or SOCKET)
    file = given.token_file or environ.get("TCPDCTL_TOKEN_FILE")
    token = read_token(Path(file)) if file else ""
    trust = None
    if given.ca_file is not None:
        if not place.secure:
            raise CtlError(USAGE, "--ca-file is for --url https://...", "nothing else speaks TLS")
        trust = trust_of(Path(given.ca_file))
    return Api(place, token, given.timeout or 10.0, trust)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the result is the process's exit status.

    Raises:
        SystemExit: 0, after --help or --version.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _mend_streams()
    # `tcpdctl sessions | head` ends as every other command does there.
    try:
        status = _ended(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _drop_output()
        return CUT_OFF
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # whatever concerns the daemon is a CtlError by now
        _drop_output()
        print(f"tcpdctl: the output can't be written: {error.strerror}", file=sys.stderr)
        return FAILED


def _mend_streams() -> None:
    """See that there is something to print to, which takes every character."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Have what is left to be written go nowhere, or Python would try it again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _ended(words: Sequence[str]) -> int:
    """Run a command and tell what goes wrong; gives the exit status."""
    if words[:1] == [COMPLETE]:
        return _complete(words[1:])
    try:
        return _command(parse_options(words))()
    except CtlError as error:
        if "--json" in words:  # on a wrong command line there are no options to ask
            print(as_json(error.view, indent=None))
            return error.status
        for each in error.errors:
            print(clean_words(each, 2000), file=sys.stderr)
        print(f"tcpdctl: {one_line(str(error))[:2000]}", file=sys.stderr)
        return error.status


def _complete(words: Sequence[str]) -> int:
    from tcpd.ctl.completion import complete

    return complete(words, lambda given: find_daemon(given, os.environ))


def _command(given: Namespace) -> Callable[[], int]:
    name = given.command
    if name == "check":
        from tcpd.ctl.check import check

        return lambda: check(given)
    if name == "completion":
        return lambda: _completion(given)
    api = find_daemon(given, os.environ)
    if name == "tail":
        from tcpd.ctl.tail import tail

        return lambda: tail(api, given)
    if name == "top":
        from tcpd.ctl.top import top

        return lambda: top(api, given)
    return lambda: ASKING[name](api, given)


def _completion(given: Namespace) -> int:
    from tcpd.ctl.completion import SCRIPTS

    script = SCRIPTS[given.shell]
    print(json.dumps({"shell": given.shell, "script": script}) if given.json else script)
    return OK


if __name__ == "__main__":
    sys.exit(main())
