"""`tcpd-client`: the options, the reactor that suits them, the exit status.

Nothing heavy is imported before it's known to be needed: `--help` loads no Twisted, and only the
interactive prompt loads prompt_toolkit.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tcpd.client.console import PROGRAM
from tcpd.client.options import Options, parse_options
from tcpd.errors import TcpdError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client; the result is the process's exit status.

    Raises:
        SystemExit: after --help, and for a wrong command line.
    """
    # Until a prompt takes the keyboard over, Ctrl-C ends this process as it ends nc: by the signal,
    # and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_standard_descriptors()
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    if os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb":
        return _interactive(options)
    return _pipe(options)


def _open_standard_descriptors() -> None:
    """Put /dev/null where the caller closed a descriptor, lest a socket come to stand there."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError as problem:
            if problem.errno != errno.EBADF:
                raise
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _pipe(options: Options) -> int:
    from twisted.internet import pollreactor

    pollreactor.install()
    from twisted.internet import reactor

    from tcpd.client.console import StderrConsole
    from tcpd.client.dialing import make_dialler
    from tcpd.client.pipe import Pipe

    console = StderrConsole(2, verbose=options.verbose)

    async def run() -> int:
        return await Pipe(reactor, options, make_dialler(reactor, options, console), console).run()

    return _run(reactor, run)


def _interactive(options: Options) -> int:
    import asyncio

    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor

    from tcpd.client.dialing import make_dialler
    from tcpd.client.interactive import Interactive

    async def run() -> int:
        run = Interactive(reactor, options, lambda console: make_dialler(reactor, options, console))
        return await run.run()

    return _run(reactor, run)


def _run(reactor: Any, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run the reactor until the work is done; the result is what it gave."""
    from twisted.internet.defer import Deferred

    statuses: list[int] = []

    async def to_the_end() -> None:
        try:
            statuses.append(await work())
        except TcpdError as problem:  # a file of --cafile, --cert or --key
            print(f"{PROGRAM}: {problem}", file=sys.stderr)
        except Exception:
            traceback.print_exc()
        finally:
            reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(to_the_end()))
    reactor.run(installSignalHandlers=False)
    return statuses[0] if statuses else 1


if __name__ == "__main__":
    sys.exit(main())
