"""What can be asked for by HTTP, and what is done then; `docs/admin.md` tells people of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tcpd.admin import metrics
from tcpd.admin.answers import Answer, Problem, in_json, in_text
from tcpd.admin.auth import Right
from tcpd.admin.calls import Call, Do, Route
from tcpd.admin.controls import Controls, UnknownError
from tcpd.admin.feeds import SNAPSHOT_EVENTS, EventFeed, Events, PageFeed, TapFeed
from tcpd.admin.house import House, find_session
from tcpd.admin.recent import MOST as MOST_RECENT
from tcpd.admin.recent import Recent
from tcpd.admin.views import MOST_SESSIONS, Views
from tcpd.event_names import EventPattern
from tcpd.session import Session

# Sessions in a snapshot for the page, unless it asks for another number, and at most.
SHOWN = 100
MOST_SHOWN = 500
_FILTERS = ("listener", "filter", "sort", "limit", "offset")


class Api:
    """Answers.

    Args:
        house: the daemon.
        views: what is looked at.
        controls: what is done.
        recent: what has happened last.
    """

    def __init__(self, house: House, views: Views, controls: Controls, recent: Recent) -> None:
        self._house = house
        self._recent = recent
        self._views = views
        self._controls = controls

    def routes(self) -> Iterator[Route]:
        """Give all paths."""
        yield Route(method="GET", path="/healthz", right=None, do=self._healthz)
        yield Route(method="GET", path="/readyz", right=None, do=self._readyz)
        yield _get("/metrics", self._metrics)
        yield _get("/api/status", self._status)
        yield _get("/api/sessions", self._sessions, *_FILTERS)
        yield _get("/api/sessions/{id}", self._session)
        yield _get("/api/sessions/{id}/tap", self._tap, right=Right.CHANGE)
        yield _get("/api/events", self._events, "event", "listener", "recent")
        yield _get("/api/stream", self._stream, *_FILTERS)
        yield _get("/api/captures", self._captures)
        yield _get("/api/handlers", self._handlers)
        yield _get("/api/loglevel", self._loglevel)
        yield _post("/api/loglevel", self._set_loglevel, "level")
        yield _post("/api/sessions/{id}/close", self._close, "reset")
        yield _post("/api/listeners/{name}/suspend", self._suspend)
        yield _post("/api/listeners/{name}/resume", self._resume)
        yield _post("/api/listeners/{name}/drain", self._drain)
        yield _post(
            "/api/capture", self._capture, "action", "session", "listener", "format", "file"
        )
        yield _post("/api/reload", self._reload)

    # -- for probes --------------------------------------------------------------------------

    async def _healthz(self, call: Call) -> Answer:
        return in_text("ok\n")

    async def _readyz(self, call: Call) -> Answer:
        """Say whether newcomers should be sent here: whether anybody could get in anywhere."""
        state: str = self._house.state
        if state == "running":
            states = set(map(self._controls.state_of, self._house.listeners.values()))
            if "up" in states or not states:
                return in_text("ready\n")
            state = states.pop() if len(states) == 1 else "closed"
        return in_text(f"{state}\n", status=503)

    # -- looking -----------------------------------------------------------------------------

    async def _metrics(self, call: Call) -> Answer:
        body, kind = await metrics.exposition(self._house)
        return Answer(body=body, kind=kind)

    async def _status(self, call: Call) -> Answer:
        return in_json(await self._views.status())

    async def _sessions(self, call: Call) -> Answer:
        return in_json(await self._views.sessions(**_asked(call, MOST_SESSIONS, MOST_SESSIONS)))

    async def _session(self, call: Call) -> Answer:
        view = self._views.session(call.words[0])
        if view is None:
            raise _no_session(call.words[0])
        return in_json(view)

    async def _tap(self, call: Call) -> TapFeed:
        session = self._found(call.words[0])
        feed = TapFeed(session)
        if not feed.possible:
            raise Problem(409, "this session can't be watched: its transport is another package's")
        return feed

    async def _events(self, call: Call) -> EventFeed:
        try:
            pattern = EventPattern.parse(call.query.get("event", "*"))
        except ValueError as error:
            raise Problem(400, f"event: {error}") from None
        listener, before = call.query.get("listener", ""), call.number("recent", 0, MOST_RECENT)
        return EventFeed(Events(self._house, pattern, listener, recent=self._recent, before=before))

    async def _stream(self, call: Call) -> PageFeed:
        query = _asked(call, SHOWN, MOST_SHOWN)
        await self._views.sessions(**{**query, "limit": 0})  # says what is wrong with it
        events = Events(
            self._house,
            EventPattern("*"),
            most=SNAPSHOT_EVENTS,
            newest=True,
            recent=self._recent,
            before=SNAPSHOT_EVENTS,
        )
        return PageFeed(self._views, events, query)

    async def _handlers(self, call: Call) -> Answer:
        return in_json(self._views.handlers())

    async def _loglevel(self, call: Call) -> Answer:
        return in_json({"level": self._controls.log_level})

    # -- acting ------------------------------------------------------------------------------

    async def _set_loglevel(self, call: Call) -> Answer:
        level = call.text("level")
        try:
            self._controls.set_log_level(level, call.peer.name)
        except UnknownError as error:
            raise Problem(400, f"level: {error}") from None
        return in_json({"level": self._controls.log_level})

    async def _close(self, call: Call) -> Answer:
        reset = call.flag("reset")
        self._controls.close(call.words[0], reset=reset)
        return in_json({"closed": call.words[0], "reset": reset})

    async def _suspend(self, call: Call) -> Answer:
        self._controls.suspend(call.words[0])
        return self._state(call.words[0])

    async def _resume(self, call: Call) -> Answer:
        self._controls.resume(call.words[0])
        return self._state(call.words[0])

    async def _drain(self, call: Call) -> Answer:
        sessions = self._controls.drain(call.words[0])
        return self._state(call.words[0], sessions=sessions)

    def _state(self, name: str, **more: Any) -> Answer:
        state = self._controls.state_of(self._house.listeners[name])
        return in_json({"listener": name, "state": state, **more})

    async def _capture(self, call: Call) -> Answer:
        action = call.text("action")
        if action not in ("start", "stop"):
            raise Problem(400, "action: expected 'start' or 'stop'")
        if ("session" in call.body) == ("listener" in call.body):
            raise Problem(400, "expected either 'session' or 'listener'")
        what: Session | str
        if "session" in call.body:
            what = self._found(call.text("session"))
        else:
            what = call.text("listener")
            names = {*self._house.listeners, *self._house.connectors}
            if action == "stop":  # a capture goes on though a reload has taken its listener away
                names |= {each.listener for each in self._house.captures.status()}
            if what not in names:
                raise UnknownError(f"there is no listener or connector {what[:80]!r}")
        captures = self._house.captures
        if action == "stop":
            status = captures.stop(what)
        else:
            form, file = call.text("format", default="pcapng"), call.text("file", default="")
            status = captures.start(what, format=form, file=file).status()
        return in_json(asdict(status), told=status.path)

    async def _captures(self, call: Call) -> Answer:
        return in_json([asdict(each) for each in self._house.captures.status()])

    async def _reload(self, call: Call) -> Answer:
        last = self._controls.reload()
        if not last.ok:
            problem = "the configuration is refused, and nothing has changed"
            raise Problem(409, problem, errors=list(last.words))
        return in_json({"ok": True, "changes": list(last.words)})

    def _found(self, session_id: str) -> Session:
        session = find_session(self._house, session_id)
        if session is None:
            raise _no_session(session_id)
        return session


def _no_session(session_id: str) -> UnknownError:
    return UnknownError(f"there is no session {session_id[:80]!r}; it may have ended")


def _asked(call: Call, usual: int, most: int) -> dict[str, Any]:
    """Return what `Views.sessions` is asked for."""
    return {
        "listener": call.query.get("listener", ""),
        "text": call.query.get("filter", ""),
        "sort": call.query.get("sort") or "id",
        "limit": call.number("limit", usual, most),
        "offset": call.number("offset", 0, 10_000_000),
    }


def _get(path: str, do: Do, *keys: str, right: Right = Right.READ) -> Route:
    return Route(method="GET", path=path, right=right, keys=keys, do=do)


def _post(path: str, do: Do, *keys: str) -> Route:
    return Route(method="POST", path=path, right=Right.CHANGE, keys=keys, do=do)
