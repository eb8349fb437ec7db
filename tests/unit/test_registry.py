"""Names become handlers, or errors that say what would be right."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport

from tcpd import registry
from tcpd.errors import HandlerError

SOURCE = '''
from dataclasses import dataclass
from twisted.internet.protocol import Factory, Protocol
from sibling import GREETING

class Greet(Protocol):
    """Say hello.

    And nothing else.
    """
    def connectionMade(self):
        self.transport.write(GREETING)

@dataclass
class Loud(Factory):
    """Say something."""
    word: str = "hey"
    def buildProtocol(self, addr):
        return Greet()

class Plain(Factory):
    protocol = Greet

class Needy(Factory):
    def __init__(self, must):
        self.must = must

existing = Factory.forProtocol(Greet)
number = 7
'''


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "sibling.py").write_text("GREETING = b'hello'\n")
    path = tmp_path / "my_handlers.py"
    path.write_text(SOURCE)
    yield path
    for name in ("sibling", "my_handlers"):
        sys.modules.pop(name, None)


def answer(factory: Factory) -> bytes:
    transport = StringTransport()
    protocol = factory.buildProtocol(transport.getPeer())
    protocol.makeConnection(transport)
    return transport.value()


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_a_built_in_handler_has_a_summary_and_makes_a_factory(name: str) -> None:
    handler = registry.find(name)
    assert handler.name == name
    assert handler.summary.endswith(".")
    assert handler.options is not None


def test_a_protocol_in_a_file_is_served_by_a_factory(handlers: Path) -> None:
    handler = registry.find(f"{handlers}:Greet")
    assert (handler.summary, handler.options) == ("Say hello.", None)
    assert answer(handler.make()) == b"hello"


def test_a_relative_file_is_looked_up_in_the_base_directory(handlers: Path) -> None:
    assert answer(registry.find("my_handlers.py:Greet", handlers.parent).make()) == b"hello"


def test_a_dataclass_factory_has_options(handlers: Path) -> None:
    handler = registry.find(f"{handlers}:Loud")
    assert handler.options is not None
    assert handler.make().word == "hey"


def test_a_plain_factory_class_and_an_existing_factory_work_unchanged(handlers: Path) -> None:
    plain = registry.find(f"{handlers}:Plain")
    assert plain.options is None
    assert answer(plain.make()) == b"hello"
    existing = registry.find(f"{handlers}:existing")
    assert existing.make() is existing.make()


def test_a_module_on_the_path_is_imported() -> None:
    handler = registry.find("twisted.internet.protocol:Factory")
    assert isinstance(handler.make(), Factory)
    assert registry.find("twisted.protocols.wire:Echo").options is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ecoh", "no handler 'ecoh'; did you mean 'echo'?"),
        ("ecoh", "known are chargen, daytime, discard, echo, logging, reply, time"),
        ("nothing.py", "write 'nothing.py:Class'"),
        ("a:", "isn't a handler's name"),
        (":A", "isn't a handler's name"),
        ("no_such_module:A", "failed to import: ModuleNotFoundError: No module named"),
        ("/nowhere/x.py:A", "there is no file '/nowhere/x.py'"),
        ("twisted.protocols.wire:Ecoh", "has no 'Ecoh'; did you mean 'Echo'?"),
        ("twisted.protocols:basic", "'twisted.protocols:basic'"),
        ("os:getcwd", "expected a Twisted Protocol or Factory class"),
    ],
)
def test_what_cannot_be_had_is_an_error_with_what_would_be_right(name: str, expected: str) -> None:
    with pytest.raises(HandlerError) as caught:
        registry.find(name)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError: division by zero ("),
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raise SystemExit('bye')\n", "SystemExit: bye"),
        ("number = 7\n", "has no 'A'; there is no handler in it"),
    ],
)
def test_a_file_that_fails_to_load_says_why(tmp_path: Path, source: str, expected: str) -> None:
    path = tmp_path / "broken_handler.py"
    path.write_text(source)
    with pytest.raises(HandlerError) as caught:
        registry.find(f"{path}:A")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_place_of_the_failure_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fails_on_line_two.py"
    path.write_text("x = 1\nx.nope\n")
    with pytest.raises(HandlerError, match=r"fails_on_line_two\.py:2\)"):
        registry.find(f"{path}:A")


def test_a_number_is_no_handler_and_a_factory_with_arguments_cannot_be_made(handlers: Path) -> None:
    with pytest.raises(HandlerError, match="is of the type int; expected"):
        registry.find(f"{handlers}:number")
    with pytest.raises(HandlerError, match="can't be made: TypeError"):
        registry.find(f"{handlers}:Needy").make()


def entries(**values: str) -> dict[str, EntryPoint]:
    group = registry.ENTRY_POINT_GROUP
    return {name: EntryPoint(name=name, value=value, group=group) for name, value in values.items()}


def test_plugins_are_found_by_name_and_only_the_one_that_is_asked_for_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugins = entries(wire="twisted.protocols.wire:Echo", broken="no_such_module:A")
    monkeypatch.setattr(registry, "_plugins", lambda: plugins)
    assert isinstance(registry.find("wire").make().buildProtocol(None), Protocol)
    with pytest.raises(HandlerError, match=r"the plugin 'broken' \(no_such_module:A\) failed"):
        registry.find("broken")
    with pytest.raises(HandlerError, match="did you mean 'wire'"):
        registry.find("wier")


def test_the_list_shows_plugins_that_fail_and_names_that_clash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugins = entries(echo="twisted.protocols.wire:Echo", broken="no_such_module:A")
    monkeypatch.setattr(registry, "_plugins", lambda: plugins)
    listed = list(registry.list_handlers())
    assert {each.name for each in listed} == {*registry.BUILT_IN, "broken"}
    problems = {each.name: each.problem for each in registry.list_plugins() if each.problem}
    assert "a built-in handler has its name" in problems["echo"]
    assert "No module named 'no_such_module'" in problems["broken"]
    assert registry.find("echo").summary == "Send everything back as it came (RFC 862)."
