"""An endpoint that tells how each try to connect went."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer


class Told(Protocol):
    """Who is told: a connector."""

    def connected(self) -> None:
        """Note that a try has succeeded."""

    def failed(self, failure: Failure) -> None:
        """Note that a try has failed."""


@implementer(IStreamClientEndpoint)
class Tries:
    """The endpoint.

    Args:
        endpoint: what connects.
        told: who is told, before anybody else is.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, told: Told) -> None:
        self._endpoint = endpoint
        self._told = told

    def connect(self, factory: Any) -> Deferred[IProtocol]:
        """Connect, once."""
        connecting = self._endpoint.connect(factory)
        connecting.addCallbacks(self._connected, self._failed)
        return connecting

    def _connected(self, protocol: IProtocol) -> IProtocol:
        self._told.connected()
        return protocol

    def _failed(self, failure: Failure) -> Failure:
        self._told.failed(failure)
        return failure
