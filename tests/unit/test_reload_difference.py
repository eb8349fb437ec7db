"""The difference between two configurations, in words, and which handlers go on."""

import dataclasses
from pathlib import Path

import pytest
from helpers import pem

from tcpd.config.load import build_config
from tcpd.config.schema import Config
from tcpd.handlers.reply import Reply
from tcpd.registry import build_handler
from tcpd.reload.difference import changed_keys, keys_in_words, needing_restart, with_handlers_kept
from tcpd.toml_file import TomlFile


@pytest.fixture
def config(tmp_path: Path):
    """Return a function that makes a configuration of a text."""
    pem.write(tmp_path / "one.pem", tmp_path / "two.pem")

    def make(text: str) -> Config:
        path = tmp_path / "tcpd.toml"
        path.write_text(text)
        file = TomlFile.read(path)
        return build_config(file.table, file, build_handler)

    return make


def words(old: Config, new: Config) -> str:
    return keys_in_words(list(changed_keys(old, new)))


ECHO = '[listeners.a]\nlisten = "tcp:7000"\n'


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "deadlines = { idle = '5m' }\n", "listeners.a.deadlines.idle"),
        ("", "tls = { certificate = 'one.pem' }\n", "listeners.a.tls"),
        (
            "tls = { certificate = 'one.pem' }\n",
            "tls = { certificate = 'two.pem', alpn = ['x'] }\n",
            "listeners.a.tls.certificate and listeners.a.tls.alpn",
        ),
        (
            'handler = "reply"\noptions = { default = "a", greeting = "b" }\n',
            'handler = "reply"\noptions = { default = "c", prompt = "d" }\n',
            (
                "listeners.a.options.default, listeners.a.options.greeting and"
                " listeners.a.options.prompt"
            ),
        ),
        (
            'handler = "reply"\noptions = { rules = [{ match = "a", reply = "b" }] }\n',
            'handler = "reply"\noptions = { rules = [{ match = "a", reply = "c" }] }\n',
            "listeners.a.options.rules",
        ),
        ("", '[log]\nlevel = "warn"\n', "log.level"),
        ("", '[listeners."b.c"]\nlisten = "tcp:1"\n', 'listeners."b.c"'),
    ],
)
def test_the_keys_that_differ_are_named_as_in_the_file(config, before, after, told) -> None:
    assert words(config(ECHO + before), config(ECHO + after)) == told
    assert words(config(ECHO + before), config(ECHO + before)) == ""


def kept(old: Config, new: Config) -> set[str]:
    """Return the names of those whose handler goes on."""
    after = with_handlers_kept(old, new)
    former = [each.factory for each in (*old.listeners.values(), *old.connectors.values())]
    served = {**after.listeners, **after.connectors}
    return {
        name for name, each in served.items() if any(each.factory is factory for factory in former)
    }


REPLY = ECHO + 'handler = "reply"\noptions = { default = "a" }\n'
UPLINK = '[connectors.up]\nconnect = "tcp:localhost:1"\n'


@pytest.mark.parametrize(
    ("before", "after", "goes_on"),
    [
        (REPLY, REPLY, {"a"}),
        (REPLY, REPLY.replace("7000", "7001"), {"a"}),
        (REPLY, REPLY + 'deadlines = { idle = "1s" }\n', {"a"}),
        (REPLY, REPLY.replace('"a" }', '"b" }'), set()),
        (REPLY, ECHO, set()),
        (REPLY, REPLY.replace("listeners.a", "listeners.b"), {"b"}),
        (REPLY, REPLY.replace("listeners.a", "listeners.b").replace("7000", "7001"), set()),
        (UPLINK, UPLINK + "reconnect = { initial = 2 }\n", {"up"}),
        (UPLINK, UPLINK + 'handler = "discard"\n', set()),
    ],
)
def test_a_handler_goes_on_if_name_and_options_say_the_same(config, before, after, goes_on) -> None:
    assert kept(config(before), config(after)) == goes_on


def test_of_two_that_follow_one_only_the_first_gets_its_handler(config) -> None:
    two = 'listen = ["tcp:7000", "tcp:7001"]\nhandler = "reply"\noptions = { default = "a" }\n'
    one = 'listen = "tcp:{}"\nhandler = "reply"\noptions = {{ default = "a" }}\n'
    after = f"[listeners.b]\n{one.format(7000)}[listeners.c]\n{one.format(7001)}"
    assert kept(config(f"[listeners.a]\n{two}"), config(after)) == {"b"}


def test_a_handler_is_made_anew_when_its_rules_say_something_else(config, tmp_path) -> None:
    text = ECHO + 'handler = "reply"\noptions = { rules = "rules.toml" }\n'
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nmatch = "a"\nreply = "b"\n')
    old = config(text)
    rules.write_text('# only a comment\n[[rules]]\nmatch = "a"\nreply = "b"\n')
    assert kept(old, config(text)) == {"a"}
    rules.write_text('[[rules]]\nmatch = "a"\nreply = "c"\n')
    assert kept(old, config(text)) == set()


def test_a_handler_that_cannot_say_what_it_is_made_of_is_made_anew(config, monkeypatch) -> None:
    def fail(self):
        raise RuntimeError("no answer")

    monkeypatch.setattr(Reply, "what_was_read", property(fail, lambda *_: None), raising=False)
    assert kept(config(REPLY), config(REPLY)) == set()


def test_tables_that_no_reload_applies_are_named() -> None:
    @dataclasses.dataclass(frozen=True)
    class More(Config):
        metrics: int = 0

    assert needing_restart(More(), More(metrics=1)) == []
    assert needing_restart(Config(), Config()) == []
