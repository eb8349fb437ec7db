"""What matches an input, and what is captured of it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.errors import ConfigError
from tcpd.fields import CommandLine, Place, build
from tcpd.handlers.reply_rules.matching import Match, casefold, matcher_of


def match(**table):
    problems: list[ConfigError] = []
    built = build(Match, table, Place(CommandLine()), problems)
    assert problems == []
    return built


def matches(data: bytes, **table) -> bool:
    return matcher_of(match(**table))(data) is not None


def captured(data: bytes, **table):
    return matcher_of(match(**table))(data)


@pytest.mark.parametrize(
    ("table", "yes", "no"),
    [
        ({"equals": "ab"}, [b"ab"], [b"abc", b"AB", b""]),
        ({"equals": ""}, [b""], [b" "]),
        ({"equals": "é"}, [b"\xc3\xa9"], [b"\xe9"]),
        ({"equals": {"hex": "00 ff"}}, [b"\0\xff"], [b"00 ff"]),
        ({"hex": "00FF"}, [b"\0\xff"], [b"\0\xff\0", b"00FF"]),
        ({"starts_with": "GET "}, [b"GET /", b"GET "], [b"get /", b" GET /"]),
        ({"starts_with": {"hex": "02"}}, [b"\x02abc"], [b"abc\x02"]),
        ({"ends_with": "!"}, [b"hi!", b"!"], [b"hi! "]),
        ({"contains": "b"}, [b"b", b"abc"], [b"ac", b""]),
        ({"regex": "a+b"}, [b"xaaby"], [b"ba"]),
        ({"regex": "^a+$"}, [b"aa"], [b"aab", b"", b"aa\n"]),
        ({"equals": "aB", "ignore_case": True}, [b"Ab", b"AB"], [b"abc"]),
        ({"starts_with": "ÄB", "ignore_case": True}, ["äbc".encode()], [b"abc"]),
        ({"ends_with": "X", "ignore_case": True}, [b"ax"], [b"xa"]),
        ({"contains": "X", "ignore_case": True}, [b"axb", b"\xffx"], [b"ab"]),
        ({"regex": "quit", "ignore_case": True}, [b"QUIT now"], [b"qui t"]),
        ({"hex": "61", "ignore_case": True}, [b"a"], [b"A"]),
        ({"hex": "61", "regex": "A", "ignore_case": True}, [b"a"], [b"A"]),
        ({"starts_with": "a", "ends_with": "z", "contains": "-"}, [b"a-z"], [b"az", b"a-", b"-z"]),
        ({"starts_with": "a", "regex": r"\d$"}, [b"a1"], [b"b1", b"ab"]),
        ({"not": {"equals": "a"}}, [b"b", b"aa"], [b"a"]),
        ({"contains": "a", "not": {"contains": "b"}}, [b"a"], [b"ab", b"c"]),
        # What is negated is the whole table: both must hold for it to be refused.
        ({"not": {"contains": "a", "ends_with": "b"}}, [b"a", b"b"], [b"ab"]),
        ({"not": {"not": {"equals": "a"}}}, [b"a"], [b"b"]),
    ],
)
def test_what_matches(table, yes, no):
    for data in yes:
        assert matches(data, **table), data
    for data in no:
        assert not matches(data, **table), data


def test_nothing_asked_matches_everything():
    assert matcher_of(None)(b"\xff") == ()


def test_captures_are_numbered_and_named():
    table = {"regex": r"(?P<verb>\w+) (\d+)(x)?"}
    assert captured(b"..set 12..", **table) == (b"set 12", b"set", b"12", b"")
    assert match(**table).captures() == {"0": 0, "1": 1, "2": 2, "3": 3, "verb": 1}
    assert match(equals="a").captures() == {}


def test_an_expression_reads_utf8_unless_it_is_binary():
    assert captured("é!".encode(), regex="^(.)!") == ("é!".encode(), "é".encode())
    assert captured(b"\xe9!", regex="^(.)!") is None  # no UTF-8
    assert captured(b"\xe9!", regex="^(.)!", binary=True) == (b"\xe9!", b"\xe9")
    assert captured(b"\x02\xff\x03", regex=r"^\x02(\x{ff})\x03$", binary=True)
    assert captured(b"\xe9", regex="é", binary=True)


def test_an_expression_thats_slow_elsewhere_is_quick():
    begun = time.process_time()
    assert not matches(b"a" * 60_000 + b"!", regex="(a+)+$")
    # Python's own engine would need years; a second is far beyond what RE2 needs.
    assert time.process_time() - begun < 1


@given(st.binary())
def test_folding_the_case_keeps_bytes_that_are_no_text(data):
    assert casefold(casefold(data)) == casefold(data)
    assert casefold(data.upper()) == casefold(data)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "is empty; leave 'match' out to match everything"),
        ({"ignore_case": True}, "is empty"),
        ({"equals": "a", "hex": "61"}, "hex: 'equals' stands here already"),
        ({"starts_with": ""}, "starts_with: is empty, which matches everything"),
        ({"ends_with": ""}, "ends_with: is empty"),
        ({"contains": {"hex": ""}}, "contains: is empty"),
        ({"regex": ""}, "regex: is empty"),
        (
            {"regex": "(a"},
            "regex: isn't a valid regular expression: missing ): (a; the syntax is RE2's",
        ),
        ({"regex": "(?=a)"}, "regex: isn't a valid regular expression: invalid perl operator: (?="),
        (
            {"regex": r"(a)\1"},
            r"regex: isn't a valid regular expression: invalid escape seq",
        ),
        ({"regex": "a{1001}"}, "regex: isn't a valid regular expression: invalid repetition size"),
        ({"regex": "€", "binary": True}, "regex: has a character that isn't a byte"),
        ({"equals": "a", "binary": True}, "binary: only goes with 'regex'"),
        ({"hex": "6"}, "hex: 1 hex digits, where two make a byte"),
        ({"equals": {"hex": "xy"}}, "equals.hex: 'x' isn't a hex digit"),
        ({"equals": {"hexx": "00"}}, "equals: expected a text or { hex = '02 ff' }"),
        ({"equals": 5}, "equals: expected a text or { hex = '02 ff' }"),
        ({"equals": "a", "starts_with": "b"}, "equals: contradicts the rest"),
        ({"hex": "61", "not": {"equals": "a"}}, "hex: contradicts the rest"),
        ({"equal": "a"}, "equal: unknown key; did you mean 'equals'?"),
        ({"not": {}}, "not: is empty"),
        ({"not": {"regex": "["}}, "not.regex: isn't a valid regular expression: missing ]: ["),
    ],
)
def test_a_mistake_says_where_and_what(table, problem):
    problems: list[ConfigError] = []
    assert build(Match, table, Place(CommandLine("match")), problems) is None
    assert len(problems) == 1
    assert problem in str(problems[0])


def test_the_library_itself_says_nothing_about_a_mistake(capfd):
    with pytest.raises(ExceptionGroup):
        Match(regex="(never compiled before")
    assert capfd.readouterr().err == ""
