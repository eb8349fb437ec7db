"""A handler's name becomes the handler.

A name is a built-in one, an installed plugin's, `module:Class`, or `file.py:Class`.

What may stand behind a name:
- a dataclass that is a factory (`buildProtocol` or `buildSession`): its fields are its options;
- any other factory class that can be made without arguments, or a factory that exists already;
- a `Protocol` subclass: each connection gets an instance.

Rules:
- The built-in handlers need no entry points, so they work from a plain checkout.
- Nothing is imported before somebody asks; what can't be had is a `HandlerError` with the reason.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory

from tcpd.errors import ConfigError, HandlerError
from tcpd.escape import escape_text
from tcpd.fields import Place, build_partly
from tcpd.loading import Loader, told

ENTRY_POINT_GROUP = "tcpd.handlers"

BUILT_IN = {
    "chargen": "tcpd.handlers.chargen:Chargen",
    "daytime": "tcpd.handlers.daytime:Daytime",
    "discard": "tcpd.handlers.discard:Discard",
    "echo": "tcpd.handlers.echo:Echo",
    "logging": "tcpd.handlers.logging:Logging",
    "reply": "tcpd.handlers.reply:Reply",
    "time": "tcpd.handlers.time:Time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerClass:
    """A handler that was found.

    Attributes:
        name: as it was asked for.
        summary: the first line of its docstring.
        options: the dataclass whose fields are its options, or None if it takes none.
    """

    name: str
    summary: str
    options: type[Any] | None
    _make: Callable[[], Any]

    def make(self) -> Any:
        """Return the factory that serves connections, with the defaults of its options.

        Raises:
            HandlerError: the handler can't be made.
        """
        try:
            return self._make()
        except BaseException as error:
            raise HandlerError(
                f"the handler {self.name!r} can't be made: {told(error, __file__)}"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A handler in the list of those that exist: its summary, or why it fails to load."""

    name: str
    source: str
    summary: str = ""
    problem: str = ""


def find(name: str, base: Path | None = None) -> HandlerClass:
    """Return the handler of this name.

    Args:
        name: `echo`, the name of an installed plugin, `module:Class`, or `file.py:Class`.
        base: the directory that a relative file is looked up in; the current one by default.

    Raises:
        HandlerError: there is none, or it failed to load; the text says which and why.
    """
    if ":" in name:
        return _handler(name, _loader.load(name, base))
    if name in BUILT_IN:
        return find_built_in(name)
    plugins = _plugins()
    if name in plugins:
        return _load_plugin(name, plugins[name])
    raise _loader.no_such(name, sorted({*BUILT_IN, *plugins}))


def build_handler(
    handler: Any,
    options: Mapping[str, Any],
    name_at: Place,
    options_at: Place,
    *,
    problems: list[ConfigError],
    base: Path | None = None,
) -> Any:
    """Return the factory of a configured handler, with its options, ready to serve.

    A handler that stands before others (`IHandlerUser`) is given those too.

    Args:
        handler: its name, as for `find`, or the class or factory itself.
        options: its options, as the configuration gives them.
        name_at: where its name stands.
        options_at: where its options stand.
        problems: gains an entry for every mistake.
        base: the directory that a relative file is looked up in; the current one by default.

    Returns:
        The factory, or None if there was any mistake.
    """
    try:
        found = (
            find(handler, base) if isinstance(handler, str) else _handler(repr(handler), handler)
        )
    except HandlerError as error:
        problems.append(name_at.error(str(error)))
        return None
    name = found.name
    if found.options is None:
        for key in options:
            hint = f"the handler {name!r} takes no options"
            problems.append((options_at / key).error("unknown key", hint))
        if options:
            return None
        try:
            return found.make()
        except HandlerError as error:
            problems.append(name_at.error(str(error)))
            return None
    before = len(problems)
    try:
        factory = build_partly(found.options, options, options_at, problems)
    except BaseException as error:  # the handler's own checks of its options: anybody's code
        problem = (
            f"the handler {name!r} failed on its options: {escape_text(told(error, __file__), 300)}"
        )
        problems.append(options_at.error(problem))
        return None
    if factory is not None and hasattr(factory, "use_handlers"):

        def make(name_key: str, name: str, options_key: str, options: Mapping[str, Any]) -> Any:
            places = options_at / name_key, options_at / options_key
            return build_handler(name, options, *places, problems=problems, base=base)

        factory.use_handlers(make)
    return factory if len(problems) == before else None


def find_built_in(name: str) -> HandlerClass:
    """Return a built-in handler."""
    found = _loader.load_built_in(name, BUILT_IN[name])
    return dataclasses.replace(_handler(BUILT_IN[name], found), name=name)


def list_handlers() -> Iterator[Listed]:
    """Give every handler that has a name, those that fail to load included."""
    for name in BUILT_IN:
        yield _listed(name, "built in", partial(find_built_in, name))
    yield from list_plugins()


def list_plugins() -> Iterator[Listed]:
    """Give every installed plugin, those that fail to load included."""
    for name, entry in sorted(_plugins().items()):
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "installed"
        if name in BUILT_IN:
            problem = "a built-in handler has its name, and is used in its place"
            yield Listed(name=name, source=source, problem=problem)
        else:
            yield _listed(name, source, partial(_load_plugin, name, entry))


def _listed(name: str, source: str, load: Callable[[], HandlerClass]) -> Listed:
    try:
        return Listed(name=name, source=source, summary=load().summary)
    except HandlerError as error:
        return Listed(name=name, source=source, problem=str(error))


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _load_plugin(name: str, entry: EntryPoint) -> HandlerClass:
    return _handler(name, _loader.load_plugin(name, entry))


def _is_factory(found: Any) -> bool:
    return hasattr(found, "buildProtocol") or hasattr(found, "buildSession")


def _is_handler(found: Any) -> bool:
    return _is_factory(found) or (inspect.isclass(found) and IProtocol.implementedBy(found))


_loader = Loader(kind="handler", error=HandlerError, is_one=_is_handler)


def _factory_for(protocol: type[Any]) -> Any:
    """Return a factory that builds a protocol for each connection."""
    factory: Any = Factory.forProtocol(protocol)
    factory.noisy = False  # our listeners say when they start
    return factory


def _handler(name: str, found: Any) -> HandlerClass:
    """Return what was found as a handler, or say why it is none."""
    summary = (inspect.getdoc(found) or "").partition("\n")[0]
    if inspect.isclass(found) and IProtocol.implementedBy(found):
        return HandlerClass(
            name=name, summary=summary, options=None, _make=partial(_factory_for, found)
        )
    if inspect.isclass(found) and _is_factory(found):
        options = found if dataclasses.is_dataclass(found) else None
        return HandlerClass(name=name, summary=summary, options=options, _make=found)
    if _is_factory(found):
        return HandlerClass(name=name, summary=summary, options=None, _make=lambda: found)
    what = "another class" if inspect.isclass(found) else f"of the type {type(found).__name__}"
    raise HandlerError(
        f"the handler {name!r} is {what}; expected a Twisted Protocol or Factory class, or a"
        " factory"
    )
