"""The command line of `tcpdctl`.

Sans-I/O but for --help. A wrong command line is a `CtlError`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import tcpd
from tcpd.ctl.ending import STATUSES, USAGE, CtlError
from tcpd.errors import did_you_mean
from tcpd.units import parse_duration

SORTS = (
    *("id", "age", "idle", "in", "out", "rate-in", "rate-out", "rate", "queued", "client"),
    *("listener", "handler"),
)
"""What sessions are sorted by."""
LEVELS = ("debug", "info", "warn", "error", "critical")
FORMATS = ("pcapng", "hexdump", "jsonl")
SHELLS = ("bash", "zsh", "fish")
SOCKET = "/run/tcpd/admin.sock"

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

_EPILOG = f"""\
exit status:
{chr(10).join(f"  {status:<3} {words}" for status, words in STATUSES.items())}

environment:
  TCPDCTL_SOCKET      the daemon's UNIX socket, where neither --socket nor --url is given
  TCPDCTL_TOKEN_FILE  the file that holds the token, where --token-file isn't given
  NO_COLOR            if set, no colours; there are none in a pipe either

files:
  {SOCKET}  where a daemon with [admin] is looked for

examples:
  tcpdctl status
  tcpdctl sessions --listener gateway --sort=-rate --limit 20
  tcpdctl sessions --json | jq -r '.sessions[].client.address' | sort | uniq -c
  tcpdctl close 90928d41-7 --reset
  tcpdctl tail --event 'session.*' --listener gateway
  tcpdctl check /etc/tcpd/tcpd.toml && tcpdctl reload
  source <(tcpdctl completion bash)

`tcpdctl COMMAND --help` tells a command's own options. Durations: 500ms, 10s, 1m30s.
"""


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            CtlError: always.
        """
        match = re.fullmatch(r"argument COMMAND: invalid choice: '(.*?)' .*", message)
        if match and (near := did_you_mean(match[1], COMMANDS)):
            raise CtlError(USAGE, f"there is no command {match[1]!r}", near)
        if match:
            message = f"there is no command {match[1]!r}"
        raise CtlError(USAGE, message, f"see {self.prog} --help")


def _duration(text: str) -> float:
    try:
        seconds = float(text) if _SECONDS.fullmatch(text) else parse_duration(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError("expected more than nothing")
    return seconds


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"expected a number, not {text!r}")
    return int(text)


def _given(what: str) -> Callable[[str], str]:
    """Return what refuses an empty text, as a script's variable may be, for such a thing."""

    def check(text: str) -> str:
        if not text:
            raise argparse.ArgumentTypeError(f"{what} is missing: the text is empty")
        return text

    return check


_id, _name = _given("a session's id"), _given("a listener's name")


def _sort(text: str) -> str:
    if text.removeprefix("-") not in SORTS:
        hint = did_you_mean(text.removeprefix("-"), SORTS) or f"known are {', '.join(SORTS)}"
        raise argparse.ArgumentTypeError(f"nothing is sorted by {text!r}; {hint}")
    return text


def _shared() -> Parser:
    """Return what stands before a command and behind it alike."""
    shared = Parser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    daemon = shared.add_argument_group("the daemon")
    daemon.add_argument(
        "--socket",
        metavar="PATH",
        help=f"its UNIX socket (default: $TCPDCTL_SOCKET, or {SOCKET})",
    )
    daemon.add_argument("--url", metavar="URL", help="its admin site, as http://127.0.0.1:9990")
    daemon.add_argument(
        "--token-file",
        metavar="FILE",
        help="holds the token that changes over TCP need (default: $TCPDCTL_TOKEN_FILE)",
    )
    daemon.add_argument(
        "--ca-file",
        metavar="FILE",
        help="PEM certificates to trust behind an https URL, instead of the system's",
    )
    daemon.add_argument(
        "--timeout",
        type=_duration,
        metavar="DURATION",
        help="how long an answer may take (default: 10s)",
    )
    shared.add_argument("--json", action="store_true", help="print JSON")
    return shared


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    shared = _shared()
    parser = Parser(
        prog="tcpdctl",
        usage="%(prog)s [options] COMMAND ...",
        description="See and steer a tcpd that runs, over the admin site of its configuration.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {tcpd.__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True, prog=parser.prog
    )
    for name, (summary, add) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=_sentence(summary), parents=[shared], allow_abbrev=False
        )
        for give in add:
            give(command)
    return parser


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _session(parser: Parser) -> None:
    parser.add_argument(
        "session", type=_id, metavar="ID", help="the session's id, as sessions lists it"
    )


def _listener(parser: Parser) -> None:
    parser.add_argument("listener", type=_name, metavar="LISTENER", help="its name")


def _of_listener(parser: Parser) -> None:
    parser.add_argument("--listener", metavar="NAME", help="only of this listener or connector")


def _page(parser: Parser) -> None:
    _of_listener(parser)
    parser.add_argument(
        "--filter", metavar="TEXT", help="only those with this in id, address, listener or handler"
    )
    parser.add_argument(
        "--sort",
        type=_sort,
        metavar="KEY",
        help=f"one of {', '.join(SORTS)}; the highest first with a - before it",
    )


def _limit(parser: Parser) -> None:
    parser.add_argument("--limit", type=_count, metavar="N", help="how many at most (default: all)")


def _every(parser: Parser) -> None:
    parser.add_argument(
        "--every",
        type=_duration,
        default=1.0,
        metavar="DURATION",
        help="how often to look (default: 1s)",
    )


def _close(parser: Parser) -> None:
    parser.add_argument("--reset", action="store_true", help="at once, by a TCP reset")


def _capture(parser: Parser) -> None:
    parser.add_argument(
        "action", choices=("start", "stop"), metavar="start|stop", help="what to do"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--session", type=_id, metavar="ID", help="of this session")
    what.add_argument(
        "--listener",
        type=_name,
        metavar="NAME",
        help="of all sessions of this listener or connector",
    )
    parser.add_argument("--format", choices=FORMATS, help="what is written (default: pcapng)")
    parser.add_argument("--file", metavar="NAME", help="the file's name")


def _tail(parser: Parser) -> None:
    parser.add_argument(
        "--event", metavar="GLOB", help="only events of this name, as session.closed or 'session.*'"
    )
    _of_listener(parser)
    parser.add_argument(
        "--reconnect", action="store_true", help="wait for the daemon when it's gone, and go on"
    )


def _level(parser: Parser) -> None:
    parser.add_argument(
        "level",
        nargs="?",
        type=str.lower,
        choices=LEVELS,
        metavar="LEVEL",
        help=f"one of {', '.join(LEVELS)}",
    )


def _file(parser: Parser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration")


def _shell(parser: Parser) -> None:
    parser.add_argument(
        "shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}"
    )


COMMANDS = {
    "status": ("tell how the daemon and its listeners are doing", ()),
    "sessions": ("list the open sessions", (_page, _limit)),
    "top": ("watch the sessions, live; a key closes one", (_page, _every)),
    "show": ("tell all that is known of a session, TCP_INFO too", (_session,)),
    "close": ("close a session when what is queued has been sent", (_session, _close)),
    "drain": ("have a listener accept nobody, and its sessions finish", (_listener,)),
    "suspend": ("have a listener accept nobody for now", (_listener,)),
    "resume": ("have a suspended listener accept again", (_listener,)),
    "capture": ("start or stop to write sessions' bytes to a file", (_capture,)),
    "captures": ("list the captures, also of what a reload has removed", ()),
    "tail": ("print events as they happen", (_tail,)),
    "reload": ("have the configuration read again, and print what has changed", ()),
    "loglevel": ("tell the log's level, or change it until the next reload", (_level,)),
    "check": ("check a configuration file; needs no daemon", (_file,)),
    "handlers": ("list the handlers that the daemon knows", ()),
    "completion": ("print the completion script of a shell", (_shell,)),
}
"""The commands, each with its summary and what adds its arguments."""


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line.

    Raises:
        CtlError: they are wrong.
        SystemExit: 0 after --help or --version.
    """
    given, unknown = make_parser().parse_known_args(_joined(arguments))
    if unknown:
        hint = f"see tcpdctl {given.command} --help"
        raise CtlError(USAGE, f"unrecognized arguments: {' '.join(unknown)}", hint)
    for name in ("socket", "url", "token_file", "ca_file", "timeout"):
        setattr(given, name, getattr(given, name, None))
    given.json = getattr(given, "json", False)
    if given.socket is not None and given.url is not None:
        raise CtlError(USAGE, "--socket and --url are two places", "choose one")
    return given


def _joined(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--sort -rate` as `--sort=-rate`, which argparse understands."""
    joined: list[str] = []
    for each in arguments:
        if joined and joined[-1] == "--sort" and each[:1] == "-" and each[1:] in SORTS:
            joined[-1] = f"--sort={each}"
        else:
            joined.append(each)
    return joined
