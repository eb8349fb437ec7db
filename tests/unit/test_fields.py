from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.errors import ConfigError, ConfigErrors, FieldError
from tcpd.fields import (
    NO_KEY,
    CommandLine,
    OneOrMore,
    Path_,
    Place,
    Range,
    build,
    build_partly,
    convert,
    dotted,
    keys_of,
    words_for,
)
from tcpd.units import ByteSize, PerSecond, Seconds

if TYPE_CHECKING:
    from decimal import Decimal


class File:
    """A source whose places are just the keys."""

    def where(self, path: Path_) -> str:
        return dotted(path) or "file"


class FileIn(File):
    def directory(self, path: Path_) -> Path:
        return Path("/etc/x")


class Even(int):
    described = "an even number"

    @classmethod
    def parse(cls, value: object) -> "Even":
        if not isinstance(value, int | str) or int(value) % 2:
            raise ValueError("expected an even number")
        return cls(value)


@dataclass(frozen=True)
class Inner:
    x: int
    y: str = "y"


WORDS = Place(CommandLine())


def converted(kind: Any, value: Any, place: Place = Place(File(), ("k",))) -> Any:  # noqa: B008
    """Return the value, or the lines of the problems as a list."""
    problems: list[ConfigError] = []
    result = convert(kind, value, place, problems)
    return [str(problem) for problem in problems] or result


GOOD: list[tuple[Any, Any, Any]] = [
    (bool, True, True),
    (int, 5, 5),
    (int, 2**63 - 1, 2**63 - 1),
    (int, -(2**63), -(2**63)),
    (float, 0.5, 0.5),
    (float, 2, 2.0),
    (str, "a", "a"),
    (str, "", ""),
    (bytes, "é", b"\xc3\xa9"),
    (Path, "a/b", Path("a/b")),
    (Seconds, "5m", 300.0),
    (Seconds, 2, 2.0),
    (Seconds, 0.5, 0.5),
    (Seconds, 0, 0.0),
    (ByteSize, "1K", 1024),
    (ByteSize, 7, 7),
    (PerSecond, "30/m", 0.5),
    (PerSecond, 3, 3.0),
    (Literal["a", "b"], "b", "b"),
    (Literal[1, 2, "auto"], 2, 2),
    (Annotated[int, Range(1, 10)], 10, 10),
    (Annotated[float, Range(0, 1)], 0, 0.0),
    (Annotated[ByteSize, Range(1)], "1K", 1024),
    (Annotated[str, "a note that says nothing"], "a", "a"),
    (int | None, 5, 5),
    (Optional[int], 5, 5),  # noqa: UP045
    (Union[int, str], "a", "a"),  # noqa: UP007
    (int | str, 5, 5),
    (bool | Seconds, "5m", 300.0),
    (bool | Seconds, False, False),
    (Seconds | bool, True, True),
    (str | tuple[str, ...], ["a"], ("a",)),
    (str | tuple[str, ...], "a", "a"),
    (str | dict[str, int], {"a": 1}, {"a": 1}),
    (Inner | str, {"x": 1}, Inner(1)),
    (Even | None, 4, 4),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, ...], [], ()),
    (list[int], [1, 2], [1, 2]),
    (tuple[Inner, ...], [{"x": 1}, {"x": 2, "y": "z"}], (Inner(1), Inner(2, "z"))),
    (dict[str, Seconds], {"a": "1s"}, {"a": 1.0}),
    (Mapping[str, object], {"a": [1, "x"]}, {"a": [1, "x"]}),
    (Inner, {"x": 1}, Inner(1)),
    (Even, 4, 4),
    (Any, date(2026, 1, 1), date(2026, 1, 1)),
    (object, "a", "a"),
    (Annotated[tuple[str, ...], OneOrMore()], "a", ("a",)),
    (Annotated[tuple[str, ...], OneOrMore()], ["a", "b"], ("a", "b")),
    (Annotated[tuple[Even, ...], OneOrMore()], 2, (2,)),
]


@pytest.mark.parametrize(("kind", "value", "expected"), GOOD)
def test_a_value_becomes_what_its_field_asks(kind: Any, value: Any, expected: Any) -> None:
    result = converted(kind, value)
    assert result == expected
    assert type(result) is type(expected) or isinstance(result, Even)


DURATION = "a duration such as '30s' or '5m'"
SIZE = "a size such as '64KiB' or '10MB'"
BAD: list[tuple[Any, Any, str]] = [
    (bool, 1, "k: expected true or false, not the number 1"),
    (bool, "true", "k: expected true or false, not 'true'"),
    (int, True, "k: expected a whole number, not true"),
    (int, 1.0, "k: expected a whole number, not the number 1.0"),
    (int, "5", "k: expected a whole number, not '5'"),
    (int, 2**63, "k: the number is too large; TOML's have 64 bits"),
    (float, 10**400, "k: the number is too large; TOML's have 64 bits"),
    (float, True, "k: expected a number, not true"),
    (float, float("nan"), "k: expected a number, not the number nan"),
    (float, float("-inf"), "k: expected a number, not the number -inf"),
    (str, 1, "k: expected a text, not the number 1"),
    (str, None, "k: expected a text, not the date or time None"),
    (str, date(2026, 1, 2), "k: expected a text, not the date or time 2026-01-02"),
    (bytes, [1], "k: expected a text, not a list"),
    (Path, "", "k: expected a path, not an empty text"),
    (Path, "a\0b", r"k: expected a path, not 'a\0b'"),
    (Path, {}, "k: expected a path, not a table"),
    (Seconds, True, f"k: expected {DURATION}, not true"),
    (Seconds, float("inf"), f"k: expected {DURATION}, not the number inf"),
    (Seconds, -1, f"k: expected {DURATION}, not the number -1"),
    (Seconds, [], f"k: expected {DURATION}, not a list"),
    (ByteSize, 1.5, f"k: expected {SIZE}, not the number 1.5"),
    (ByteSize, True, f"k: expected {SIZE}, not true"),
    (ByteSize, "x", "k: 'x' isn't a size; write one as '512', '64KiB' or '10MB'"),
    (PerSecond, "x", "k: 'x' isn't a rate; write one as '50/s', '10/m' or '1000/h'"),
    (Literal["line", "raw"], "lin", "k: expected 'line' or 'raw', not 'lin'; did you mean 'line'?"),
    (Literal["line", "raw"], 1, "k: expected 'line' or 'raw', not the number 1"),
    (Literal[1, 2], True, "k: expected 1 or 2, not true"),
    (Literal[1, 2], "1", "k: expected 1 or 2, not '1'"),
    (Annotated[int, Range(1, 10)], 11, "k: expected 1 to 10, not 11"),
    (Annotated[int, Range(1)], 0, "k: expected 1 or more, not 0"),
    (Annotated[int, Range(greatest=5)], 6, "k: expected 5 or less, not 6"),
    (Annotated[int, Range(1, 1_000_000)], 1_000_001, "k: expected 1 to 1000000, not 1000001"),
    (Annotated[float, Range(0.5, 10.0)], 11.0, "k: expected 0.5 to 10, not 11"),
    (Annotated[int, Range(1, 10)], "5", "k: expected a whole number, not '5'"),
    (int | str, 1.5, "k: expected a whole number or a text, not the number 1.5"),
    (int | str, {}, "k: expected a whole number or a text, not a table"),
    (int | tuple[str, ...], {}, "k: expected a whole number or a list, not a table"),
    (Annotated[int, Range(1, 9)] | str, 10, "k: expected 1 to 9, not 10"),
    (
        bool | Seconds,
        "soon",
        "k: 'soon' isn't a duration; write one as '30s', '5m', '1h30m' or '250ms'",
    ),
    (Even | None, 3, "k: expected an even number"),
    (str | tuple[int, ...], ["a"], "k[0]: expected a whole number, not 'a'"),
    (str | dict[str, int], {"a": "b"}, "k.a: expected a whole number, not 'b'"),
    (Inner | dict[str, int], {"x": "a", "z": 1}, "k.x: expected a whole number, not 'a'"),
    (tuple[int, ...], "1,2", "k: expected a list, not '1,2'"),
    (tuple[int, ...], [1, "2"], "k[1]: expected a whole number, not '2'"),
    (dict[str, int], [], "k: expected a table, not a list"),
    (dict[str, int], {"a b": "c"}, "k.\"a b\": expected a whole number, not 'c'"),
    (Inner, [], "k: expected a table, not a list"),
    (Inner, {"x": 1, "why": ""}, "k.why: unknown key; known here: x, y"),
    (Inner, {}, "k: 'x' is missing; expected a whole number"),
    (Even, 3, "k: expected an even number"),
    (Annotated[tuple[str, ...], OneOrMore()], [], "k: expected at least one, not an empty list"),
    (Annotated[tuple[str, ...], OneOrMore()], 1, "k: expected a text, not the number 1"),
    (set[int], [1], "k: it can't be set: its type, set, can't be given in a table"),
    (
        str | complex,
        1.5,
        "k: it can't be set: its type, complex, can't be given in a table",
    ),
]


@pytest.mark.parametrize(("kind", "value", "message"), BAD)
def test_a_value_that_does_not_fit_is_refused_in_words(kind: Any, value: Any, message: str) -> None:
    assert converted(kind, value) == [message]


def test_a_number_too_long_to_be_shown_is_refused_all_the_same() -> None:
    told = ["k: the number is too large; TOML's have 64 bits"]
    assert converted(object, 16**5000) == converted(str, 16**5000) == told


def test_what_is_shown_of_a_value_is_printable_and_short() -> None:
    (message,) = converted(int, "\x1b[31m" + "x" * 10_000)
    assert message.isprintable()
    assert len(message) < 120


COMMAND_LINE: list[tuple[Any, str, Any]] = [
    (bool, "true", True),
    (bool, "Off", False),
    (bool, "yes", True),
    (int, "5", 5),
    (int, "-5", -5),
    (float, "0.5", 0.5),
    (str, "5", "5"),
    (bytes, "\udcff", b"\xff"),
    (Seconds, "5m", 300.0),
    (Seconds, "30", 30.0),
    (ByteSize, "64", 64),
    (ByteSize, "64K", 65536),
    (PerSecond, "50", 50.0),
    (PerSecond, "60/m", 1.0),
    (Literal[1, 2, 4], "2", 2),
    (Literal["a", True], "on", True),
    (Annotated[int, Range(1, 5)], "5", 5),
    (int | None, "5", 5),
    (int | str, "5", 5),
    (int | str, "x", "x"),
    (tuple[int, ...], "1,2", (1, 2)),
    (tuple[str, ...], "", ()),
    (tuple[str, ...] | None, "a,b", ("a", "b")),
    (str | tuple[str, ...], "a,b", "a,b"),
    (list[bool], "on,off", [True, False]),
    (Annotated[tuple[str, ...], OneOrMore()], "a,b", ("a", "b")),
    (Even, "4", 4),
]


@pytest.mark.parametrize(("kind", "word", "expected"), COMMAND_LINE)
def test_a_word_of_the_command_line_becomes_what_its_field_asks(
    kind: Any, word: str, expected: Any
) -> None:
    result = converted(kind, word, WORDS / "k")
    assert result == expected
    assert type(result) is type(expected) or isinstance(result, Even)


@pytest.mark.parametrize(
    ("kind", "word", "message"),
    [
        (bool, "maybe", "--option k: expected true or false, not 'maybe'"),
        (int, "five", "--option k: expected a whole number, not 'five'"),
        (int, "1" * 5000, "--option k: expected a whole number, not '1111"),
        (int, "9" * 30, "--option k: the number is too large; TOML's have 64 bits"),
        (float, "nan", "--option k: expected a number, not the number nan"),
        (Seconds, "soon", "--option k: 'soon' isn't a duration"),
        (Seconds, "-5", f"--option k: expected {DURATION}, not the number -5.0"),
        (Literal["a", "b"], "c", "--option k: expected 'a' or 'b', not 'c'"),
        (Annotated[int, Range(1, 5)], "6", "--option k: expected 1 to 5, not 6"),
        (tuple[int, ...], "1,b", "--option k[1]: expected a whole number, not 'b'"),
        (dict[str, int], "a", "--option k: expected a table, not 'a'"),
        (Inner, "a", "--option k: expected a table, not 'a'"),
        (Inner | None, "a", "--option k: expected a table, not 'a'"),
    ],
)
def test_a_word_that_does_not_fit_is_refused_in_words(kind: Any, word: str, message: str) -> None:
    (told,) = converted(kind, word, WORDS / "k")
    assert told.startswith(message)


def test_relative_paths_start_where_their_source_says(monkeypatch: pytest.MonkeyPatch) -> None:
    file = Place(FileIn(), ("k",))
    assert converted(Path, "a/b", file) == Path("/etc/x/a/b")
    assert converted(Path, "/a", file) == Path("/a")
    assert converted(Path, "a", WORDS / "k") == Path.cwd() / "a"
    monkeypatch.setenv("HOME", "/home/me")
    assert converted(Path, "~/a", file) == Path("/home/me/a")
    (message,) = converted(Path, "~nobody-of-that-name/a", file)
    assert message.startswith("k: ")


@dataclass(frozen=True)
class Everything:
    if TYPE_CHECKING:
        unseen: int = 0
    shared: ClassVar[int] = 1
    import_: str = "x"
    numbers: tuple[int, ...] = ()
    inner: Inner | None = None
    made: object = field(default=None, metadata=NO_KEY)
    _private: int = 3
    computed: int = field(default=0, init=False)


def built(cls: type[Any], table: object, place: Place = Place(File())) -> Any:  # noqa: B008
    problems: list[ConfigError] = []
    result = build(cls, table, place, problems)
    assert (result is None) == bool(problems)
    return [str(problem) for problem in problems] or result


def test_the_keys_are_the_fields_that_a_table_may_give() -> None:
    assert list(keys_of(Everything)) == ["import", "numbers", "inner"]
    assert built(Everything, {"import": "y", "inner": {"x": 1}}) == Everything("y", (), Inner(1))
    assert built(Everything, {}) == Everything()
    for key in ("import_", "made", "_private", "computed", "shared"):
        (message,) = built(Everything, {key: 1})
        assert message.startswith(f"{key}: unknown key; ")


def test_all_mistakes_are_told_at_once_with_their_places() -> None:
    table = {"improt": 1, "numbers": [1, "a", 2.5], "inner": {"y": 1}}
    assert built(Everything, table) == [
        "improt: unknown key; did you mean 'import'?",
        "numbers[1]: expected a whole number, not 'a'",
        "numbers[2]: expected a whole number, not the number 2.5",
        "inner.y: expected a text, not the number 1",
        "inner: 'x' is missing; expected a whole number",
    ]


@dataclass(frozen=True)
class Nothing:
    pass


def test_a_dataclass_without_fields_takes_no_key() -> None:
    assert built(Nothing, {}) == Nothing()
    assert built(Nothing, {"a": 1}) == ["a: unknown key; nothing can be set here"]


@dataclass(frozen=True)
class Checked:
    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        match self.rules[:1]:
            case ("value",):
                raise ValueError("they don't go together")
            case ("field",):
                raise FieldError(("rules", 0), "not this one", "another")
            case ("several",):
                deep = ExceptionGroup("deep", [ValueError("itself")])
                raise ExceptionGroup("all", [FieldError(("rules", 1), "second"), deep])
            case ("file",):
                raise ConfigErrors([ConfigError("other.toml:3: x", "wrong")])
            case ("bug",):
                raise KeyError("x")
            case ("hidden bug",):
                raise ExceptionGroup("all", [KeyError("x")])


@pytest.mark.parametrize(
    ("rules", "messages"),
    [
        (["fine"], None),
        (["value"], ["at: they don't go together"]),
        (["field"], ["at.rules[0]: not this one; another"]),
        (["several"], ["at.rules[1]: second", "at: itself"]),
        (["file"], ["other.toml:3: x: wrong"]),
    ],
)
def test_what_a_dataclass_checks_by_itself_is_told_at_its_place(
    rules: list[str], messages: list[str] | None
) -> None:
    result = built(Checked, {"rules": rules}, Place(File(), ("at",)))
    assert result == (messages or Checked(tuple(rules)))


@pytest.mark.parametrize(("rule", "bug"), [("bug", KeyError), ("hidden bug", KeyError)])
def test_a_bug_in_such_a_check_is_not_hidden(rule: str, bug: type[Exception]) -> None:
    with pytest.raises(bug):
        built(Checked, {"rules": [rule]})


@dataclass(frozen=True, slots=True)
class Window:
    low: int = 3
    high: int = 5
    name: str = "w"
    size: ByteSize | None = None

    def __post_init__(self) -> None:
        problems: list[Exception] = []
        if self.low > self.high:
            problems.append(FieldError(("high",), "below 'low'", rests_on=[("low",)]))
        if self.name == "bad":
            problems.append(FieldError(("name",), "is bad"))
        if self.name == "all":
            problems.append(ValueError("all of it"))
        if self.name == "bug":
            raise KeyError("bug")
        if problems:
            raise ExceptionGroup("window", problems)


@dataclass(frozen=True)
class House:
    windows: tuple[Window, ...] = ()
    door: Inner | None = None

    def __post_init__(self) -> None:
        rests_on = [("windows", None, "low")]
        if self.windows and self.windows[-1].high > 10:
            raise FieldError(("windows",), "too high", rests_on=rests_on)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"low": 9, "name": 5}, ["name: expected", "high: below"]),
        ({"low": 9, "nmae": "x"}, ["nmae: unknown key", "high: below"]),
        ({"low": 9, "zzz": "x", "high": 5}, ["zzz: unknown key", "high: below"]),
        ({"low": 9, "lwo": 5}, ["lwo: unknown key"]),  # whichever was meant to be `low`
        ({"low": "x", "high": 1}, ["low: expected"]),
        ({"low": 9, "high": "x", "name": "bad"}, ["high: expected", "name: is bad"]),
        ({"size": "x", "name": "all"}, ["size: "]),  # may follow from the size
        ({"size": "x", "name": "bug"}, ["size: "]),
    ],
)
def test_checks_of_several_fields_run_though_another_is_wrong(
    table: dict[str, object], told: list[str]
) -> None:
    found = built(Window, table)
    assert isinstance(found, list)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True)), found


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"windows": [{"name": "bad"}, {"high": 11}]}, ["windows[0].name: is bad", "windows: too"]),
        ({"windows": [{"low": "x"}, {"high": 11}]}, ["windows[0].low: expected"]),
        ({"windows": [{"high": 11}], "door": {}}, ["door: 'x' is missing", "windows: too high"]),
        ({"windows": [5, {"high": 11}]}, ["windows[0]: expected a table"]),
    ],
)
def test_checks_of_tables_in_tables_run_though_one_of_them_is_wrong(
    table: dict[str, object], told: list[str]
) -> None:
    found = built(House, table)
    assert isinstance(found, list)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True)), found


def test_what_is_known_of_a_wrong_table_can_be_checked_further() -> None:
    problems: list[ConfigError] = []
    partly = build_partly(Inner, {"y": 5, "z": 1}, Place(File()), problems)
    assert len(problems) == 3
    assert not hasattr(partly, "x")


@dataclass(frozen=True)
class Lazy:
    amount: "Decimal"


def test_types_that_are_imported_for_type_checkers_only_are_told() -> None:
    assert built(Lazy, {"amount": 1}) == [
        "file: the types of Lazy can't be known: name 'Decimal' is not defined"
    ]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (bool, "true or false"),
        (Seconds, DURATION),
        (int | str | None, "a whole number or a text"),
        (str | bytes, "a text"),
        (Annotated[int, Range(1)], "a whole number"),
        (Annotated[tuple[str, ...], OneOrMore()], "a text or a list"),
        (Literal["a", 1], "'a' or 1"),
        (tuple[int, ...], "a list"),
        (dict[str, int], "a table"),
        (Mapping[str, int], "a table"),
        (Inner, "a table"),
        (Even, "an even number"),
        (complex, "complex"),
    ],
)
def test_a_type_in_words(kind: Any, words: str) -> None:
    assert words_for(kind) == words


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("a",), "a"),
        (("a", "b-c", "d_e", 0, "f", 12), "a.b-c.d_e[0].f[12]"),
        (("a.b", "c d", ""), '"a.b"."c d".""'),
        (('a"b', "é", "\x1b"), '"a\\"b"."é"."\\x1b"'),
        (("_", "-"), "_.-"),
    ],
)
def test_a_path_is_shown_as_toml_writes_it(path: Path_, text: str) -> None:
    assert dotted(path) == text


def test_a_long_key_is_not_shown_in_full() -> None:
    assert len(dotted(("a", "b" * 5000))) < 200
    (message,) = built(Inner, {"x": 1, "z" * 5000: 1})
    assert len(message) < 200


def test_the_place_of_a_flag_is_its_name() -> None:
    assert str(Place(CommandLine("--tls-key"))) == "--tls-key"
    assert str(Place(CommandLine("--option"), ("a", 0))) == "--option a[0]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["import", "numbers", "inner", "x", "y"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(JSON, st.booleans())
def test_whatever_a_table_holds_is_built_or_refused(value: Any, words: bool) -> None:
    result = built(Everything, value, WORDS if words else Place(File()))
    if isinstance(result, list):
        assert all(message.isprintable() for message in result)
    else:
        assert isinstance(result, Everything)
