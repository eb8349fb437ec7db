"""The line on which each key and each list item of a TOML text stands.

`tomllib` gives values and forgets where they were. This reads the same text a second time, for the
lines alone.

Rules:
- It runs after `tomllib` has accepted the text, so it never judges syntax, and of values it reads
  only as much as it takes to find their end.
- A table's line is its header's; where a table has none (`[a.b]` alone makes an `a` too), it is the
  line of the first key that made it.
- Lines are counted as TOML counts them: by line feeds, nothing else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# What may stand between two tokens. Everything here is possessive: no input makes it backtrack.
_SPACE = re.compile(r"[ \t]*+")
_BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
# Up to two quotation marks may stand directly before the three that close a multi-line string.
_STRING = re.compile(
    r'''"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}'''
    r"""|'''(?:[^']++|'(?!''))*+'{3,5}"""
    r'''|"(?:[^"\\]++|\\.)*+"'''
    r"""|'[^']*+'""",
    re.DOTALL,
)
# A number, a truth value or a date, with whatever blanks follow it.
_OTHER = re.compile(r"[^,\]}#\n]++")


@dataclass(slots=True)
class Node:
    """A key or a list item: its line, and what is inside it."""

    line: int
    children: dict[str | int, Node] = field(default_factory=dict)
    is_table_array: bool = False
    """Made by `[[...]]` headers: a header that goes through it means its last table."""

    def nearest(self, path: Iterable[str | int]) -> Node:
        """Return the node at `path`, or the last one on the way there that exists."""
        node = self
        for key in path:
            below = node.children.get(key)
            if below is None:
                break
            node = below
        return node

    def walk(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], int]]:
        """Yield every path below this node, with its line."""
        for key, child in self.children.items():
            yield (*path, key), child.line
            yield from child.walk((*path, key))


def locate(text: str) -> Node:
    """Return the lines of a TOML text that `tomllib` accepts, as a tree; its root is line 1.

    Raises:
        RecursionError: lists are nested deeper than Python's stack allows.
    """
    return _Locator(text).read()


class _Locator:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        # The line of `counted`; positions are only asked for in rising order.
        self.line = 1
        self.counted = 0

    def read(self) -> Node:
        root = Node(1)
        table = root
        while (character := self.peek(_BLANK)) != "":
            if self.text.startswith("[[", self.position):
                table = self.header(root, 2)
            elif character == "[":
                table = self.header(root, 1)
            else:
                self.pair(table)
        return root

    def header(self, root: Node, brackets: int) -> Node:
        """Read `[a.b]` or `[[a.b]]` and return the table that it opens."""
        line = self.line_here()
        self.position += brackets
        *parents, last = self.dotted_key()
        self.position += brackets
        node = root
        for key in parents:
            node = _last_table(node.children.setdefault(key, Node(line)))
        if brackets == 1:
            table = node.children.setdefault(last, Node(line))
            table.line = line
            return table
        array = node.children.setdefault(last, Node(line, is_table_array=True))
        table = array.children[len(array.children)] = Node(line)
        return table

    def pair(self, table: Node) -> None:
        """Read `a.b = value`."""
        line = self.line_here()
        *parents, last = self.dotted_key()
        self.position += 1  # the equals sign
        node = table
        for key in parents:
            node = node.children.setdefault(key, Node(line))
        node.children[last] = self.value(line)

    def dotted_key(self) -> list[str]:
        """Read the parts of a key, up to the character that ends it."""
        parts = [self.simple_key()]
        while self.peek() == ".":
            self.position += 1
            parts.append(self.simple_key())
        return parts

    def simple_key(self) -> str:
        quoted = self.peek() in "\"'"
        start = self.position
        self.skip(_STRING if quoted else _BARE_KEY)
        key = self.text[start : self.position]
        # A quoted key is written as a one-line string is; tomllib knows its escapes.
        return str(tomllib.loads(f"key = {key}")["key"]) if quoted else key

    def value(self, line: int) -> Node:
        """Read a value; `line` is that of its key or, in a list, its own."""
        node = Node(line)
        character = self.peek()
        if character == "[":
            self.items(node)
        elif character == "{":
            self.pairs(node)
        else:
            self.skip(_STRING if character in "\"'" else _OTHER)
        return node

    def items(self, node: Node) -> None:
        """Read a list's items into `node`."""
        self.position += 1
        while self.peek(_BLANK) != "]":
            node.children[len(node.children)] = self.value(self.line_here())
            if self.peek(_BLANK) == ",":
                self.position += 1
        self.position += 1

    def pairs(self, node: Node) -> None:
        """Read an inline table's pairs into `node`."""
        self.position += 1
        while self.peek(_BLANK) != "}":
            self.pair(node)
            if self.peek(_BLANK) == ",":
                self.position += 1
        self.position += 1

    def peek(self, blank: re.Pattern[str] = _SPACE) -> str:
        """Go past what is blank and return the character there; empty at the end of the text."""
        self.skip(blank)
        return self.text[self.position : self.position + 1]

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.position)
        if match is None:
            raise AssertionError(f"tomllib accepted what can't be read at {self.position}")
        self.position = match.end()

    def line_here(self) -> int:
        self.line += self.text.count("\n", self.counted, self.position)
        self.counted = self.position
        return self.line


def _last_table(node: Node) -> Node:
    return node.children[len(node.children) - 1] if node.is_table_array else node
