"""One request, as those who answer it see it: its path's words, its query, its body."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tcpd.admin.answers import Answer, Problem
from tcpd.admin.auth import Peer, Right
from tcpd.admin.stream import Feed
from tcpd.errors import did_you_mean
from tcpd.escape import escape_text

MOST_BODY = 64 * 1024
"""Bytes that a body may have."""
# Likewise, one value of a query.
MOST_VALUE = 200

Given = Answer | Feed
"""What a request is answered with: something that is ready, or what fills a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request."""

    peer: Peer
    """Who asks."""
    words: tuple[str, ...] = ()
    """What the path has in place of the names in the route's."""
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    def number(self, key: str, default: int, most: int) -> int:
        """Return a number of the query, from 0 to `most`.

        Raises:
            Problem: it isn't one.
        """
        text = self.query.get(key, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            hint = f"expected a number from 0 to {most}"
            raise Problem(400, f"{key}: '{escape_text(text, 40)}' isn't one", hint)
        return min(int(text), most)

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text of the body.

        Raises:
            Problem: it is missing, and there is no default, or it is no text.
        """
        value = self.body.get(key, default)
        if not isinstance(value, str):
            problem = "it is missing" if key not in self.body else "it isn't a text"
            raise Problem(400, f"{key}: {problem}", f'expected {{"{key}": "..."}}')
        return value

    def flag(self, key: str) -> bool:
        """Return a truth value of the body, false if it isn't there.

        Raises:
            Problem: it is something else.
        """
        value = self.body.get(key, False)
        if not isinstance(value, bool):
            raise Problem(400, f"{key}: expected true or false")
        return value


Do = Callable[[Call], Awaitable[Given]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, and what is done there.

    Attributes:
        method: `GET` (and so `HEAD`) or `POST`.
        path: of its parts between slashes, those in braces stand for anything.
        right: what somebody has to have; None for a path that anybody may ask for, also by
            another name: a probe knows us by none.
        keys: those that the query, or the body of a `POST`, may have.
        do: does it.
    """

    method: str
    path: str
    right: Right | None
    keys: Collection[str] = ()
    do: Do

    @property
    def pattern(self) -> re.Pattern[str]:
        """What matches such a path."""
        parts = re.split(r"\{\w+\}", self.path)
        return re.compile("([^/]+)".join(map(re.escape, parts)))


class Routes:
    """All paths.

    Args:
        routes: what can be asked for.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(each.pattern, each) for each in routes]

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """Return the route of a request, and the words of its path.

        Raises:
            Problem: there is nothing there (404), or not with this method (405).
        """
        allowed = []
        for pattern, route in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if route.method == method or (route.method, method) == ("GET", "HEAD"):
                return route, tuple(unquote(word) for word in match.groups())
            allowed += ["GET", "HEAD"] if route.method == "GET" else [route.method]
        if allowed:
            allow = ", ".join(dict.fromkeys(allowed))
            headers = {b"Allow": allow.encode("ascii")}
            raise Problem(405, "this can't be done here with this method", f"use {allow}", headers)
        raise Problem(404, "there is nothing at this path", "docs/admin.md lists what there is")


def read_query(args: dict[bytes, list[bytes]], keys: Collection[str]) -> dict[str, str]:
    """Return a query.

    Args:
        args: as twisted.web has taken it apart.
        keys: those that it may have.

    Raises:
        Problem: there is another, one twice, or a value that is too long.
    """
    query = {}
    for given, values in args.items():
        key = given.decode("utf-8", "replace")
        _check_key(key, keys)
        if len(values) > 1:
            raise Problem(400, f"{key}: it is there twice")
        if len(values[0]) > MOST_VALUE:
            raise Problem(400, f"{key}: it is longer than {MOST_VALUE} bytes")
        query[key] = values[0].decode("utf-8", "replace")
    return query


def read_body(data: bytes, kind: str | None, keys: Collection[str]) -> dict[str, Any]:
    """Return the body of a request, a JSON object; an empty one is `{}`.

    Args:
        data: the body.
        kind: the header `Content-Type`. A form on another site's page can't send this one.
        keys: those that it may have.

    Raises:
        Problem: it is something else, or has another key, or one twice.
    """
    if (kind or "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "expected a body of JSON", "send 'Content-Type: application/json'")
    if not data.strip():
        return {}
    try:
        body = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise Problem(400, "the body isn't JSON") from None
    if not isinstance(body, dict):
        raise Problem(400, "the body isn't a JSON object", 'expected {"key": ...}')
    for key in body:
        _check_key(key, keys)
    return body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; of one key given twice, something on the way may heed the other."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Problem(400, f"{escape_text(key, 40)}: it is there twice")
        found[key] = value
    return found


def _check_key(key: str, keys: Collection[str]) -> None:
    if key not in keys:
        known = f"known here: {', '.join(keys)}" if keys else "none is known here"
        problem = f"unknown key '{escape_text(key, 40)}'"
        raise Problem(400, problem, did_you_mean(key, keys) or known)
