"""The examples in docs/reply.md load, and hold the conversations that stand below them."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tcpd.config.load import load
from tcpd.errors import ConfigError
from tcpd.fields import Place, build, keys_of
from tcpd.framing import framing_of
from tcpd.handlers.reply import Reply
from tcpd.handlers.reply_rules.matching import Match
from tcpd.handlers.reply_rules.model import Rule
from tcpd.handlers.reply_rules.template import RULE_FIELDS, SESSION_FIELDS
from tcpd.registry import build_handler
from tcpd.testing import Peer
from tcpd.toml_file import TomlFile
from tcpd.units import parse_duration

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "reply.md").read_text("utf-8")
FENCED = re.findall(r"^```(toml)?\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
EXAMPLES = [text for kind, text in FENCED if kind]
CONVERSATIONS = [
    (text, conversation)
    for (kind, text), (next_kind, conversation) in pairwise(FENCED)
    if kind and not next_kind
]


def reply_of(text: str) -> Reply:
    """Return the handler of an example."""
    problems: list[ConfigError] = []
    source = TomlFile.parse(text, "docs/reply.md")
    if "listeners" in source.table:
        (name,) = source.table["listeners"]
        place = Place(source) / "listeners" / name / "options"
        table = source.table["listeners"][name]["options"]
    else:
        place, table = Place(source), source.table
    factory = build(Reply, table, place, problems)
    assert problems == []
    assert factory is not None
    return factory


def test_there_are_examples_and_conversations():
    assert len(EXAMPLES) == 14
    assert len(CONVERSATIONS) == 11


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_loads(text):
    reply_of(text)


def test_the_whole_configuration_is_the_one_that_is_shipped(tmp_path):
    (tmp_path / "tcpd.toml").write_text(EXAMPLES[0])
    shown = load(tmp_path / "tcpd.toml", build_handler)
    shipped = load(ROOT / "etc" / "examples" / "greeter.toml", build_handler)
    assert shown == shipped
    assert shipped.listeners.keys() == {"greeter"}


class Player:
    """Plays a conversation as it stands in the document."""

    def __init__(self, factory: Reply) -> None:
        self.factory = factory
        self.framing = framing_of(factory.framing)
        self.clock = Clock()
        self.connect()

    def connect(self) -> None:
        self.peer = Peer(self.factory, self.clock)
        self.decoder = self.framing.decoder()
        self.got: list[bytes] = []

    def listen(self) -> None:
        self.got += self.decoder.receive(self.peer.take())

    def play(self, line: str) -> None:
        mark, _, said = line.partition(" ")
        payload = bytes.fromhex(said[4:]) if said.startswith("hex ") else said.encode()
        self.listen()
        if mark == ">":
            assert self.got == [], "it said more than stands there"
            self.peer.send(self.framing.encode(payload))
        elif mark == "<":
            assert self.got, f"nothing was said, but {payload!r} stands there"
            assert self.got.pop(0) == payload
        elif line == "(new connection)":
            self.connect()
        elif line == "(closed)":
            assert self.got == []
            assert self.peer.closed
        else:
            assert self.got == []
            self.peer.wait(parse_duration(line.strip("()")) - 0.001)
            self.listen()
            assert self.got == [], "it came too early"
            self.peer.wait(0.001)


@pytest.mark.parametrize(("text", "conversation"), CONVERSATIONS)
def test_a_conversation_is_as_it_stands_in_the_document(text, conversation):
    player = Player(reply_of(text))
    for line in conversation.splitlines():
        player.play(line)
    player.listen()
    assert player.got == []
    assert player.decoder.pending == b""


def test_all_that_can_be_written_is_in_the_document():
    for key in [*keys_of(Reply), *keys_of(Rule), *keys_of(Match)]:
        assert re.search(rf"\| [^|]*`{key}\b", DOC), key
    for field in [*SESSION_FIELDS, *RULE_FIELDS]:
        assert f"{{{{{field}}}}}" in DOC
