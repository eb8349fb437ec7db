import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcpd.toml_lines import locate

Path = tuple[str | int, ...]


def lines_of(text: str) -> dict[Path, int]:
    tomllib.loads(text)  # the locator is only ever given what tomllib accepts
    return dict(locate(text).walk())


def paths_in(value: Any, path: Path = ()) -> Iterator[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        yield (*path, key)
        if isinstance(each, dict | list):
            yield from paths_in(each, (*path, key))


def test_keys_tables_and_dotted_keys() -> None:
    text = """\
# a comment = with an equals sign, [brackets] and "quotes'
title = "x"  # another

[server]
a.b.c = 1
a.d = 2
  [server.inner . deep]
  e = 3
[ "quo.ted" . 'li"teral' ]
"k\\u00e9y" = 4
bare-key_1 = 5
"""
    assert lines_of(text) == {
        ("title",): 2,
        ("server",): 4,
        ("server", "a"): 5,
        ("server", "a", "b"): 5,
        ("server", "a", "b", "c"): 5,
        ("server", "a", "d"): 6,
        ("server", "inner"): 7,
        ("server", "inner", "deep"): 7,
        ("server", "inner", "deep", "e"): 8,
        ("quo.ted",): 9,
        ("quo.ted", 'li"teral'): 9,
        ("quo.ted", 'li"teral', "kéy"): 10,
        ("quo.ted", 'li"teral', "bare-key_1"): 11,
    }


def test_a_header_has_the_last_word_on_a_tables_line() -> None:
    assert lines_of("[a.b]\n\n[a]\nc = 1\n") == {
        ("a",): 3,
        ("a", "b"): 1,
        ("a", "c"): 4,
    }


def test_arrays_of_tables_and_headers_inside_them() -> None:
    text = """\
[[rules]]
name = "a"
[[rules.do]]
x = 1
[[rules.do]]
x = 2
[[rules]]
name = "b"
[rules.match]
[[rules.do]]
x = 3
[rules.do.deep]
"""
    assert lines_of(text) == {
        ("rules",): 1,
        ("rules", 0): 1,
        ("rules", 0, "name"): 2,
        ("rules", 0, "do"): 3,
        ("rules", 0, "do", 0): 3,
        ("rules", 0, "do", 0, "x"): 4,
        ("rules", 0, "do", 1): 5,
        ("rules", 0, "do", 1, "x"): 6,
        ("rules", 1): 7,
        ("rules", 1, "name"): 8,
        ("rules", 1, "match"): 9,
        ("rules", 1, "do"): 10,
        ("rules", 1, "do", 0): 10,
        ("rules", 1, "do", 0, "x"): 11,
        ("rules", 1, "do", 0, "deep"): 12,
    }


def test_lists_over_lines_with_inline_tables_in_them() -> None:
    text = """\
sni = [ # a comment with ] and }
  { certificate = "a]", key = 'b}' }, { certificate = "c#", x.y = [1,
    2] },

  # [not, an, item]
  {},
]
after = [[], [1], ]
"""
    assert lines_of(text) == {
        ("sni",): 1,
        ("sni", 0): 2,
        ("sni", 0, "certificate"): 2,
        ("sni", 0, "key"): 2,
        ("sni", 1): 2,
        ("sni", 1, "certificate"): 2,
        ("sni", 1, "x"): 2,
        ("sni", 1, "x", "y"): 2,
        ("sni", 1, "x", "y", 0): 2,
        ("sni", 1, "x", "y", 1): 3,
        ("sni", 2): 6,
        ("after",): 8,
        ("after", 0): 8,
        ("after", 1): 8,
        ("after", 1, 0): 8,
    }


@pytest.mark.parametrize(
    ("value", "height"),
    [
        ('"""\n[x]\ny = 1\n"""', 4),
        ("'''\n[x]\ny = 1\\'''", 3),
        ('"""a""\nb"""""', 2),
        ("'''a''\nb'''''", 2),
        ('""""""', 1),
        ("''''''", 1),
        ('""', 1),
        ("''", 1),
        ('"""\\"""\n"""', 2),
        ('"""\\\n   folded \\\\"""', 2),
        ('"\\" [x] \\\\"', 1),
        ("'\\'", 1),
        ('["""\n""", \'\'\'\n\'\'\', "#", 1]', 3),
        ("1979-05-27 07:32:00Z", 1),
        ("+1_000.5e-3", 1),
        ("inf", 1),
        ('"\u2028\x85"', 1),
    ],
)
def test_what_follows_a_value_has_the_right_line(value: str, height: int) -> None:
    lines = lines_of(f"first = {value}\nnext = 1\n")
    assert (lines[("first",)], lines[("next",)]) == (1, 1 + height)
    inside = lines_of(f"list = [ {value} , # ]\n 2]\nnext = 1\n")
    assert (inside[("list", 0)], inside[("list", 1)]) == (1, 1 + height)
    assert inside[("next",)] == 2 + height


def test_windows_line_ends_and_a_missing_last_one() -> None:
    assert lines_of("a = 1\r\n\r\n[b]\r\nc = '''\r\n'''\r\nd = 2") == {
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "d"): 6,
    }


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", " \t\n # x\n"])
def test_a_text_without_keys_has_no_lines(text: str) -> None:
    assert lines_of(text) == {}


def test_the_nearest_line_is_that_of_the_innermost_table_there_is() -> None:
    root = locate("\n[a]\nb = [\n1,\n2]\n")
    assert root.nearest(("a", "b", 1)).line == 5
    assert root.nearest(("a", "b", 7, "x")).line == 3
    assert root.nearest(("a", "missing")).line == 2
    assert root.nearest(("missing",)).line == 1


def test_a_long_file_takes_no_time_to_speak_of() -> None:
    # 50,000 keys: quadratic counting of lines would take minutes.
    text = "".join(f'[t{n}]\nk = [\'x\', """\n"""] # c\n' for n in range(25_000))
    assert locate(text).children["t24999"].line == 1 + 24_999 * 3


def test_what_is_no_toml_is_not_guessed_at() -> None:
    with pytest.raises(AssertionError, match="tomllib accepted what can't be read at 4"):
        locate('a = "unfinished')


# Documents that note, while they are written, on which line each key and item went.

KEY_TEXT = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x7f", min_codepoint=0x20),
    max_size=5,
)
TEXT = st.text(st.sampled_from("a\"'\\[]{}=#,.\n \u2028é"), max_size=8)


class Writer:
    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def blank(self, newlines: bool = False) -> None:
        options = ["", " ", "\t "]
        if newlines:
            options += ["\n", " # ]}\"'=[\n", "\r\n", "\n\n"]
        self.text += self.draw(st.sampled_from(options))

    def key(self, number: int) -> str:
        """Write a key that no sibling has, in any of the three forms."""
        form = self.draw(st.sampled_from(["bare", "basic", "literal"]))
        if form == "bare":
            key = self.draw(st.sampled_from(["a-", "B_", "", "1"])) + f"_{number}"
            self.text += key
        elif form == "basic":
            key = self.draw(KEY_TEXT) + f"_{number}"
            self.text += '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
        else:
            key = self.draw(KEY_TEXT).replace("'", "") + f"_{number}"
            self.text += f"'{key}'"
        return key

    def string(self) -> None:
        text = self.draw(TEXT)
        form = self.draw(st.sampled_from(["basic", "literal", "basic lines", "literal lines"]))
        if form == "basic":
            escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            self.text += f'"{escaped}"'
        elif form == "literal":
            self.text += "'" + text.replace("'", "").replace("\n", "") + "'"
        elif form == "basic lines":
            self.text += '"""' + text.replace("\\", "\\\\").replace('"""', '""\\"') + '"""'
        else:
            self.text += "'''" + text.replace("'''", "''") + "'''"

    def value(self, path: Path, depth: int) -> None:
        self.lines[path] = self.lines.get(path, self.line)
        kinds = ["string", "other"] + (["list", "table"] if depth else [])
        kind = self.draw(st.sampled_from(kinds))
        if kind == "string":
            self.string()
        elif kind == "other":
            others = ["1", "-0.5e1", "true", "nan", "1979-05-27 07:32:00", "0xff", "07:32:00.5"]
            self.text += self.draw(st.sampled_from(others))
        elif kind == "list":
            self.text += "["
            for index in range(self.draw(st.integers(0, 3))):
                self.text += "," if index else ""
                self.blank(newlines=True)
                self.value((*path, index), depth - 1)
                self.blank(newlines=True)
            self.text += "]"
        else:
            self.text += "{"
            for number in range(self.draw(st.integers(0, 3))):
                self.text += "," if number else ""
                self.blank()
                self.pair(path, number, depth - 1)
                self.blank()
            self.text += "}"

    def pair(self, path: Path, number: int, depth: int) -> None:
        line = self.line
        path = (*path, self.key(number))
        self.lines[path] = line
        for _ in range(self.draw(st.integers(0, 2))):
            self.blank()
            self.text += "."
            self.blank()
            path = (*path, self.key(0))
            self.lines[path] = line
        self.blank()
        self.text += "="
        self.blank()
        self.value(path, depth)

    def pairs(self, path: Path) -> None:
        for number in range(self.draw(st.integers(0, 3))):
            self.blank(newlines=True)
            self.pair(path, number, 2)
            self.blank()
            self.text += self.draw(st.sampled_from(["\n", " # [x]\n", "\r\n"]))

    def document(self) -> None:
        self.pairs(())
        for number in range(10, 10 + self.draw(st.integers(0, 3))):
            self.section(number)

    def section(self, number: int) -> None:
        count = self.draw(st.integers(0, 2))
        name = ""
        for index in range(max(count, 1)):
            self.blank(newlines=True)
            line = self.line
            if count == 0:
                self.text += "["
                path: Path = (self.key(number),)
            else:
                self.text += "[["
                if index == 0:
                    name = self.key(number)
                    self.lines[(name,)] = line
                else:
                    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
                    self.text += f'"{escaped}"'
                path = (name, index)
            self.lines[path] = line
            self.blank()
            self.text += ("]" if count == 0 else "]]") + "\n"
            self.pairs(path)


@st.composite
def documents(draw: Any) -> Writer:
    writer = Writer(draw)
    writer.document()
    return writer


@settings(max_examples=300, deadline=None)
@given(documents())
def test_every_key_of_any_document_is_found_on_its_line(document: Writer) -> None:
    table = tomllib.loads(document.text)
    assert dict(locate(document.text).walk()) == document.lines
    assert set(document.lines) == set(paths_in(table))
