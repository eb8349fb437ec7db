"""The name of a sink's kind becomes the sink.

A name is a built-in one, an installed plugin's (entry points of the group `tcpd.sinks`),
`module:Class`, or `file.py:Class`. Behind it stands a dataclass that derives from
`tcpd.sinks.sink.Sink`: its fields are its options.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from tcpd.errors import ConfigError, SinkError
from tcpd.escape import escape_text
from tcpd.fields import Place, build_partly
from tcpd.loading import Loader, told
from tcpd.sinks.sink import Sink

ENTRY_POINT_GROUP = "tcpd.sinks"

BUILT_IN = {
    "journal": "tcpd.sinks.journal:Journal",
    "jsonl": "tcpd.sinks.jsonl:JsonLines",
    "memory": "tcpd.sinks.memory:Memory",
    "nats": "tcpd.sinks.nats_stream:NATSStream",
    "postgresql": "tcpd.sinks.postgresql:PostgreSQL",
    "redis": "tcpd.sinks.redis_stream:RedisStream",
    "sqlite": "tcpd.sinks.sqlite:SQLite",
    "stdout": "tcpd.sinks.stdout:StandardOutput",
}

NEEDS = {"redis": "redis", "postgresql": "psycopg", "nats": "nats"}
"""The module without which a built-in one can't be had; the extra bears the name of the kind."""


def find(name: str, base: Path | None = None) -> type[Sink]:
    """Return the class of a kind of sink.

    Args:
        name: `jsonl`, the name of an installed plugin, `module:Class`, or `file.py:Class`.
        base: the directory that a relative file is looked up in; the current one by default.

    Raises:
        SinkError: there is none, or it failed to load; the text says which and why.
    """
    if ":" in name:
        return _checked(name, _loader.load(name, base))
    if name in BUILT_IN:
        needed = NEEDS.get(name)
        if needed is not None and importlib.util.find_spec(needed) is None:
            raise SinkError(
                f"the sink {name!r} needs the package {needed!r}: pip install 'tcpd[{name}]'"
            )
        return _checked(name, _loader.load_built_in(name, BUILT_IN[name]))
    plugins = _plugins()
    if name in plugins:
        return _checked(name, _loader.load_plugin(name, plugins[name]))
    raise _loader.no_such(name, sorted({*BUILT_IN, *plugins}))


def build_sink(
    kind: str,
    options: Mapping[str, Any],
    kind_at: Place,
    options_at: Place,
    *,
    problems: list[ConfigError],
    base: Path | None = None,
) -> Sink | None:
    """Return a configured sink, with its options; nothing is opened yet.

    Args:
        kind: the name of its kind, as for `find`.
        options: its options, as the configuration gives them.
        kind_at: where its kind stands.
        options_at: where its options stand.
        problems: gains an entry for every mistake.
        base: the directory that a relative file is looked up in; the current one by default.

    Returns:
        The sink, or None if there was any mistake.
    """
    try:
        cls = find(kind, base)
    except SinkError as error:
        problems.append(kind_at.error(str(error)))
        return None
    before = len(problems)
    try:
        sink = build_partly(cls, options, options_at, problems)
    except Exception as error:  # the sink's own checks of its options: anybody's code
        why = escape_text(told(error, __file__), 300)
        problems.append(options_at.error(f"the sink {kind!r} failed on its options: {why}"))
        return None
    return sink if len(problems) == before else None


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _is_sink(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, Sink) and found is not Sink


def _checked(name: str, found: Any) -> type[Sink]:
    """Return what was found, if it is a class of sinks."""
    expected = "expected a dataclass that derives from tcpd.sinks.sink.Sink"
    if not _is_sink(found):
        what = "another class" if inspect.isclass(found) else f"of the type {type(found).__name__}"
        raise SinkError(f"the sink {name!r} is {what}; {expected}")
    cls: type[Sink] = found
    if not dataclasses.is_dataclass(cls):
        raise SinkError(f"the sink {name!r} is no dataclass; {expected}")
    if inspect.isabstract(found):
        raise SinkError(f"the sink {name!r} has no method 'write'")
    return cls


_loader = Loader(kind="sink", error=SinkError, is_one=_is_sink)
