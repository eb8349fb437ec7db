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
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory

from tcpd.errors import ConfigError, HandlerError, did_you_mean
from tcpd.escape import escape_text
from tcpd.fields import Place, build_partly

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
        except Exception as error:
            raise HandlerError(
                f"the handler {self.name!r} can't be made: {_told(error)}"
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
    target, colon, attribute = name.rpartition(":")
    if colon:
        if not target or not attribute:
            raise HandlerError(
                f"{name!r} isn't a handler's name; write 'module:Class' or 'path/to/file.py:Class'"
            )
        if target.endswith(".py"):
            return _handler(name, _attribute(_load_file(name, target, base), attribute, name))
        return _handler(name, _attribute(_import(name, target), attribute, name))
    if name in BUILT_IN:
        return find_built_in(name)
    plugins = _plugins()
    if name in plugins:
        return _load_plugin(name, plugins[name])
    known = sorted({*BUILT_IN, *plugins})
    hint = did_you_mean(name, known)
    if name.endswith(".py"):
        raise HandlerError(f"no handler {name!r}; which class in it? write '{name}:Class'")
    others = f"known are {', '.join(known)}; 'module:Class' and 'file.py:Class' work too"
    raise HandlerError(f"no handler {name!r}; {hint + ' ' if hint else ''}{others}")


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
    except Exception as error:  # the handler's own checks of its options: anybody's code
        problem = f"the handler {name!r} failed on its options: {escape_text(_told(error), 300)}"
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
    module, _, attribute = BUILT_IN[name].partition(":")
    return dataclasses.replace(
        _handler(BUILT_IN[name], _attribute(_import(name, module), attribute, name)), name=name
    )


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
    found = _guarded(f"the plugin {name!r} ({entry.value})", entry.load)
    return _handler(name, found)


def _import(name: str, module: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; `twistd` alone does not
    found: ModuleType = _guarded(f"the handler {name!r}", lambda: importlib.import_module(module))
    return found


def _load_file(name: str, file: str, base: Path | None) -> ModuleType:
    path = (base or Path.cwd()) / Path(file).expanduser()
    if not path.is_file():
        raise HandlerError(f"the handler {name!r} can't be loaded: there is no file {str(path)!r}")
    # The module bears the file's name, so that its loggers do; the directory is importable, as it
    # is for `python file.py`.
    module_name = path.stem if path.stem.isidentifier() else "tcpd_handler_file"
    if module_name in sys.modules and getattr(sys.modules[module_name], "__file__", "") != str(
        path
    ):
        module_name = f"tcpd_handler_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise HandlerError(
            f"the handler {name!r} can't be loaded: {str(path)!r} isn't a Python file"
        )
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[module_name] = module  # dataclasses look their module up there
    loader = spec.loader
    _guarded(f"the handler {name!r}", lambda: loader.exec_module(module))
    return module


def _guarded(what: str, load: Callable[[], Any]) -> Any:
    """Call `load`; whatever it raises becomes a HandlerError with the reason and its place."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise HandlerError(f"{what} failed to import: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """Return an error in one line, with the file and line it comes from, if that is not ours."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):
        return text
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    frames = [f for f in frames if "importlib" not in f.filename]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


def _attribute(module: ModuleType, attribute: str, name: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [n for n, value in vars(module).items() if _is_handler(value) and n[0] != "_"]
        own = [
            n for n in public if getattr(getattr(module, n), "__module__", "") == module.__name__
        ]
        has = f"it has {', '.join(own)}" if own else "there is no handler in it"
        hint = did_you_mean(attribute, own) or has
        raise HandlerError(
            f"the handler {name!r} can't be found: {module.__name__} has no {attribute!r}; {hint}"
        ) from None


def _is_factory(found: Any) -> bool:
    return hasattr(found, "buildProtocol") or hasattr(found, "buildSession")


def _is_handler(found: Any) -> bool:
    return _is_factory(found) or (inspect.isclass(found) and IProtocol.implementedBy(found))


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
