"""The files of the status page; they are public, and hold nothing that anybody could want."""

from __future__ import annotations

from pathlib import Path

from tcpd.admin.answers import Answer
from tcpd.admin.auth import Right
from tcpd.admin.calls import Call, Route

_DIRECTORY = Path(__file__).parent / "page"
_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", _SCRIPT),
    "/ask.js": ("ask.js", _SCRIPT),
    "/detail.js": ("detail.js", _SCRIPT),
    "/draw.js": ("draw.js", _SCRIPT),
    "/events.js": ("events.js", _SCRIPT),
    "/places.js": ("places.js", _SCRIPT),
    "/sessions.js": ("sessions.js", _SCRIPT),
    "/talk.js": ("talk.js", _SCRIPT),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def page_routes() -> list[Route]:
    """Return the paths of the page; its files are read now, while the process surely may."""
    return [_route(path, name, kind) for path, (name, kind) in _FILES.items()]


def _route(path: str, name: str, kind: str) -> Route:
    answer = Answer(body=(_DIRECTORY / name).read_bytes(), kind=kind)

    async def give(call: Call) -> Answer:
        return answer

    # By a name of ours only, as all the rest; but a browser can show no token for a page.
    return Route(method="GET", path=path, right=Right.NOTHING, do=give)
