"""A configuration as TOML: what holds, defaults included."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tcpd.config.schema import Config, ConnectorConfig, ListenerConfig
from tcpd.endpoint import Endpoint
from tcpd.fields import keys_of
from tcpd.scalars import HandlerName
from tcpd.sinks.settings import SinkConfig

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dump(config: Config) -> str:
    """Return a TOML document that says all that a configuration holds.

    Times are in seconds and sizes in bytes; what isn't set has no line.
    """
    return "\n".join(_table((), _plain(config))).strip("\n")


def _plain(value: Any) -> Any:
    """Return a value in TOML's own types; what is None is left out of tables."""
    if isinstance(value, Endpoint):
        return value.text
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, ListenerConfig | ConnectorConfig):
        handler = HandlerName(value.handler).from_directory(value.base)
        value = dataclasses.replace(
            value, handler=handler, options=_options_of(value.factory, value)
        )
    if isinstance(value, SinkConfig):
        kind = HandlerName(value.kind).from_directory(value.base)
        options = _options_of(value.sink, value)
        value = dataclasses.replace(value, kind=kind, options=options)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = {key: getattr(value, field.name) for key, field in keys_of(type(value)).items()}
        return {key: _plain(each) for key, each in pairs.items() if each is not None}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _options_of(
    made: object, given: ListenerConfig | ConnectorConfig | SinkConfig
) -> Mapping[str, object]:
    """Return the options of a handler or sink, defaults included, if they have a TOML form."""
    kind = type(made)
    if not dataclasses.is_dataclass(kind):
        return given.options
    values = {key: getattr(made, f.name) for key, f in keys_of(kind).items()}
    for key, value in values.items():
        if isinstance(value, HandlerName):
            values[key] = value.from_directory(given.base)
    plain = {key: _plain(value) for key, value in values.items() if value is not None}
    return {**given.options, **{key: each for key, each in plain.items() if _is_simple(each)}}


def _is_simple(value: object) -> bool:
    """Return whether a value has a TOML form; one of a handler's own types has none we know."""
    if isinstance(value, list):
        return all(_is_simple(each) for each in value)
    return isinstance(value, str | bool | int | float)


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines of a table: first its values, then the tables in it."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) and value}
    values = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if values and path:
        yield ""
        yield f"[{'.'.join(_key(key) for key in path)}]"
    for key, value in values.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        yield from _table((*path, key), value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        # Bytes of the command line that are no UTF-8 have no form in TOML.
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        # JSON's strings are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)  # inf and nan are TOML's words, too
    return str(value)
