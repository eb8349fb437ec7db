"""The commands that ask once and print the answer.

Each takes the daemon and the options, and gives the exit status; what goes wrong is a `CtlError`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any

from tcpd.ctl.api import Api
from tcpd.ctl.ending import FAILED, OK, UNKNOWN, CtlError
from tcpd.ctl.shown import View, capture_lines, detail_lines, session_lines, status_lines, views_of
from tcpd.ctl.text import Paint, as_json, clean, clean_words, get, number, size, table
from tcpd.errors import did_you_mean

PAGE = 1000
"""As many sessions as the daemon lists at once."""


def say(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        print(line)


def say_json(answer: Any) -> None:
    """Print what the daemon answered."""
    print(as_json(answer))


def note(text: str) -> None:
    """Tell a person something that is no part of the output."""
    print(f"tcpdctl: {text}", file=sys.stderr)


def status(api: Api, given: Namespace) -> int:
    """Tell how the daemon is doing."""
    answer = _table(api.get("api", "status"))
    if given.json:
        say_json(answer)
    else:
        say(status_lines(answer, Paint.of(sys.stdout)))
    return OK


def sessions(api: Api, given: Namespace) -> int:
    """List sessions."""
    answer = ask_sessions(api, given, given.limit)
    if given.listener and not answer["total"]:
        check_listener(api, given.listener)
    if given.json:
        say_json(answer)
        return OK
    found = answer["sessions"]
    if found:
        say(session_lines(found, Paint.of(sys.stdout)))
    if len(found) < answer["total"]:
        note(f"{len(found)} of {answer['total']} sessions are shown")
    elif not found:
        note("there are no such sessions" if given.filter else "there are no sessions")
    return OK


def ask_sessions(api: Api, given: Namespace, limit: int | None, offset: int = 0) -> dict[str, Any]:
    """Return as many sessions as wanted, page by page: `total` and `sessions`.

    Args:
        api: the daemon.
        given: `listener`, `filter` and `sort`.
        limit: how many; None for all.
        offset: after how many to begin.
    """
    found: dict[Any, View] = {}  # who moves from one page to the next is there once
    total = 0
    while True:
        wanted = PAGE if limit is None else min(PAGE, limit - len(found))
        answer = api.get(
            "api", "sessions",
            listener=given.listener, filter=given.filter, sort=given.sort,
            limit=wanted, offset=offset,
        )  # fmt: skip
        page = views_of(answer, "sessions")
        total = int(get(answer, "total") or len(page))
        before = len(found)
        found.update((each.get("id"), each) for each in page)
        offset += PAGE
        if len(page) < PAGE or len(found) == before or (limit is not None and len(found) >= limit):
            return {"total": total, "sessions": list(found.values())}


def check_listener(api: Api, name: str) -> None:
    """See that there is a listener or connector of this name.

    Raises:
        CtlError: there is none.
    """
    answer = api.get("api", "status")
    views = views_of(answer, "listeners") + views_of(answer, "connectors")
    names = [str(each.get("name")) for each in views]
    if name not in names:
        known = f"known are {', '.join(names)}" if names else ""
        hint = did_you_mean(name, names) or known
        raise CtlError(UNKNOWN, f"there is no listener or connector {name!r}", hint)


def show(api: Api, given: Namespace) -> int:
    """Tell all of a session."""
    answer = _table(api.get("api", "sessions", given.session))
    if given.json:
        say_json(answer)
    else:
        say(detail_lines(answer, Paint.of(sys.stdout)))
    return OK


def close(api: Api, given: Namespace) -> int:
    """Close a session."""
    answer = api.post("api", "sessions", given.session, "close", reset=given.reset)
    word = "reset" if given.reset else "closing"
    return _done(given, answer, f"session {clean(given.session)}: {word}")


def drain(api: Api, given: Namespace) -> int:
    """Drain a listener."""
    answer = api.post("api", "listeners", given.listener, "drain")
    told = number(get(answer, "sessions"))
    left = "" if told is None else f", {told:.0f} session{'' if told == 1 else 's'} open"
    return _done(given, answer, f"listener {clean(given.listener)}: draining{left}")


def suspend(api: Api, given: Namespace) -> int:
    """Suspend a listener."""
    answer = api.post("api", "listeners", given.listener, "suspend")
    return _done(given, answer, _state(given, answer, "suspended", "suspended"))


def resume(api: Api, given: Namespace) -> int:
    """Resume a listener."""
    answer = api.post("api", "listeners", given.listener, "resume")
    return _done(given, answer, _state(given, answer, "up", "resumed"))


def _state(given: Namespace, answer: Any, wanted: str, word: str) -> str:
    """Return what has become of a listener: a word, if it is in the state that was wanted."""
    state = get(answer, "state") or wanted
    return f"listener {clean(given.listener)}: {word if state == wanted else clean(state)}"


def capture(api: Api, given: Namespace) -> int:
    """Start or stop a capture."""
    asked = {"session": given.session, "listener": given.listener}
    if given.action == "start":
        asked |= {"format": given.format, "file": given.file}
    body = {key: value for key, value in asked.items() if value is not None}
    answer = api.post("api", "capture", action=given.action, **body)
    what = f"session {given.session}" if given.session else f"listener {given.listener}"
    word = "started" if given.action == "start" else "stopped"
    told = [clean(path, 1000)] if (path := get(answer, "path")) else []
    if given.action == "stop":
        told.append(f"{size(get(answer, 'written'))} written")
    return _done(given, answer, ", ".join([f"capture of {clean(what)}: {word}", *told]))


def captures(api: Api, given: Namespace) -> int:
    """List the captures: those that run, and those that are still being written."""
    answer = api.get("api", "captures")
    if given.json:
        say_json(answer)
    else:
        say(capture_lines(views_of(answer), Paint.of(sys.stdout)))
    return OK


def reload(api: Api, given: Namespace) -> int:
    """Have the configuration read again."""
    answer = api.post("api", "reload")
    if given.json:
        say_json(answer)
        return OK
    changes = get(answer, "changes")
    changes = changes if isinstance(changes, list) else []
    say(clean_words(each, 2000) for each in changes or ["nothing has changed"])
    return OK


def loglevel(api: Api, given: Namespace) -> int:
    """Tell or change the log's level."""
    if given.level is None:
        answer = api.get("api", "loglevel")
    else:
        answer = api.post("api", "loglevel", level=given.level)
    return _done(given, answer, clean(get(answer, "level") or given.level))


def handlers(api: Api, given: Namespace) -> int:
    """List the handlers; 1 if one of them can't be used, as twistd's --list-handlers has it."""
    answer = api.get("api", "handlers")
    views = views_of(answer)
    if given.json:
        say_json(answer)
    else:
        rows = [
            [
                clean(each.get("name"), 80),
                clean(each.get("source"), 120),
                _summary(each),
            ]
            for each in views
        ]
        say(table(["HANDLER", "SOURCE", "SUMMARY"], rows, "", Paint.of(sys.stdout)))
    return FAILED if any(each.get("problem") for each in views) else OK


def _summary(handler: View) -> str:
    problem = handler.get("problem")
    return clean(f"broken: {problem}" if problem else handler.get("summary"))


def _done(given: Namespace, answer: Any, text: str) -> int:
    if given.json:
        say_json(answer)
    else:
        print(text)
    return OK


def _table(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise CtlError(FAILED, "the daemon answers with something else than was asked for")
    return answer


ASKING: dict[str, Callable[[Api, Namespace], int]] = {
    "status": status,
    "sessions": sessions,
    "show": show,
    "close": close,
    "drain": drain,
    "suspend": suspend,
    "resume": resume,
    "capture": capture,
    "captures": captures,
    "reload": reload,
    "loglevel": loglevel,
    "handlers": handlers,
}
