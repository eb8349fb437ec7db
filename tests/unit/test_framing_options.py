"""A framing in a configuration, and every way to get it wrong."""

from dataclasses import dataclass

import pytest

from tcpd.errors import ConfigError
from tcpd.fields import CommandLine, Place, build
from tcpd.framing import (
    Delimited,
    Fixed,
    FramingOption,
    HexBytes,
    LengthPrefixed,
    Line,
    MaxSize,
    Raw,
    framing_of,
)
from tcpd.toml_file import TomlFile


@dataclass
class Options:
    framing: FramingOption = "line"
    max_size: MaxSize = 1000


def read(text: str) -> tuple[Options | None, list[str]]:
    problems: list[ConfigError] = []
    source = TomlFile.parse(text, "x.toml")
    options = build(Options, source.table, Place(source), problems)
    return options, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("value", "framing"),
    [
        ('"line"', Line()),
        ('"crlf"', Line(b"\r\n")),
        ('"raw"', Raw()),
        ('{ delimiter = "\\u0000" }', Delimited(b"\0")),
        ('{ delimiter = "é" }', Delimited(b"\xc3\xa9")),
        ('{ delimiter_hex = "0d 0A" }', Delimited(b"\r\n")),
        ("{ length_prefix = 1 }", LengthPrefixed(1)),
        (
            '{ length_prefix = 2, byte_order = "little", counts_itself = true }',
            LengthPrefixed(2, "little", True),
        ),
        ("{ length_prefix = 4, counts_itself = false }", LengthPrefixed(4)),
        ("{ fixed_size = 16 }", Fixed(16)),
        ('{ fixed_size = "1KiB", pad = " " }', Fixed(1024, b" ")),
    ],
)
def test_a_framing_is_read(value, framing):
    options, problems = read(f"framing = {value}")
    assert problems == []
    assert framing_of(options.framing) == framing


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"lines"', "expected "),
        ("7", "expected "),
        ("{}", "expected one of 'delimiter', 'delimiter_hex', 'length_prefix' or 'fixed_size'"),
        ('{ pad = " " }', "expected one of"),
        ('{ delimeter = ";" }', "delimeter: unknown key; did you mean 'delimiter'?"),
        ('{ delimiter = "" }', "delimiter: is empty"),
        ('{ delimiter_hex = "" }', "delimiter_hex: is empty"),
        ('{ delimiter_hex = "0" }', "delimiter_hex: 1 hex digits, where two make a byte"),
        ('{ delimiter_hex = "0g" }', "delimiter_hex: 'g' isn't a hex digit"),
        ("{ delimiter_hex = 10 }", "delimiter_hex: expected hex digits in quotes"),
        ("{ length_prefix = 3 }", "length_prefix: expected 1 or 2 or 4, not the number 3"),
        ("{ length_prefix = true }", "length_prefix: expected"),
        ('{ length_prefix = 2, byte_order = "middle" }', "byte_order: expected 'big' or 'little'"),
        ("{ length_prefix = 2, fixed_size = 2 }", "fixed_size: 'length_prefix' stands here"),
        ("{ fixed_size = 2, counts_itself = true }", "counts_itself: only goes with 'length_pre"),
        ('{ delimiter = ";", pad = " " }', "pad: only goes with 'fixed_size'"),
        ('{ fixed_size = 2, pad = "" }', "pad: expected one ASCII character"),
        ('{ fixed_size = 2, pad = "é" }', "pad: expected one ASCII character"),
        ("{ fixed_size = 0 }", "fixed_size: expected 1B to"),
    ],
)
def test_a_mistake_says_where_and_what(value, problem):
    options, problems = read(f"# one\nframing = {value}")
    assert options is None
    assert len(problems) == 1
    assert problems[0].startswith("x.toml:2: framing")
    assert problem in problems[0]


def test_a_maximum_has_a_maximum():
    assert read("max_size = 0")[1] == ["x.toml:1: max_size: expected 1B to 1GiB, not 0B"]
    assert read('max_size = "2GiB"')[0] is None


def test_a_word_is_enough_on_the_command_line():
    problems: list[ConfigError] = []
    options = build(Options, {"framing": "raw"}, Place(CommandLine()), problems)
    assert framing_of(options.framing) == Raw()


def test_hex_bytes_are_bytes():
    assert HexBytes.parse("02 fF\n0a") == b"\x02\xff\n"
