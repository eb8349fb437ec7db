"""`tcpdctl`: finds the daemon, runs the command, and ends with the status that fits.

No Twisted is imported but by `check`, so that a command, and a Tab in a shell, takes no time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tcpd.ctl.api import Api, Place, parse_url, read_token
from tcpd.ctl.commands import ASKING
from tcpd.ctl.ending import OK, CtlError
from tcpd.ctl.options import SOCKET, parse_options
from tcpd.ctl.text import as_json
from tcpd.escape import one_line

COMPLETE = "__complete"
"""What the completion scripts call; no command for people."""


def find_daemon(given: Namespace, environ: Mapping[str, str]) -> Api:
    """Return the daemon that the options, or the environment, name.

    Raises:
        CtlError: the URL or the token file is wrong.
    """
    if given.url is not None:
        place = parse_url(given.url)
    else:
        place = Place(path=given.socket or environ.get("TCPDCTL_SOCKET") or SOCKET)
    file = given.token_file or environ.get("TCPDCTL_TOKEN_FILE")
    token = read_token(Path(file)) if file else ""
    return Api(place, token, given.timeout or 10.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the result is the process's exit status.

    Raises:
        SystemExit: after --help, and for a wrong command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = None if words[:1] == [COMPLETE] else parse_options(words)
    # `tcpdctl sessions | head` ends as every other command does there.
    try:
        status = _complete(words[1:]) if given is None else _run(given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _complete(words: Sequence[str]) -> int:
    from tcpd.ctl.completion import complete

    return complete(words, lambda given: find_daemon(given, os.environ))


def _run(given: Namespace) -> int:
    try:
        return _command(given)()
    except CtlError as error:
        if given.json:
            said = {"error": error.problem, "hint": error.hint, "status": error.status}
            print(as_json(said))
        print(f"tcpdctl: {one_line(str(error))[:2000]}", file=sys.stderr)
        return error.status


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
    print(json.dumps({"shell": given.shell, "script": script}) if given.json else script, end="\n")
    return OK


if __name__ == "__main__":
    sys.exit(main())
