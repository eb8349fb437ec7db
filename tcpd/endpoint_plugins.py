"""The kinds of endpoint that are installed: Twisted's own plugins, and those of other packages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import getPlugins


def installed_kinds(*, server: bool) -> frozenset[str]:
    """Return the names of the kinds to listen on, or of those to connect to, in small letters."""
    interface = (
        IStreamServerEndpointStringParser
        if server
        else IStreamClientEndpointStringParserWithReactor
    )
    plugins: Iterable[Any] = getPlugins(interface)
    return frozenset(str(plugin.prefix).lower() for plugin in plugins)
