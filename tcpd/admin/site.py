"""The admin side as a whole: what its listener serves, and how it begins and ends.

Rules:
- It is served by an ordinary listener, with limits and deadlines of its own. Its sessions are in no
  list, no metric, no event and no access log, and take no numbers from those that are.
- What has no end of its own ends when who asked for it could no longer: with another token, or
  where its address is gone.
- It lasts longer than the sessions that it shows: while they drain, it says so.
- It costs nothing unless it is configured; then little, unless somebody looks.
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from dataclasses import asdict
from typing import Any, ClassVar

from twisted.web import http

from tcpd.admin.answers import Problem
from tcpd.admin.api import Api
from tcpd.admin.auth import Right, Rules
from tcpd.admin.calls import Routes
from tcpd.admin.channel import Channel
from tcpd.admin.controls import Controls
from tcpd.admin.crowd import MOST, Crowd
from tcpd.admin.guesses import Guesses
from tcpd.admin.house import House
from tcpd.admin.page_files import page_routes
from tcpd.admin.recent import Recent
from tcpd.admin.requests import Request
from tcpd.admin.stream import Feed, Stream
from tcpd.admin.views import View, Views
from tcpd.admission.deadlines import Deadlines
from tcpd.config.admin import open_to_others
from tcpd.config.schema import ADMIN, AdminConfig
from tcpd.events import Bus
from tcpd.listener import Listener
from tcpd.serving import Serving
from tcpd.session import Origin, Session
from tcpd.units import Seconds

# Streams say something every 15 seconds; whoever is silent for longer than this isn't one.
DEADLINES = Deadlines(idle=Seconds(120.0), write_stall=Seconds(30.0), lifetime="off")
# Streams that may be read at once at one address by those who may only look (of a UNIX socket, by
# each user), and as many by those who may change something. It is less than the connections of an
# address, lest streams take all of them.
MOST_STREAMS = 64
# Connections that an address accepts in a turn of the loop: who floods it keeps no session waiting.
AT_ONCE = 4


class Site(http.HTTPFactory):
    """What serves a connection.

    Args:
        house: the daemon.

    Attributes:
        routes: all paths.
        rules: who may do what.
        channels: the connections.
        crowd: how many connections there may be.
        recent: what has happened last.
        guesses: the wrong tokens.
    """

    noisy = False
    protocol: Any = Channel
    reactor: Any

    def __init__(self, house: House) -> None:
        super().__init__(reactor=house.reactor)
        self.timeOut = None  # the listener's deadlines see to it
        self.controls = Controls(house)
        self.views = Views(house, self.controls)
        self.views.capture_of = _capture_of(house)
        self.recent = Recent(house)
        self.guesses = Guesses(house.reactor, house.vitals)
        api = Api(house, self.views, self.controls, self.recent)
        self.routes = Routes([*api.routes(), *page_routes()])
        self.rules = Rules()
        self.channels: set[Channel] = set()
        self.crowd = Crowd()
        # Who asked for each; and of what kind it is: what they might do then, whose places their
        # connection takes, and which user they are. Of each kind there are only so many, so that
        # nobody takes those of others.
        self._streams: dict[Stream, tuple[Request, Hashable]] = {}

    def startFactory(self) -> None:
        """Begin; there is no log of requests that would have to be opened."""

    def stopFactory(self) -> None:
        """End; there is nothing to end."""

    def log(self, request: Any) -> None:
        """Say nothing of a request."""

    def stream(self, request: Request, feed: Feed) -> None:
        """Answer a request with a stream.

        Raises:
            Problem: there are too many of its kind.
        """
        try:
            right = Right.CHANGE if request.right(self.rules) >= Right.CHANGE else Right.READ
            kind = (right, request.channel.lot, request.channel.peer.user)
            count = sum(each == kind for _, each in self._streams.values())
            if count >= MOST_STREAMS:
                problem = f"too many event streams are open: {count} of {MOST_STREAMS}"
                more = (
                    ""
                    if right is Right.CHANGE
                    else ", or show the token, for which others are kept"
                )
                raise Problem(503, problem, f"close one{more}")
        except Problem:
            feed.stop()
            raise
        stream = Stream(request, self.reactor, feed, self._ended)
        self._streams[stream] = (request, kind)
        request.stream = stream
        stream.start()

    def _ended(self, stream: Stream) -> None:
        self._streams.pop(stream, None)

    def close_streams(self, reason: str) -> None:
        """End all streams; `reason` is told to who reads them."""
        for stream in tuple(self._streams):
            stream.close(reason)

    def follow(self, rules: Rules) -> None:
        """Have these rules from now on, and end what they don't allow any more."""
        self.rules = rules
        for stream, (request, _) in tuple(self._streams.items()):
            if why := request.why_not(rules):
                stream.close(f"the configuration has changed: {why}")
        for channel in tuple(self.channels):
            if channel.is_cut_off:
                for request in channel.requests:
                    if request.stream is not None:
                        request.stream.close("the configuration has changed: this address is gone")
                channel.end()


class AdminServing(Serving):
    """Makes sessions of the connections.

    How many there may be is the crowd's matter. Those that are in a handshake aren't known there.

    Attributes:
        most_at_once: how many an address accepts before the loop serves the others.
    """

    most_at_once: ClassVar[int] = AT_ONCE

    def arriving(self, transport: Any) -> None:
        """Note a connection that has a handshake to do; of too many, the oldest go."""
        super().arriving(transport)
        rivals = [each for each in self.arrivals if each.server is transport.server]
        rivals.sort(key=_since, reverse=True)
        for each in rivals[MOST:]:
            each.abort_because("sessions")


def _since(transport: Any) -> float:
    since: float = transport.stage_since
    return since


def _capture_of(house: House) -> Callable[[Session | Listener], View | None]:
    """Return what tells of the capture that a session or listener has."""

    def capture_of(what: Session | Listener) -> View | None:
        status = house.captures.of(what.serving.origin.name if isinstance(what, Listener) else what)
        return None if status is None else asdict(status)

    return capture_of


class Admin:
    """The admin side.

    Args:
        house: the daemon.
    """

    def __init__(self, house: House) -> None:
        self._site = Site(house)
        self._reactor = house.reactor
        self._bus = Bus()  # of its own, where nobody listens
        self._numbers = itertools.count(1)

    def make_listener(self, config: AdminConfig) -> Listener:
        """Return a listener as it is configured, not open.

        Raises:
            TcpdError: something that the configuration names can't be used.
        """
        origin = Origin(
            name=ADMIN,
            handler=ADMIN,
            role="listener",
            bus=self._bus,
            clock=self._reactor,
            numbers=self._numbers,
        )
        serving = AdminServing(origin, self._site, DEADLINES)
        return Listener(self._reactor, config.listen, serving)

    def configured(self, config: AdminConfig | None) -> None:
        """Take note of the configuration that holds from now on, its addresses being open."""
        if config is None:
            self._site.recent.forget()
        else:
            self._site.recent.start()
            others = open_to_others(config)
            self._site.follow(Rules(token=config.token, hosts=config.hosts, open_to_others=others))

    def stop(self) -> None:
        """End what would otherwise have no end: streams, and connections that wait for more."""
        self._site.close_streams("tcpd stops")
        self._site.recent.stop()
        self._site.guesses.stop()
        self._site.views.stop()
        for channel in tuple(self._site.channels):
            channel.end()
