"""The admin side as a whole: what its listener serves, and how it begins and ends.

Rules:
- It is served by an ordinary listener, with limits and deadlines of its own. Its sessions are in no
  list, no metric, no event and no access log.
- It lasts longer than the sessions that it shows: while they drain, it says so.
- It costs nothing unless it is configured; then little, unless somebody looks.
"""

# Most of the methods of Twisted that are called here have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from twisted.web import http

from tcpd.admin.api import Api
from tcpd.admin.auth import Rules
from tcpd.admin.calls import Routes
from tcpd.admin.controls import Controls
from tcpd.admin.house import House
from tcpd.admin.page_files import page_routes
from tcpd.admin.requests import Channel
from tcpd.admin.stream import Feed, Stream
from tcpd.admin.views import View, Views
from tcpd.admission.deadlines import Deadlines
from tcpd.admission.gate import Gate
from tcpd.admission.rules import Limits
from tcpd.config.admin import open_to_others
from tcpd.config.schema import ADMIN, AdminConfig
from tcpd.events import Bus
from tcpd.listener import Listener
from tcpd.serving import Serving
from tcpd.session import Origin, Session
from tcpd.units import Seconds

# Connections: each page has two or three. It may be used behind a proxy of its own, so they aren't
# counted by address.
LIMITS = Limits(sessions=128, per_address="off")
# Streams say something every 15 seconds; whoever is silent for longer than this isn't one.
DEADLINES = Deadlines(idle=Seconds(120.0), write_stall=Seconds(30.0), lifetime="off")
# Streams that may be read at once.
MOST_STREAMS = 64


class Site(http.HTTPFactory):
    """What serves a connection.

    Args:
        house: the daemon.

    Attributes:
        routes: all paths.
        rules: who may do what.
        channels: the connections.
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
        self.routes = Routes([*Api(house, self.views, self.controls).routes(), *page_routes()])
        self.rules = Rules()
        self.channels: set[Channel] = set()
        self._streams: set[Stream] = set()

    def startFactory(self) -> None:
        """Begin; there is no log of requests that would have to be opened."""

    def stopFactory(self) -> None:
        """End; there is nothing to end."""

    def log(self, request: Any) -> None:
        """Say nothing of a request."""

    def stream(self, request: Any, feed: Feed) -> bool:
        """Answer a request with a stream, if there aren't too many; gives whether it does."""
        if len(self._streams) >= MOST_STREAMS:
            return False
        stream = Stream(request, self.reactor, feed, self._streams.discard)
        self._streams.add(stream)
        request.stream = stream
        stream.start()
        return True

    def close_streams(self, reason: str) -> None:
        """End all streams; `reason` is told to who reads them."""
        for stream in tuple(self._streams):
            stream.close(reason)


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

    def make_listener(self, config: AdminConfig) -> Listener:
        """Return a listener as it is configured, not open.

        Raises:
            TcpdError: something that the configuration names can't be used.
        """
        origin = Origin(
            name=ADMIN, handler=ADMIN, role="listener", bus=self._bus, clock=self._reactor
        )
        gate = Gate(self._reactor, None, LIMITS)
        serving = Serving(origin, self._site, DEADLINES, gate)
        return Listener(self._reactor, config.listen, serving)

    def configured(self, config: AdminConfig | None) -> None:
        """Take note of the configuration that holds from now on."""
        if config is not None:
            self._site.rules = Rules(
                token=config.token, hosts=config.hosts, open_to_others=open_to_others(config)
            )

    def stop(self) -> None:
        """End what would otherwise have no end: streams, and connections that wait for more."""
        self._site.close_streams("tcpd stops")
        self._site.views.stop()
        for channel in tuple(self._site.channels):
            channel.transport.loseConnection()
