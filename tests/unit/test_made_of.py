"""What a handler is made of besides its options: files that it reads, and the file it stands in."""

from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from tcpd import registry
from tcpd.errors import HandlerError
from tcpd.handlers.logging import Logging
from tcpd.handlers.reply import Reply
from tcpd.interfaces import IReadsFiles, made_of

RULES = '[[rules]]\nmatch = "hi"\nreply = "{}"\n'


def reply(path: Path, text: str) -> Reply:
    path.write_text(RULES.format(text))
    return Reply(rules=path)


def logging_before(handler) -> Logging:
    logging = Logging(then="reply")
    logging.use_handlers(lambda *_: handler)
    return logging


def test_rules_that_say_the_same_are_the_same_whatever_the_file(tmp_path: Path) -> None:
    one = reply(tmp_path / "a.toml", "hello")
    same, other = reply(tmp_path / "a.toml", "hello"), reply(tmp_path / "a.toml", "bye")
    assert verifyObject(IReadsFiles, one)
    assert made_of(one) == made_of(same) != made_of(other)


def test_a_handler_before_another_is_made_of_that_one_too(tmp_path: Path) -> None:
    one = logging_before(reply(tmp_path / "a.toml", "hello"))
    same = logging_before(reply(tmp_path / "a.toml", "hello"))
    other = logging_before(reply(tmp_path / "a.toml", "bye"))
    assert verifyObject(IReadsFiles, one)
    assert made_of(one) == made_of(same) != made_of(other)
    assert made_of(Logging()) == made_of(Logging()) != made_of(one)


SOURCE = """
from twisted.internet.protocol import Factory, Protocol
class Says(Protocol):
    word = {word!r}
class Makes(Factory):
    protocol = Says
"""


@pytest.mark.parametrize("name", ["Says", "Makes"])
def test_a_file_of_python_is_the_same_until_it_changes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "made.py"

    def make(word: str):
        path.write_text(SOURCE.format(word=word))  # within a second, and of the same length
        return registry.find(f"{path}:{name}").make()

    one, same, other = make("one"), make("one"), make("two")
    assert made_of(one) == made_of(same) != made_of(other)
    assert (one.protocol.word, other.protocol.word) == ("one", "two")


def test_a_file_that_fails_to_load_leaves_what_was_loaded_from_it(tmp_path: Path) -> None:
    path = tmp_path / "once_good.py"
    path.write_text(SOURCE.format(word="good"))
    one = registry.find(f"{path}:Makes").make()
    path.write_text("1 / 0\n")
    with pytest.raises(HandlerError, match="ZeroDivisionError"):
        registry.find(f"{path}:Makes")
    path.write_text(SOURCE.format(word="good"))
    assert made_of(registry.find(f"{path}:Makes").make()) == made_of(one)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "secret.py"
    path.write_text("")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(HandlerError, match=r"secret\.py' can't be read: Permission denied"):
        registry.find(f"{path}:A")
