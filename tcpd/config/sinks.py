"""The sinks of a configuration: each table read, and its sink made of its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from tcpd.errors import ConfigError, did_you_mean
from tcpd.fields import Place, build_partly
from tcpd.sinks.settings import SinkConfig


class BuildSink(Protocol):
    """A function that makes sinks; `tcpd.sink_registry.build_sink` is one."""

    def __call__(
        self,
        kind: str,
        options: Mapping[str, Any],
        kind_at: Place,
        options_at: Place,
        /,
        *,
        problems: list[ConfigError],
        base: Path | None = None,
    ) -> Any:
        """Return a sink, or None after adding to `problems` what is wrong.

        Args:
            kind: the name of its kind.
            options: its options, unchecked.
            kind_at: where its kind stands.
            options_at: where its options stand.
            problems: gains an entry for every mistake.
            base: the directory that a relative file is looked up in.
        """


def read_sink(
    table: object, place: Place, build_sink: BuildSink | None, problems: list[ConfigError]
) -> SinkConfig | None:
    """Return a sink's configuration, or None after noting what is wrong with it.

    Args:
        table: what stands in the source, hopefully a table.
        place: where it stands.
        build_sink: makes the sink itself; without it, its kind and options are left unchecked.
        problems: gains an entry for every mistake.
    """
    found = len(problems)
    config = build_partly(SinkConfig, table, place, problems)
    sink, base = None, (place / "kind").directory
    kind = table.get("kind") if isinstance(table, Mapping) else None
    options = table.get("options", {}) if isinstance(table, Mapping) else None
    if build_sink is not None and isinstance(kind, str) and isinstance(options, Mapping):
        at = place / "kind", place / "options"
        sink = build_sink(kind, options, *at, problems=problems, base=base)
    if config is None or len(problems) > found:
        return None
    return dataclasses.replace(config, sink=sink, base=base)


def place_problems(
    config: SinkConfig, place: Place, names: Collection[str]
) -> Iterator[ConfigError]:
    """Give each pattern of a sink's `listeners` that none of the names matches.

    Args:
        config: the sink.
        place: where it stands.
        names: all listeners and connectors.
    """
    for index, pattern in enumerate(config.listeners):
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            hint = did_you_mean(pattern, names) or f"there are {', '.join(names)}"
            problem = f"no listener or connector is called {pattern!r}"
            yield (place / "listeners" / index).error(problem, hint)
