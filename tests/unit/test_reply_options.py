"""Mistakes in the options and rules of `reply`: each with its place, and what would be right."""

import pytest

from tcpd.errors import ConfigError
from tcpd.fields import CommandLine, Place, build
from tcpd.handlers.reply import Reply
from tcpd.toml_file import TomlFile


def mistakes(text: str) -> list[str]:
    """Return what is wrong with options that stand in a file `x.toml`."""
    problems: list[ConfigError] = []
    source = TomlFile.parse(text, "x.toml")
    reply = build(Reply, source.table, Place(source), problems)
    assert (reply is None) == bool(problems)
    return [str(problem) for problem in problems]


def mistake(text: str) -> str:
    (only,) = mistakes(text)
    return only


RULE = "[[rules]]\nreply = 'ok'\nmatch = 'a'\n\n[[rules]]\n"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("repyl = 'x'", "x.toml:6: rules[1].repyl: unknown key; did you mean 'reply'?"),
        ("reply = 5", "x.toml:6: rules[1].reply: expected a text or a list"),
        ("reply = []", "x.toml:6: rules[1].reply: is empty; leave it out to say nothing"),
        ("reply = ['a', 5]", "x.toml:6: rules[1].reply[1]: expected a text"),
        ("reply = 'a'\nreply_hex = '00'", "x.toml:7: rules[1].reply_hex: 'reply' stands here"),
        ("reply_hex = '0'", "x.toml:6: rules[1].reply_hex: 1 hex digits"),
        ("reply_hex = ['00', 'g0']", "x.toml:6: rules[1].reply_hex[1]: 'g' isn't a hex digit"),
        ("reply = '{{foo}}'", "x.toml:6: rules[1].reply: unknown field {{foo}}"),
        ("reply = ['a',\n '{{1}}']", "x.toml:7: rules[1].reply[1]: nothing is captured as {{1}}"),
        (
            "reply = '{{2}}'\nmatch = { regex = '(.)' }",
            "x.toml:6: rules[1].reply: nothing is captured as {{2}}",
        ),
        (
            "match.regex = '('",
            "x.toml:6: rules[1].match.regex: isn't a valid regular expression: missing",
        ),
        (
            "match.regex = '(?P<input>.)'",
            "x.toml:6: rules[1].match.regex: the capture 'input' hides the field {{input}}",
        ),
        ("match = {}", "x.toml:6: rules[1].match: is empty"),
        ("match = 3", "x.toml:6: rules[1].match: expected a text or a table"),
        ("delay = 'soon'", "x.toml:6: rules[1].delay: 'soon' isn't a duration"),
        ("delay = -1", "x.toml:6: rules[1].delay: expected a duration"),
        ("delay = '2d'", "x.toml:6: rules[1].delay: expected 0s to 1d, not 2d"),
        ("delay = 'inf'", "x.toml:6: rules[1].delay: 'inf' isn't a duration"),
        ("delay = inf", "x.toml:6: rules[1].delay: expected"),
        ("goto = 'x'", "x.toml:6: rules[1].goto: no rule is for the state 'x'; known here: start"),
        ("goto = 'strat'", "rules[1].goto: no rule is for the state 'strat'; did you mean 'start'"),
        ("close = 'yes'", "x.toml:6: rules[1].close: expected true or false"),
        ("close = true\nreset = true", "x.toml:7: rules[1].reset: can't go with 'close'"),
        ("half_close = true\nreset = true", "x.toml:7: rules[1].reset: can't go with 'half_close'"),
        ("close = true\ngoto = 'start'", "x.toml:7: rules[1].goto: leads nowhere, since 'close'"),
        (
            "state = 'x'",
            "x.toml:6: rules[1].state: no 'goto' leads to the state 'x'; a session beg",
        ),
        ("state = []", "x.toml:6: rules[1].state: is empty; leave it out for any state"),
        ("state = ['start', 'y']", "x.toml:6: rules[1].state: no 'goto' leads to the state 'y'"),
        ("times = 0", "x.toml:6: rules[1].times: expected 1 or more, not 0"),
        ("after = 'a'", "x.toml:6: rules[1].after: expected a whole number"),
        ("scope = 'global'", "x.toml:6: rules[1].scope: expected 'all' or 'session'"),
        (
            "reply = 'x'\n[[rules]]\nmatch = 'b'",
            "x.toml:7: rules[2]: is never reached, since rules[1] matches everything; put it above",
        ),
    ],
)
def test_a_mistake_in_a_rule(rule, problem):
    assert problem in mistake(RULE + rule)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            "",
            "x.toml: 'reply' would never say anything; give it 'rules', a 'default' or",
        ),
        ("rules = []", "would never say anything"),
        ("defualt = 'x'", "x.toml:1: defualt: unknown key; did you mean 'default'?"),
        ("default = '{{rule.count}}'", "x.toml:1: default: unknown field {{rule.count}}"),
        ("default = ['a']", "x.toml:1: default: expected a text or a table"),
        ("default.reply = '{{1}}'", "x.toml:1: default.reply: nothing is captured as {{1}}"),
        ("default.match = 'x'", "x.toml:1: default.match: unknown key"),
        ("default.goto = 'x'", "x.toml:1: default.goto: no rule is for the state 'x'"),
        ("greeting = '{{input}}'", "x.toml:1: greeting: unknown field {{input}}"),
        ("greeting = { reply = ['{{'] }", "x.toml:1: greeting.reply[0]: a '{{' without its '}}'"),
        ("greeting = { close = true, reset = true }", "x.toml:1: greeting.reset: can't go with"),
        ("default = 'x'\nprompt = '{{input}}'", "x.toml:2: prompt: unknown field {{input}}"),
        ("default = 'x'\nprompt.x = '>'", "x.toml:2: prompt.x: no rule is for the state 'x'"),
        ("default = 'x'\nprompt.start = '{{'", "x.toml:2: prompt.start: a '{{' without its '}}'"),
        (
            "default = 'x'\nprompt = '>'\nframing = { length_prefix = 1 }",
            "x.toml:2: prompt: has no place between frames of a known length; leave it out",
        ),
        ("default = 'x'\nframing = 'lines'", "x.toml:2: framing: expected 'line' or 'crlf' or"),
        ("default = 'x'\nframing = {}", "x.toml:2: framing: expected one of 'delimiter'"),
        ("default = 'x'\nmax_size = 0", "x.toml:2: max_size: expected 1B to"),
        (
            "default = 'xx'\nframing = { fixed_size = 3 }",
            "x.toml:1: default: can't be sent: 2 bytes, where a frame has exactly 3",
        ),
        (
            "default = 'x'\nframing = { fixed_size = 8, pad = ' ' }\nmax_size = 7",
            "x.toml:3: max_size: is less than the 8 bytes that every frame has",
        ),
        ("default = 'x'\ntoo_long.half_close = true", "x.toml:2: too_long.half_close: nothing can"),
        ("default = 'x'\ntoo_long.goto = 'start'", "x.toml:2: too_long.goto: leads nowhere"),
        ("default = 'x'\ntoo_long = '{{input}}'", "x.toml:2: too_long: unknown field {{input}}"),
        ("rules = 'none.toml'", "none.toml: "),
        ("rules = ''", "x.toml:1: rules: expected a path"),
        ("rules = { match = 'x' }", "x.toml:1: rules: expected a list or a path"),
    ],
)
def test_a_mistake_in_an_option(options, problem):
    assert problem in mistake(options)


def test_every_mistake_is_found_at_once():
    text = "bad = 1\n" + "".join(
        f"[[rules]]\nmatch.hex = '0{n}'\nreply = '{{{{x}}}}'\n" for n in range(3)
    )
    assert [line.split(":")[1] for line in mistakes(text)] == ["1", "4", "7", "10"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "default = '{{nope}}'\n[[rules]]\nrepyl = 'x'\ntimes = 1\n[[rules]]\ngoto = 'nowhere'",
            ["default", "rules[0].repyl", "rules[1].goto"],
        ),
        (
            "[[rules]]\nmatch = 'a'\nreply = ['{{a}} {{b}}', '{{c']\ngoto = 'nowhere'",
            ["rules[0].goto", "rules[0].reply[0]", "rules[0].reply[0]", "rules[0].reply[1]"],
        ),
        ("default = '{{a}}{{b}}'\nprompt = '{{c}}{{d}}'", ["default"] * 2 + ["prompt"] * 2),
        (
            "[[rules]]\nmatch = { regex = '(', starts_with = '' }\nstate = []\ngoto = 'x'\n\
close = true\nreset = true\nhalf_close = true",
            ["goto", "half_close", "match.regex", "match.starts_with", "reset", "state"],
        ),
        ("default = 'x'\nframing = { pad = 'xx', delimiter = '', fixed_size = 0 }",
         ["framing.delimiter", "framing.fixed_size", "framing.pad"]),
    ],
)  # fmt: skip
def test_a_mistake_hides_no_other(text, found):
    told = sorted(line.split(": ")[1].removeprefix("rules[0].") for line in mistakes(text))
    assert told == sorted(each.removeprefix("rules[0].") for each in found)


@pytest.mark.parametrize(
    "text",
    [
        # What was meant may be the state that the other rule leads to, or what it was to match.
        "[[rules]]\nmatch = 'a'\nstaet = 'b'\n[[rules]]\nmatch = 'c'\ngoto = 'b'",
        "[[rules]]\nmatch = 'a'\nwhen = 'b'\n[[rules]]\nmatch = 'c'\ngoto = 'b'",
        "[[rules]]\nstate = 5\nmatch = 'a'\n[[rules]]\nmatch = 'c'\ngoto = 'b'",
        "[[rules]]\nmatch = 'a'\nstate = 'b'\n[[rules]]\nmatch = 'c'\ngotoo = 'b'",
        "[[rules]]\nreply = 'a'\nmatsch = 'a'\n[[rules]]\nreply = 'b'",
        "[[rules]]\nreply = '{{name}}'\nmatch = { regex = '(?P<name>' }",
        "[[rules]]\nreply = '{{name}}'\nmatch = { rgex = '(?P<name>.)' }",
        "framing = { fixed_sise = 3 }\ndefault = 'xx'",
        "ruels = []",
        "default = 'x'\nfirst_state = 5\n[[rules]]\ngoto = 'b'\nmatch = 'x'",
        "default = { reply = 5 }\n",
    ],
)
def test_nothing_is_said_of_what_may_only_follow_from_a_mistake(text, tmp_path):
    mistake(text)
    if "framing" not in text and "default" not in text and "ruels" not in text:
        path = tmp_path / "rules.toml"
        path.write_text(text)
        mistake(f"rules = '{path}'")


def test_a_mistake_in_a_file_of_rules_hides_no_other(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(RULE + "repyl = 'x'\ntimes = 1\n[[rules]]\nmatch = 'b'\ngoto = 'nowhere'")
    places = [line.split(": ")[1] for line in mistakes(f"rules = '{path}'\ndefault = '{{{{x}}}}'")]
    assert sorted(places) == ["default", "rules[1].repyl", "rules[2].goto"]


@pytest.mark.parametrize("text", [None, "", "rules = []", b"\xff".decode("latin-1")])
def test_what_is_wrong_with_a_whole_file_of_rules_has_the_line_that_names_it(tmp_path, text):
    path = tmp_path / "rules.toml"
    if text is not None:
        path.write_text(text)
    told = mistakes(f"default = 'x'\nrules = '{path}'")
    assert told[0].startswith(f"x.toml:2: rules: {path}: ") or text == "\xff"


def test_every_mistake_between_rules_is_found_at_once():
    text = "default.goto = 'a'\n[[rules]]\nstate = 'b'\n[[rules]]\nmatch = 'c'\ngoto = 'd'\n"
    assert sorted(line.split(": ")[1] for line in mistakes(text)) == [
        "default.goto",
        "rules[0].state",
        "rules[1].goto",
    ]


@pytest.mark.parametrize(
    "rules",
    [
        "[[rules]]\nreply = 'a'\ntimes = 1\n[[rules]]\nreply = 'b'",
        "[[rules]]\nreply = 'a'\nafter = 1\n[[rules]]\nreply = 'b'",
        "[[rules]]\nstate = 'start'\ngoto = 'b'\n[[rules]]\nstate = 'b'\nreply = 'b'",
    ],
)
def test_a_rule_below_one_that_lets_something_pass_is_no_mistake(rules):
    assert mistakes(rules) == []


def test_a_rule_for_states_that_another_takes_everything_from():
    text = "[[rules]]\nstate = ['start', 'b']\ngoto = 'b'\n[[rules]]\nstate = 'b'\nreply = 'b'"
    assert "x.toml:4: rules[1]: is never reached, since rules[0]" in mistake(text)


def test_a_file_of_rules(tmp_path):
    (tmp_path / "rules.toml").write_text(RULE + "reply = 'other'")
    assert mistakes(f"rules = '{tmp_path}/rules.toml'") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "rules.toml: 'rules' is missing"),
        ("rules = []", "rules.toml: has no rules; write one as [[rules]]"),
        ("[[rule]]", "rules.toml:1: rule: unknown key; did you mean 'rules'?"),
        ("default = 'x'\n" + RULE, "rules.toml:1: default: unknown key"),
        (RULE + "replly = 'x'", "rules.toml:6: rules[1].replly: unknown key"),
        (RULE + "reply = '{{1}}'", "rules.toml:6: rules[1].reply: nothing is captured as {{1}}"),
        (RULE + "goto = 'x'", "rules.toml:6: rules[1].goto: no rule is for the state 'x'"),
        (RULE + "[[rules]]\nreply = 'z'", "rules.toml:6: rules[2]: is never reached"),
        ("rules = [", "rules.toml"),
    ],
)
def test_a_mistake_in_a_file_of_rules_has_its_place_there(tmp_path, text, problem):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    found = mistakes(f"rules = '{path}'")
    assert any(f"{tmp_path}/{problem}" in line for line in found), found


def test_mistakes_in_a_file_and_beside_it_each_have_their_place(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(RULE + "goto = 'x'")
    found = mistakes(f"default = '{{{{x}}}}'\nrules = '{path}'")
    assert len(found) == 2
    assert any(line.startswith("x.toml:1: default: unknown field") for line in found)
    assert any(line.startswith(f"{path}:6: rules[1].goto") for line in found)


def test_mistakes_beside_a_file_that_cant_be_read_are_found_with_it():
    found = mistakes(
        "rules = 'none.toml'\ndefault = { reply = '{{x}}', goto = 'a' }\nprompt.b = '{{y}}'"
    )
    assert len(found) == 3  # and none about the states a and b, which the file may speak of
    assert "none.toml" in found[0]
    assert "x.toml:2: default.reply: unknown field {{x}}" in found[1]
    assert "x.toml:3: prompt.b: unknown field {{y}}" in found[2]


def test_a_file_of_rules_is_found_beside_the_configuration(tmp_path):
    (tmp_path / "rules.toml").write_text(RULE)
    (tmp_path / "tcpd.toml").write_text("rules = 'rules.toml'")
    problems: list[ConfigError] = []
    source = TomlFile.read(tmp_path / "tcpd.toml")
    assert build(Reply, source.table, Place(source), problems) is not None


def test_the_command_line_is_enough_for_a_small_one():
    problems: list[ConfigError] = []
    options = {"default": "You said {{input}}", "framing": "crlf", "max_size": "1KiB"}
    assert build(Reply, options, Place(CommandLine()), problems) is not None
    assert build(Reply, {}, Place(CommandLine("--option")), problems) is None
    assert str(problems[0]).startswith(
        "--option: 'reply' would never say anything; give it 'rules'"
    )
