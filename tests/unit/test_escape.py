import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.escape import escape_bytes, escape_text, in_line, one_line

# Text that holds broken bytes (PEP 383), and lone surrogates that are none.
ANY_TEXT = st.text(
    st.characters(codec=None, categories=None) | st.sampled_from("\\\n\x1b\udc80\ud800")
)


def unescape(text: str) -> str:
    """Return what an escaped text stands for; broken bytes come out as PEP 383 has them."""

    def meaning(match: re.Match[str]) -> str:
        body = match[1]
        if body[0] in "xuU":
            code = int(body[1:], 16)
            return chr(code + 0xDC00 if body[0] == "x" and code >= 0x80 else code)
        return {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "0": "\0"}[body]

    one = r"x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt\\0]"
    return re.sub(rf"\\({one})", meaning, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain, with 'quotes' and \"more\"", "plain, with 'quotes' and \"more\""),
        ("héllo, 你好 🙂", "héllo, 你好 🙂"),
        ("a\nb\r\n\tc\0", r"a\nb\r\n\tc\0"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x07\x08\x7f", r"\x07\x08\x7f"),
        ("C1: \x85\x9b", r"C1: \u0085\u009b"),
        ("back\\slash\\n", r"back\\slash\\n"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028\u2029\ufeff\u200b", r"\u2028\u2029\ufeff\u200b"),
        ("\xa0\u3000", r"\u00a0\u3000"),
        ("\U000e0001", r"\U000e0001"),
        ("\udcff", r"\xff"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_text_is_shown_as_one_printable_line(text: str, shown: str) -> None:
    assert escape_text(text) == shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", ""),
        (b"hello\r\n", r"hello\r\n"),
        ("é".encode(), "é"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\xc3", r"\xc3"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),  # a surrogate is no UTF-8
        (b"\xc0\x80", r"\xc0\x80"),  # nor is the long form of NUL
        ("\u202e".encode(), r"\u202e"),
    ],
)
def test_bytes_are_shown_as_the_text_they_are(data: bytes, shown: str) -> None:
    assert escape_bytes(data) == shown


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (None, "abcdef"),
        (6, "abcdef"),
        (5, "abcde... (1 more)"),
        (0, "... (6 more)"),
    ],
)
def test_what_is_left_out_is_counted(limit: int | None, shown: str) -> None:
    assert escape_text("abcdef", limit) == shown
    assert escape_bytes(b"abcdef", limit) == shown


def test_a_limit_may_cut_a_character_in_two() -> None:
    assert escape_bytes("é".encode() * 2, 3) == r"é\xc3... (1 more)"


@given(st.binary())
def test_any_bytes_come_out_printable_and_can_be_told_apart(data: bytes) -> None:
    shown = escape_bytes(data)
    assert shown.isprintable()
    assert unescape(shown).encode("utf-8", "surrogateescape") == data


@given(ANY_TEXT)
def test_any_text_comes_out_printable_and_can_be_told_apart(text: str) -> None:
    shown = escape_text(text)
    assert shown.isprintable()
    assert unescape(shown) == text


@given(st.binary(), st.integers(0, 20))
def test_the_output_is_bounded_whatever_comes_in(data: bytes, limit: int) -> None:
    longest = 10 * limit + len("... (999 more)")  # the longest escape is \UXXXXXXXX
    assert len(escape_bytes(data * 10, limit)) <= longest
    assert escape_bytes(data, limit).isprintable()


@given(st.binary())
def test_a_line_of_escaped_parts_stays_as_it_is(data: bytes) -> None:
    assert one_line(escape_bytes(data)) == escape_bytes(data)


@given(ANY_TEXT)
def test_a_line_is_printable_whatever_got_into_it(text: str) -> None:
    assert one_line(text).isprintable()
    assert one_line("\\x1b\x1b\n") == "\\x1b\\x1b\\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("eve", "eve"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ("it's", '"it\'s"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r"a\b"),
        ("a b\\c", r'"a b\c"'),
        ("a\\", r'"a\\"'),
        ('\\"', r'"\\\""'),
        ('\\\\x"\\', r'"\\x\"\\"'),
        ("\x1b\n\0", r"\x1b\n\0"),
        (r"\x1b\n\0", r"\x1b\n\0"),
        ("a \u2028\u202e", r'"a \u2028\u202e"'),
        (None, "null"),
        (True, "true"),
        (0.1, "0.1"),
        ([], '"[]"'),
        (["a", 1, None], r'"[\"a\", 1, null]"'),
        (["\x1b", r"\x1b"], r'"[\"\x1b\", \"\x1b\"]"'),
        ({"k\n": ["\x1b"]}, r'"{\"k\n\": [\"\x1b\"]}"'),
    ],
)
def test_a_value_in_a_line_shows_each_control_character_as_one_sequence(value, shown):
    assert in_line(value) == shown


def every_backslash_escapes(line: str) -> list[str]:
    """Return the words of a line as who reads it so: as JSON, or as most do."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|[^ "]+', line)
    assert " ".join(words) == line
    return words


def only_those_before_a_quote_do(line: str) -> list[str]:
    """Return the words of a line, and read it so."""
    words = re.findall(r'"(?:[^"\\]|\\+(?!["\\])|(?:\\\\)*\\"|(?:\\\\)+(?="))*"|[^ "]+', line)
    assert " ".join(words) == line
    return words


def meant(word: str) -> str:
    if not word.startswith('"'):
        return word
    inside = re.sub(r'((?:\\\\)*)\\"', lambda m: m[1][::2] + '"', word[1:-1])
    # What is left doubled is at the end.
    run = len(word[1:-1]) - len(word[1:-1].rstrip("\\"))
    return inside[: len(inside) - run // 2] if run else inside


VALUES = st.text('\\\\"" \'=abx[]\n\x1b\u2028é') | ANY_TEXT


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_no_value_in_a_line_ends_elsewhere_than_it_does(texts: list[str]) -> None:
    shown = [in_line(text) for text in texts]
    line = " ".join(shown)
    assert line.isprintable()
    assert every_backslash_escapes(line) == only_those_before_a_quote_do(line) == shown
    assert list(map(meant, shown)) == list(map(one_line, texts))


@given(st.recursive(VALUES, lambda v: st.lists(v) | st.dictionaries(VALUES, v), max_leaves=5))
def test_nor_does_any_list(value: object) -> None:
    assert every_backslash_escapes(f"{in_line(value)} x=1")[1:] == ["x=1"]
    assert in_line(value).isprintable()


def test_backslashes_take_no_more_than_time_in_their_number():
    many = "\\" * 1_000_000
    assert in_line(f" {many}x") == f'" {many}x"'
    assert in_line(f" {many}") == f'" {many}{many}"'
