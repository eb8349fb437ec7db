"""Sinks in a configuration: all that is wrong is told with its line, and what is right is made."""

import dataclasses
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tcpd import sink_registry
from tcpd.config.dump import dump
from tcpd.config.load import build_config, load
from tcpd.config.schema import Config
from tcpd.errors import ConfigErrors
from tcpd.registry import build_handler
from tcpd.sink_registry import BUILT_IN, NEEDS, build_sink, find
from tcpd.sinks.memory import Memory
from tcpd.sinks.settings import Retry, SinkConfig
from tcpd.sinks.sink import Sink
from tcpd.toml_file import TomlFile

LISTENER = '[listeners.web]\nlisten = "tcp:0"\n'

OWN = '''
from dataclasses import dataclass
from typing import Annotated
from tcpd.errors import FieldError
from tcpd.fields import Range
from tcpd.sinks.sink import Sink

@dataclass
class Own(Sink):
    """Mine."""
    size: Annotated[int, Range(1)] = 1
    word: str = ""
    def __post_init__(self):
        if self.word == "bad":
            raise FieldError(("word",), "not that one")
        if self.word == "bug":
            raise KeyError("mine")
    def write(self, batch):
        pass

class NoDataclass(Sink):
    def write(self, batch):
        pass

@dataclass
class NoWrite(Sink):
    pass

class Other:
    pass
'''


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sink_registry, "_plugins", dict)
    (tmp_path / "own.py").write_text(OWN)
    yield
    for name in [each for each in sys.modules if each in ("own", "tcpd_sink_own")]:
        del sys.modules[name]


def load_text(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "x.toml"
    path.write_text(LISTENER + text)
    return load(path, build_handler, build_sink=build_sink)


def test_a_sink_is_made_of_its_options(tmp_path: Path) -> None:
    text = '[sinks.a]\nkind = "memory"\noptions = { keep = 7 }\nqueue = 5\nevents = "session.*"\n'
    sink = load_text(tmp_path, text).sinks["a"]
    assert (sink.kind, sink.queue, sink.events) == ("memory", 5, ("session.*",))
    assert (type(sink.sink), sink.sink.keep) == (Memory, 7)


def test_a_relative_path_starts_from_the_file(tmp_path: Path) -> None:
    sink = load_text(tmp_path, '[sinks.a]\nkind="jsonl"\noptions={path="e"}\n').sinks["a"].sink
    assert sink.path == tmp_path / "e"


@pytest.mark.parametrize("kind", ["./own.py:Own", "own:Own"])
def test_a_sink_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    config = load_text(tmp_path, f'[sinks.a]\nkind = "{kind}"\noptions = {{ size = 3 }}\n')
    assert config.sinks["a"].sink.size == 3


def test_an_installed_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("mine", "own:Own", "tcpd.sinks")
    monkeypatch.setattr(sink_registry, "_plugins", lambda: {"mine": entry})
    assert find("mine").__name__ == "Own"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_one_is_there(name: str) -> None:
    cls = find(name)
    assert issubclass(cls, Sink)
    assert (cls.__doc__ or "").partition("\n")[0].endswith(".")


def test_one_that_needs_a_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "redis", "nowhere:Nothing")
    monkeypatch.setitem(NEEDS, "redis", "no_such_package")
    with pytest.raises(sink_registry.SinkError) as caught:
        find("redis")
    assert str(caught.value) == (
        "the sink 'redis' needs the package 'no_such_package': pip install 'tcpd[redis]'"
    )


BROKEN = {
    "no kind": (
        "[sinks.a]\n",
        "x.toml:3: sinks.a: 'kind' is missing; expected a text",
    ),
    "an unknown kind": (
        '[sinks.a]\nkind = "jsnl"\n',
        "x.toml:4: sinks.a.kind: no sink 'jsnl'; did you mean 'jsonl'?",
    ),
    "no such class": (
        '[sinks.a]\nkind = "./own.py:Owm"\n',
        "x.toml:4: sinks.a.kind: the sink './own.py:Owm' can't be found: own has no 'Owm'; did",
    ),
    "no sink": (
        '[sinks.a]\nkind = "./own.py:Other"\n',
        "x.toml:4: sinks.a.kind: the sink './own.py:Other' is another class; expected",
    ),
    "no dataclass": (
        '[sinks.a]\nkind = "./own.py:NoDataclass"\n',
        "x.toml:4: sinks.a.kind: the sink './own.py:NoDataclass' is no dataclass; expected",
    ),
    "no write": (
        '[sinks.a]\nkind = "./own.py:NoWrite"\n',
        "x.toml:4: sinks.a.kind: the sink './own.py:NoWrite' has no method 'write'",
    ),
    "an unknown option": (
        '[sinks.a]\nkind = "./own.py:Own"\n[sinks.a.options]\nsiez = 3\n',
        "x.toml:6: sinks.a.options.siez: unknown key; did you mean 'size'?",
    ),
    "an option out of range": (
        '[sinks.a]\nkind = "./own.py:Own"\noptions = { size = 0 }\n',
        "x.toml:5: sinks.a.options.size: expected 1 or more, not 0",
    ),
    "an option that the sink refuses": (
        '[sinks.a]\nkind = "./own.py:Own"\noptions = { word = "bad" }\n',
        "x.toml:5: sinks.a.options.word: not that one",
    ),
    "a bug in the sink's checks": (
        '[sinks.a]\nkind = "./own.py:Own"\noptions = { word = "bug" }\n',
        "x.toml:5: sinks.a.options: the sink './own.py:Own' failed on its options: KeyError",
    ),
    "a required option": (
        '[sinks.a]\nkind = "jsonl"\n',
        "x.toml:3: sinks.a.options: 'path' is missing; expected a path",
    ),
    "an event that isn't": (
        '[sinks.a]\nkind = "memory"\nevents = ["*", "session.close"]\n',
        "x.toml:5: sinks.a.events[1]: no event is called 'session.close'; did you mean",
    ),
    "a listener that isn't": (
        '[sinks.a]\nkind = "memory"\nlisteners = ["wbe"]\n',
        "x.toml:5: sinks.a.listeners[0]: no listener or connector is called 'wbe'; did you mean",
    ),
    "pauses the wrong way round": (
        '[sinks.a]\nkind = "memory"\nretry = { max = "1ms" }\n',
        "x.toml:5: sinks.a.retry.max: it is shorter than 'initial'",
    ),
    "a bad name": (
        '[sinks."a b"]\nkind = "memory"\n',
        'x.toml:3: sinks."a b": this isn\'t a valid name',
    ),
    "no table": (
        "[sinks]\na = 1\n",
        "x.toml:4: sinks.a: expected a table, not the number 1",
    ),
}


@pytest.mark.parametrize(("text", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_text(tmp_path, text)
    (line,) = str(caught.value).removeprefix(f"{tmp_path}/").splitlines()
    assert line.startswith(told)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = '[sinks.a]\nkind = "x"\nqueue = 0\nevents = 3\n[sinks.b]\nkind = "jsonl"\nzzz = 1\n'
    with pytest.raises(ConfigErrors) as caught:
        load_text(tmp_path, text)
    lines = [str(each).split(":")[1] for each in caught.value.errors]
    assert lines == ["4", "5", "6", "7", "9"]


def test_two_configurations_that_say_the_same_are_equal(tmp_path: Path) -> None:
    text = '[sinks.a]\nkind = "memory"\n'
    one, other = load_text(tmp_path, text), load_text(tmp_path, text)
    assert one == other
    assert one.sinks["a"].sink is not other.sinks["a"].sink
    assert one != load_text(tmp_path, text + "queue = 9\n")


def test_what_is_printed_says_the_same_wherever_it_is_read(tmp_path: Path) -> None:
    text = '[sinks.a]\nkind="jsonl"\noptions={path="e"}\n[sinks.b]\nkind="./own.py:Own"\n'
    config = load_text(tmp_path, text)
    printed = dump(config)
    again = TomlFile.parse(printed, "/elsewhere.toml")
    loaded = build_config(again.table, again, build_handler, build_sink=build_sink)
    assert loaded.sinks["a"].sink == config.sinks["a"].sink
    assert loaded.sinks["b"].kind == f"{tmp_path}/own.py:Own"
    shown = tomllib.loads(printed)["sinks"]["a"]
    assert shown["options"]["keep"] == 10
    assert shown["retry"] == {"initial": 0.5, "max": 30.0}


def test_without_a_maker_of_sinks_their_options_are_not_looked_at() -> None:
    file = TomlFile.parse(LISTENER + '[sinks.a]\nkind = "x"\noptions = { y = 1 }\n', "x.toml")
    sinks = build_config(file.table, file, build_handler).sinks
    assert sinks == {"a": SinkConfig(kind="x", options={"y": 1})}
    assert dataclasses.replace(sinks["a"], retry=Retry()).sink is None


def test_the_settings_need_no_twisted() -> None:
    code = "import tcpd.sinks.settings, sys; sys.exit('twisted' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
