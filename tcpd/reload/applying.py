"""The difference between what runs and a new configuration, applied: all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeVar

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from tcpd.config.schema import ADMIN, AdminConfig, Config, ConnectorConfig, ListenerConfig
from tcpd.connector import Connector
from tcpd.errors import ConfigErrors, TcpdError
from tcpd.listener import Listener
from tcpd.reload.connectors import ConnectorsChange
from tcpd.reload.difference import (
    changed_keys,
    keys_in_words,
    needing_restart,
    with_handlers_kept,
)
from tcpd.reload.house import House
from tcpd.reload.listeners import ListenersChange

# Of a listener, what doesn't concern the terms of its sessions.
_NO_TERMS = frozenset(("listen", "tls", "capture"))

Served = TypeVar("Served", ListenerConfig, ConnectorConfig)
Service = TypeVar("Service", Listener, Connector)

_log = Logger()


class Refused(Exception):  # noqa: N818  (it says what has become of the configuration)
    """A new configuration can't be applied.

    Args:
        problems: all that is wrong, a line each.

    Attributes:
        lost: the addresses that were closed on the way and couldn't be opened again.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)
        self.problems = tuple(problems)
        self.lost: tuple[str, ...] = ()


def apply(house: House, read: Callable[[], Config]) -> list[str]:
    """Read a configuration and apply what is different in it.

    Args:
        house: what runs.
        read: reads the configuration, or raises TcpdError with all that is wrong with it.

    Returns:
        What was different, in words.

    Raises:
        Refused: it can't be applied, and nothing has changed, but for what its `lost` says.
    """
    old = house.config
    try:
        new = with_handlers_kept(old, read())
    except ConfigErrors as errors:
        raise Refused([str(each) for each in errors.errors]) from None
    except TcpdError as error:
        raise Refused([str(error)]) from None
    problems: list[TcpdError] = []
    fresh = _made(house.make_listener, new.listeners, problems)
    fresh_connectors = _made(house.make_connector, new.connectors, problems)
    everyone = fresh | _made_aside(house, new, problems)
    _refuse(problems, house)
    running = {**house.listeners, **house.roster.aside}
    inside = ListenersChange(running, everyone, _with_other_terms(old, new))
    outside = ConnectorsChange(
        house.connectors, fresh_connectors, _first_keys(old, new), new.connectors
    )
    words = [
        *_listeners_in_words(old, new, house.listeners, fresh),
        *_connectors_in_words(old, new, outside.replaced),
        *_sinks_in_words(old, new),
        *(keys_in_words([path]) for path in changed_keys({"log": old.log}, {"log": new.log})),
        *(
            keys_in_words([path])
            for path in changed_keys({"capture": old.capture}, {"capture": new.capture})
        ),
        *_admin_in_words(old.admin, new.admin),
    ]
    sinks = house.sinks.prepare(new.sinks)
    with ExitStack() as finally_:
        with ExitStack() as undo:
            problems += inside.prepare(undo, finally_)
            problems += outside.prepare(undo)
            switch_log = _prepare_log(house, new, undo, problems)
            _refuse(problems, house)
            problems += inside.displace(undo)
            try:
                _refuse(problems, house)
            except Refused as refused:
                undo.close()
                refused.lost = tuple(inside.lost)
                raise
            undo.pop_all()
        # Nothing fails from here on.
        switch_log()
        inside.commit(house)
        outside.commit(house)
        sinks.commit()
        house.configured(new)
    _tell_what_is_left(house, old, new)
    return words


def _made(
    make: Callable[[str, Served], Service],
    configs: Mapping[str, Served],
    problems: list[TcpdError],
) -> dict[str, Service]:
    made = {}
    for name, config in configs.items():
        try:
            made[name] = make(name, config)
        except TcpdError as error:
            problems.append(error)
    return made


def _made_aside(house: House, new: Config, problems: list[TcpdError]) -> dict[str, Listener]:
    """Return the admin side's listener, not open, if it is configured."""
    try:
        return {ADMIN: house.make_admin_listener(new.admin)} if new.admin is not None else {}
    except TcpdError as error:
        problems.append(error)
        return {}


def _refuse(problems: Collection[TcpdError], house: House) -> None:
    """Raise Refused if there is any problem, each told once."""
    lines = []
    for each in problems:
        line = str(each)
        cause = each.__cause__
        denied = isinstance(cause, CannotListenError) and isinstance(
            cause.socketError, PermissionError
        )
        if denied and house.gave_up_privileges:
            line += "; tcpd gave up its privileges when it started, so this takes a restart"
        lines.append(line)
    if lines:
        raise Refused(list(dict.fromkeys(lines)))


def _prepare_log(
    house: House, new: Config, undo: ExitStack, problems: list[TcpdError]
) -> Callable[[], object]:
    """Open the new log, if it is another; gives what switches to it."""
    switch, log = house.log_switch, new.log
    if switch is None:
        return lambda: None
    try:
        output = switch.open(log.format, log.file)
    except TcpdError as error:
        problems.append(error)
        return lambda: None
    if output is not switch.output:
        undo.callback(output.close)
    return lambda: switch.switch(output, log.format, log.file, log.level)


def _with_other_terms(old: Config, new: Config) -> set[str]:
    """Return the names of the listeners whose sessions to come are served on other terms."""
    return {
        name
        for name, each in new.listeners.items()
        if (was := old.listeners.get(name)) is not None
        and (
            each.factory is not was.factory
            or {path[0] for path in changed_keys(was, each)} - _NO_TERMS
        )
    }


def _first_keys(old: Config, new: Config) -> dict[str, set[str]]:
    """Return the keys that differ, of each connector that is there before and after."""
    return {
        name: {path[0] for path in changed_keys(each, new.connectors[name])}
        for name, each in old.connectors.items()
        if name in new.connectors
    }


# -- in words --------------------------------------------------------------------------------


def _listeners_in_words(
    old: Config, new: Config, running: Mapping[str, Listener], fresh: Mapping[str, Listener]
) -> Iterator[str]:
    for name, each in old.listeners.items():
        if name not in new.listeners:
            count = sum(len(sessions) for _, sessions in running[name].serving.lots())
            sessions = f"{count} session{'s go' if count > 1 else ' goes'} on"
            yield f"listener {name} is gone" + (f"; {sessions}" if count else "")
            continue
        yield from _changes_in_words(f"listener {name}", each, new.listeners[name])
        if "tls" not in {path[0] for path in changed_keys(each, new.listeners[name])}:
            before = {door.address.socket: door.tls for door in running[name].doors}
            for door in fresh[name].doors:
                was = before.get(door.address.socket)
                if was is not None and door.tls is not None and was.digest != door.tls.digest:
                    yield f"listener {name}: the files of its TLS have changed"
                    break
    for name in new.listeners.keys() - old.listeners.keys():
        yield f"listener {name} is new"


def _connectors_in_words(old: Config, new: Config, replaced: Collection[str]) -> Iterator[str]:
    for name, each in old.connectors.items():
        if name not in new.connectors:
            yield f"connector {name} is gone"
            continue
        for change in _changes_in_words(f"connector {name}", each, new.connectors[name]):
            yield f"{change}; it connects anew" if name in replaced else change
    for name in new.connectors.keys() - old.connectors.keys():
        yield f"connector {name} is new"


def _sinks_in_words(old: Config, new: Config) -> Iterator[str]:
    for name, each in old.sinks.items():
        if name not in new.sinks:
            yield f"sink {name} is gone"
        elif paths := list(changed_keys(each, new.sinks[name])):
            yield f"sink {name}: {keys_in_words(paths)} changed"
    for name in new.sinks.keys() - old.sinks.keys():
        yield f"sink {name} is new"


def _admin_in_words(old: AdminConfig | None, new: AdminConfig | None) -> Iterator[str]:
    if old is None or new is None:
        if old is not new:
            yield f"the admin side is {'gone' if new is None else 'new'}"
        return
    if paths := list(changed_keys(old, new)):
        yield f"admin: {keys_in_words(paths)} changed"
    if old.token != new.token:
        yield "admin: the token has changed"


def _changes_in_words(what: str, old: Served, new: Served) -> Iterator[str]:
    paths = list(changed_keys(old, new))
    if paths:
        yield f"{what}: {keys_in_words(paths)} changed"
    if new.factory is not old.factory and not {"handler", "options"} & {p[0] for p in paths}:
        yield f"{what}: a file that its handler is made of has changed"


def _tell_what_is_left(house: House, old: Config, new: Config) -> None:
    """Tell what has changed and isn't applied."""
    for name in needing_restart(old, new):
        _log.warn("reload: [{name}] has changed, which takes a restart", name=name)
    told = [path for path in changed_keys(old.log, new.log) if path != ("access",)]
    if house.log_switch is None and told:
        _log.warn(
            "reload: {keys} of [log] has changed, but twistd was given a log of its own",
            keys=keys_in_words(told),
        )
