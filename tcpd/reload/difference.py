"""The difference between two configurations, in words, and what of the old one goes on.

Only the names of keys are told, and no values: handlers' options may hold secrets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from tcpd.config.schema import Config, ConnectorConfig, ListenerConfig
from tcpd.interfaces import made_of
from tcpd.place import dotted

APPLIED = ("listeners", "connectors", "log", "sinks", "stop", "capture", "admin")
"""The tables of a configuration that a reload applies; others need a restart."""

Path = tuple[str, ...]
Served = TypeVar("Served", ListenerConfig, ConnectorConfig)


def changed_keys(old: Any, new: Any) -> Iterator[Path]:
    """Give the paths of the keys at which two values differ, as deep as both are tables."""
    if dataclasses.is_dataclass(old) and type(old) is type(new):
        for each in dataclasses.fields(old):
            if each.compare:
                for path in changed_keys(getattr(old, each.name), getattr(new, each.name)):
                    yield (each.name, *path)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            if key not in old or key not in new:
                yield (str(key),)
            else:
                for path in changed_keys(old[key], new[key]):
                    yield (str(key), *path)
    elif old != new:
        yield ()


def keys_in_words(paths: list[Path]) -> str:
    """Return paths for people: `options.rules and deadlines.idle`."""
    words = [dotted(path) for path in paths] or [""]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def needing_restart(old: Config, new: Config) -> list[str]:
    """Return the tables that differ and that no reload applies."""
    return [
        each.name
        for each in dataclasses.fields(Config)
        if each.name not in APPLIED and getattr(old, each.name) != getattr(new, each.name)
    ]


def with_handlers_kept(old: Config, new: Config) -> Config:
    """Return a new configuration with the handlers of the old one where they are the same.

    They are if name, options and everything that was read say the same; they then go on with all
    that they remember. A listener that only has another name keeps its handler, too: it is known by
    an address of one that is gone.
    """
    left = {name: each for name, each in old.listeners.items() if name not in new.listeners}
    listeners: dict[str, ListenerConfig] = {}
    for name, each in new.listeners.items():
        former = old.listeners.get(name)
        if former is None:
            former = left.pop(_former_name(each, left), None)
        listeners[name] = _kept(former, each)
    connectors = {
        name: _kept(old.connectors.get(name), each) for name, each in new.connectors.items()
    }
    return dataclasses.replace(new, listeners=listeners, connectors=connectors)


def _former_name(config: ListenerConfig, left: Mapping[str, ListenerConfig]) -> str:
    sockets = {each.socket for each in config.listen}
    for name, each in left.items():
        if not sockets.isdisjoint(address.socket for address in each.listen):
            return name
    return ""


def _kept(former: Served | None, new: Served) -> Served:
    if former is None or (former.handler, former.options) != (new.handler, new.options):
        return new
    if not _made_of_the_same(former.factory, new.factory):
        return new
    return dataclasses.replace(new, factory=former.factory)


def _made_of_the_same(one: Any, other: Any) -> bool:
    try:
        return made_of(one) == made_of(other)
    except BaseException:  # anybody's code may stand behind that; whoever can't say is made anew
        return False
