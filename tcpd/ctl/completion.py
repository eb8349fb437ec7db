"""Completion in shells: small scripts that ask `tcpdctl __complete` what may come next.

Sessions' ids and listeners' names come from the daemon, which has `PATIENCE` seconds to tell them;
if it doesn't, there is nothing to choose from, and no error in the middle of a command line.
Nothing that a shell would treat as more than a word is ever offered.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence

from tcpd.ctl.api import Api
from tcpd.ctl.ending import OK, CtlError
from tcpd.ctl.options import LEVELS, SORTS, make_parser
from tcpd.ctl.shown import views_of

PATIENCE = 0.5
MOST = 200
"""Sessions that are offered."""

_WORD = re.compile(r"[A-Za-z0-9_.:@%+,/=-]{1,200}")

SCRIPTS = {
    "bash": """\
# tcpdctl, completion for bash: source <(tcpdctl completion bash)
_tcpdctl() {
    local IFS=$'\\n'
    COMPREPLY=($("${COMP_WORDS[0]}" __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    if [[ ${COMPREPLY[0]} == FILES ]]; then
        COMPREPLY=()
        compopt -o default 2>/dev/null
    fi
}
complete -F _tcpdctl tcpdctl
""",
    "zsh": """\
#compdef tcpdctl
# tcpdctl, completion for zsh: source <(tcpdctl completion zsh), after compinit
_tcpdctl() {
    local -a found
    found=("${(@f)$(${words[1]} __complete zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ ${found[1]} == FILES ]]; then
        compset -P '--*='
        _files
    elif [[ -n ${found[1]} ]]; then
        compadd -a found
    fi
}
compdef _tcpdctl tcpdctl
""",
    "fish": """\
# tcpdctl, completion for fish: tcpdctl completion fish | source
function __tcpdctl
    set -l found (tcpdctl __complete fish (commandline -cp) 2>/dev/null)
    if test "$found[1]" = FILES
        set -l typed (commandline -ct)
        set -l head (string match -r -- '^--[a-z-]+=' $typed)
        for each in (__fish_complete_path (string replace -r -- '^--[a-z-]+=' '' $typed))
            printf '%s%s\\n' "$head" $each
        end
    else
        printf '%s\\n' $found
    end
end
complete -c tcpdctl -f -a '(__tcpdctl)'
""",
}
"""The scripts, by shell."""


def complete(words: Sequence[str], find: Callable[[Namespace], Api]) -> int:
    """Print what may stand where the line ends, one word a line.

    Args:
        words: the shell, and the command line as it is typed so far.
        find: finds the daemon.
    """
    shell, line = (*words, "", "")[:2]
    done, current = split(line)
    found = [each for each in candidates(done, current, find) if _WORD.fullmatch(each)]
    if shell == "bash":
        # bash takes a word with = or : in it for several, and wants the last one only.
        end = max(current.rfind("="), current.rfind(":")) + 1
        found = [each if each == "FILES" else each[end:] for each in found]
    sys.stdout.writelines(f"{each}\n" for each in found)
    return OK


def split(line: str) -> tuple[list[str], str]:
    """Return a command line's whole words after the command, and the one that is being typed."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:  # a quote is open
        words = line.split()
    current = "" if not words or line[-1:].isspace() else words.pop()
    return words[1:], current


def candidates(
    done: Sequence[str], current: str, find: Callable[[Namespace], Api]
) -> Iterator[str]:
    """Give the words that may come, `FILES` for any file."""
    parser: argparse.ArgumentParser = make_parser()
    given: dict[str, str] = {}
    positions = _positions(parser)
    waiting: argparse.Action | None = None  # an option that lacks its value
    for word in done:
        if waiting is not None:
            given[waiting.dest], waiting = word, None
        elif word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            action = _options(parser).get(name)
            if action is not None and action.nargs != 0:
                if equals:
                    given[action.dest] = value
                else:
                    waiting = action
        elif positions:
            action = positions.pop(0)
            given[action.dest] = word
            if isinstance(action, argparse._SubParsersAction):
                if word not in action.choices:
                    return
                parser = action.choices[word]
                positions = _positions(parser)
    head = ""
    if waiting is None and current.startswith("--") and "=" in current:
        name, _, current = current.partition("=")
        waiting, head = _options(parser).get(name), f"{name}="
        if waiting is None:
            return
    if waiting is not None:
        offered = _values(waiting, given, find)
    elif current.startswith("-"):
        offered = iter(sorted(name for name in _options(parser) if name.startswith("--")))
    else:
        offered = _values(positions[0], given, find) if positions else iter(())
    for each in offered:
        if each == "FILES":
            yield each
        elif each.startswith(current):
            yield head + each


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {name: action for action in parser._actions for name in action.option_strings}


def _positions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not action.option_strings]


def _values(
    action: argparse.Action, given: dict[str, str], find: Callable[[Namespace], Api]
) -> Iterator[str]:
    """Give what a value may be."""
    if action.choices is not None:
        yield from action.choices
    elif action.dest in ("socket", "token_file", "ca_file", "file") and action.metavar != "NAME":
        yield "FILES"
    elif action.dest == "sort":
        yield from SORTS
        yield from (f"-{each}" for each in SORTS)
    elif action.dest == "level":
        yield from LEVELS
    elif action.dest == "event":
        from tcpd.event_names import NAMES

        yield from NAMES
    elif action.dest in ("session", "listener"):
        # --listener takes a connector's name as well; who is drained or suspended is no connector.
        yield from _asked(action.dest, given, find, connectors=bool(action.option_strings))


def _asked(
    what: str,
    given: dict[str, str],
    find: Callable[[Namespace], Api],
    *,
    connectors: bool,
) -> Iterator[str]:
    where = {name: given.get(name) for name in ("url", "socket", "token_file", "ca_file")}
    try:
        api = find(Namespace(**where, timeout=PATIENCE))
        if what == "session":
            views = views_of(api.get("api", "sessions", limit=MOST), "sessions")
            yield from (str(each.get("id")) for each in views)
            return
        answer = api.get("api", "status")
    except CtlError:
        return
    kinds = ("listeners", "connectors") if connectors else ("listeners",)
    for kind in kinds:
        yield from (str(each.get("name")) for each in views_of(answer, kind))
