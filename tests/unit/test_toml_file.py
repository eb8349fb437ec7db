import os
from pathlib import Path

import pytest

from tcpd.errors import ConfigErrors
from tcpd.toml_file import MAX_SIZE, TomlFile


def error_of(text: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        TomlFile.parse(text, "x.toml")
    return str(caught.value)


def read_error(path: Path) -> str:
    with pytest.raises(ConfigErrors) as caught:
        TomlFile.read(path)
    return str(caught.value).replace(str(path), "FILE")


def test_a_file_is_a_table_with_places(tmp_path: Path) -> None:
    path = tmp_path / "tcpd.toml"
    path.write_text('[listeners.echo]\nlisten = [\n"tcp:1",\n"tcp:2"]\n', "utf-8")
    file = TomlFile.read(path)
    assert file.table == {"listeners": {"echo": {"listen": ["tcp:1", "tcp:2"]}}}
    assert file.base == tmp_path
    assert file.where(("listeners", "echo", "listen", 1)) == f"{path}:4: listeners.echo.listen[1]"
    assert file.line(("listeners", "echo")) == 1


def test_a_missing_key_has_the_line_of_its_table_and_its_own_name() -> None:
    file = TomlFile.parse("\n[a.b]\nc = 1\n", "x.toml")
    assert file.where(("a", "b", "d", 0)) == "x.toml:2: a.b.d[0]"
    assert file.where(("z",)) == "x.toml:1: z"


def test_the_whole_file_has_no_line() -> None:
    assert TomlFile.parse("", "x.toml").where(()) == "x.toml"


def test_keys_that_need_quotes_are_shown_with_them() -> None:
    file = TomlFile.parse('["a.b"]\n"c\\n" = 1\n', "x.toml")
    assert file.where(("a.b", "c\n")) == 'x.toml:2: "a.b"."c\\n"'


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert TomlFile.read(path).table == {"a": 1}


def test_relative_paths_start_at_the_files_directory_wherever_we_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "x.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    file = TomlFile.read(Path("etc/x.toml"))
    assert file.base == tmp_path / "etc"
    assert file.name == "etc/x.toml"


def test_a_missing_file(tmp_path: Path) -> None:
    assert read_error(tmp_path / "none.toml") == "FILE: there is no such file"


def test_a_directory(tmp_path: Path) -> None:
    assert read_error(tmp_path) == "FILE: is a directory, not a file"


def test_a_file_in_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read_error(tmp_path / "file" / "x") == "FILE: can't be read: Not a directory"


def test_a_path_with_a_nul_in_it() -> None:
    with pytest.raises(ConfigErrors, match=r"^a\\0b: can't be read: "):
        TomlFile.read(Path("a\0b"))


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.toml"
    path.write_text("")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads it all the same, so the refusal is made here

        def refuse(path: Path, flags: int) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    assert read_error(path) == "FILE: this user has no permission to read it"


def test_a_file_without_end_is_refused_without_reading_it_all() -> None:
    message = read_error(Path("/dev/zero"))
    assert message == "FILE: is no regular file; name a file that can be read again"


def test_a_large_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    with path.open("wb") as file:
        file.truncate(2**40)
    message = read_error(path)
    assert message == f"FILE: is larger than {MAX_SIZE >> 20} MiB, too much for this file"


def test_a_fifo_is_refused_and_nobody_waits_for_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.toml"
    os.mkfifo(path)
    really, seen = os.open, []

    def note(path: Path, flags: int) -> int:
        seen.append(flags)
        return really(path, flags | os.O_NONBLOCK)

    monkeypatch.setattr(os, "open", note)
    assert read_error(path) == "FILE: is no regular file; name a file that can be read again"
    assert all(flags & os.O_NONBLOCK for flags in seen)


def test_a_file_that_is_no_utf_8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "latin1.toml"
    path.write_bytes("# ok\na = 'é'\n".encode("latin-1"))
    assert read_error(path) == "FILE:2: the byte 0xe9 isn't UTF-8; save the file as UTF-8"


SMALL = "a text stands in quotes; true and false are in lower case"
ONCE = "a table is declared once; put its keys together"
QUOTES = "its closing quotes are missing"


@pytest.mark.parametrize(
    ("text", "line", "problem", "hint"),
    [
        ("a = 1\nb = yes\n", 2, "invalid value (column 5)", SMALL),
        ("\n\nb = True\n", 3, "invalid value (column 5)", SMALL),
        ("a = 1\na = 2\nb = 1\n", 2, "cannot overwrite a value", "this key has a value already"),
        ("a = 1\na = 2", 2, "cannot overwrite a value", "this key has a value already"),
        ("[a]\nx = 1\n[a]\n", 3, "cannot declare ('a',) twice", ONCE),
        (
            "a = {b = 1}\n[[a]]\n",
            2,
            "cannot mutate immutable namespace ('a',)",
            "a table in braces is complete; add the key inside them",
        ),
        (
            'a = "C:\\q"\n',
            1,
            "unescaped '\\' in a string",
            "write the backslash twice, or put the text in single quotes",
        ),
        (
            'a = "one\ntwo"\n',
            1,
            "illegal character '\\n' (column 9)",
            "a text over several lines stands in three quotes on each side",
        ),
        (
            'a = "\x01"\n',
            1,
            "illegal character '\\x01' (column 6)",
            "write a control character as \\uXXXX in double quotes",
        ),
        ('a = 1\nb = """\n[x]\n', 3, "unterminated string (at the end of the file)", QUOTES),
        ("a = '''x", 1, "expected \"'''\" (at the end of the file)", QUOTES),
        ("a = [1 2]\n", 1, "unclosed array", "a comma or its closing bracket is missing"),
        (
            "\na = {b = 1 c = 2}\n",
            2,
            "unclosed inline table (column 12)",
            "a comma or its closing brace is missing (it stands on one line)",
        ),
        ("a\n", 1, "expected '=' after a key", "write it as 'key = value'"),
        ("a = 1 b = 2\n", 1, "expected newline or end of document", "one 'key = value' a line"),
        (
            "é = 1\n",
            1,
            "invalid statement",
            "a line is '[table]' or 'key = value'; other than A-Z a-z 0-9 _ -, a key is quoted",
        ),
        ('a = "\\ud800"', 1, "escaped character is not a Unicode scalar value", ""),
    ],
)
def test_a_syntax_error_says_where_and_what_would_be_right(
    text: str, line: int, problem: str, hint: str
) -> None:
    with pytest.raises(ConfigErrors) as caught:
        TomlFile.parse(text, "x.toml")
    (error,) = caught.value.errors
    assert error.where == f"x.toml:{line}"
    assert error.problem.startswith(problem)
    assert error.hint == hint


def test_nesting_deeper_than_the_stack_is_an_error_like_any_other() -> None:
    assert error_of("a = " + "[" * 5000) == "x.toml: lists or tables are nested too deeply in it"


def test_a_number_with_more_digits_than_python_converts_is_an_error() -> None:
    assert error_of("a = " + "9" * 5000) == "x.toml: a number in it has far too many digits"


def test_a_syntax_error_is_one_printable_line_whatever_the_file_holds() -> None:
    message = error_of(
        'a = 1\n"\\u001b[31m' + "x" * 5000 + '" = 1\n["\\u001b[31m' + "x" * 5000 + '"'
    )
    assert message.isprintable()
    assert len(message) < 400
