"""What is typed becomes bytes, and what the peer says becomes visible, however it was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.client import codec
from tcpd.client.codec import (
    HexDump,
    InputError,
    LineEncoder,
    LineView,
    TerminalFilter,
    Typed,
    parse_escapes,
    parse_hex,
    visible,
)

ESC = "\N{ESCAPE}"


def cuts(data: bytes) -> list[list[bytes]]:
    """Return `data` whole, byte by byte, and cut in two at every place."""
    single = [data[i : i + 1] for i in range(len(data))]
    return [[data], single, *([data[:i], data[i:]] for i in range(len(data) + 1))]


def shown(line: codec.Line) -> str:
    return "".join(f"<{f.text}>" if f.escaped else f.text for f in line.fragments)


@pytest.mark.parametrize(
    "text", ["48 65 0a", "48650a", "0x48 0x65 0x0A", "0x48,0x65,0x0a", "48:65:0a", r"\x48\x65\x0a"]
)
def test_hex_is_read_in_every_usual_notation(text: str) -> None:
    assert parse_hex(text) == b"He\n"


@given(st.binary())
def test_hex_reads_what_a_dump_writes(data: bytes) -> None:
    assert parse_hex(data.hex(" ")) == parse_hex(data.hex()) == data


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("48 6g", 3, "half a byte: '6'"),
        ("48 6", 3, "half a byte"),
        ("zz", 0, "'z' isn't a hex digit"),
    ],
)
def test_a_slip_in_hex_is_named_with_its_place(text: str, position: int, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_hex(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (r"a\nb\r\t\0\e\\", b"a\nb\r\t\0\x1b\\"),
        (r"\x00\xff\x7f", b"\x00\xff\x7f"),
        (r"\u20ac \U0001f600", "€ \U0001f600".encode()),
        ("grüße", "grüße".encode()),
        ("no escape", b"no escape"),
        ("", b""),
    ],
)
def test_escapes_stand_for_their_bytes(text: str, data: bytes) -> None:
    assert parse_escapes(text) == data


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("ab\\", 2, "stands alone at the end"),
        (r"a\q", 1, "isn't an escape; known are"),
        (r"\x4", 0, "names nothing; write .xNN"),
        (r"\x4g", 0, "names nothing"),
        (r"\x+4", 0, "names nothing"),
        (r"\ud800", 0, "names nothing"),
        (r"\U00110000", 0, "names nothing"),
    ],
)
def test_an_escape_that_is_none_is_named_with_its_place(
    text: str, position: int, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_escapes(text)
    assert caught.value.position == position


@given(st.binary())
def test_what_is_shown_can_be_typed_back_with_escapes(data: bytes) -> None:
    shown_text = "".join(
        f.text if f.escaped else f.text.replace("\\", "\\\\") for f in visible(data)
    )
    assert parse_escapes(shown_text) == data


@pytest.mark.parametrize(
    ("typed", "line", "data"),
    [
        (Typed(), "hi", b"hi\n"),
        (Typed(eol=b"\r\n"), "hi", b"hi\r\n"),
        (Typed(eol=b""), "hi", b"hi"),
        (Typed(), r"a\n", b"a\\n\n"),
        (Typed(escape=True, eol=b""), r"a\n", b"a\n"),
        (Typed(hex=True, eol=b""), "00 ff", b"\x00\xff"),
        (Typed(hex=True, eol=b"\r\n"), "00", b"\x00\r\n"),
        (Typed(), "\udcff", b"\xff\n"),
    ],
)
def test_a_typed_line_is_encoded_as_chosen(typed: Typed, line: str, data: bytes) -> None:
    assert typed.encode(line) == data


@pytest.mark.parametrize(
    ("typed", "lines", "sent"),
    [
        (Typed(eol=b"\r\n"), b"a\nb\r\n\nc", b"a\r\nb\r\n\r\nc"),
        (Typed(eol=b""), b"a\nb\n", b"ab"),
        (Typed(hex=True, eol=b""), b"48 65\n\n0a", b"He\n"),
        (Typed(escape=True, eol=b"\n"), b"a\\x41\n\xff\\n\n", b"aA\n\xff\n\n"),
    ],
)
def test_lines_of_a_pipe_are_encoded_however_they_arrive(
    typed: Typed, lines: bytes, sent: bytes
) -> None:
    for pieces in cuts(lines):
        encoder = LineEncoder(typed)
        assert b"".join(map(encoder.feed, pieces)) + encoder.finish() == sent


def test_a_wrong_line_of_a_pipe_is_named_by_its_number() -> None:
    with pytest.raises(InputError, match="line 2: 'x' isn't a hex digit"):
        LineEncoder(Typed(hex=True)).feed(b"00\nxx\n")


def test_a_line_without_end_from_a_pipe_is_refused_before_it_fills_the_memory() -> None:
    encoder = LineEncoder(Typed(escape=True))
    with pytest.raises(InputError, match="line 1 has more than 1048576 bytes"):
        encoder.feed(b"x" * (codec.MAX_LINE + 1))


def test_a_long_line_passes_where_only_line_ends_are_changed() -> None:
    encoder = LineEncoder(Typed(eol=b"\r\n"))
    data = b"x" * (codec.MAX_LINE + 1)
    assert encoder.feed(data) + encoder.feed(b"y\n") == data + b"y\r\n"


def test_a_dump_shows_offset_bytes_and_text() -> None:
    dump = HexDump()
    assert dump.feed(b"0123456789abcdef\x00\x1b[31m\xff") == [
        "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|"
    ]
    assert dump.flush() == ["00000010  00 1b 5b 33 31 6d ff                              |..[31m.|"]
    assert dump.flush() == []
    assert dump.feed(b"x" * 16)[0].startswith("00000017  78 ")


@given(st.binary(max_size=100))
def test_a_dump_is_the_same_however_its_bytes_arrive(data: bytes) -> None:
    whole = HexDump()
    rows = whole.feed(data) + whole.flush()
    single = HexDump()
    assert [r for i in range(len(data)) for r in single.feed(data[i : i + 1])] + (
        single.flush()
    ) == rows
    assert parse_hex(" ".join(row[10:58] for row in rows)) == data


@pytest.mark.parametrize(
    ("data", "lines", "partial"),
    [
        (b"one\ntwo\n", ["one", "two"], ""),
        (b"login: ", [], "login: "),
        ("grüße €\nfür".encode(), ["grüße €"], "für"),
        (b"a\r\n", [r"a<\r>"], ""),
        (b"\x1b[31mred\x07\n", [r"<\x1b>[31mred<\x07>"], ""),
        (b"\xc2\x9b31m\n", [r"<\u009b>31m"], ""),
        (b"\xff\xfe\n", [r"<\xff><\xfe>"], ""),
        ("a\u202eb\u2028\n".encode(), [r"a<\u202e>b<\u2028>"], ""),
        (b"C:\\x1b\n", [r"C:\x1b"], ""),
    ],
)
def test_lines_are_made_visible_however_they_arrive(
    data: bytes, lines: list[str], partial: str
) -> None:
    for pieces in cuts(data):
        view = LineView()
        assert [shown(line) for piece in pieces for line in view.feed(piece)] == lines
        assert "".join(f.text for f in view.partial) == partial


def test_with_crlf_it_is_the_lone_lf_that_is_shown() -> None:
    view = LineView(crlf=True)
    assert [shown(line) for line in view.feed(b"a\r\nb\n\r\n")] == ["a", r"b<\n>", ""]


def test_half_a_character_waits_for_the_rest_of_it() -> None:
    view = LineView()
    view.feed("a€".encode()[:-1])
    assert "".join(f.text for f in view.partial) == "a"
    view.feed("€".encode()[-1:])
    assert "".join(f.text for f in view.partial) == "a€"


def test_an_unfinished_line_can_be_taken_as_it_is() -> None:
    view = LineView()
    view.feed(b"name? ")
    (line,) = view.flush()
    assert (shown(line), line.ended) == ("name? ", False)
    assert view.flush() == []
    assert view.partial == ()


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_long_line_is_shown_in_pieces_and_loses_nothing(end: bytes) -> None:
    text = "x" + "€" * 6000
    view = LineView()
    lines = view.feed(text.encode() + end) + view.flush()
    assert "".join(shown(line) for line in lines) == text
    assert all(len(shown(line).encode()) <= codec.MAX_PARTIAL for line in lines)
    assert [line.ended for line in lines] == [False] * (len(lines) - 1) + [end == b"\n"]


@given(st.lists(st.binary(max_size=40)))
def test_nothing_but_printable_characters_is_ever_shown(pieces: list[bytes]) -> None:
    view = LineView()
    for piece in pieces:
        for line in view.feed(piece):
            assert shown(line).isprintable()
        assert all(f.text.isprintable() for f in view.partial)
    terminal = TerminalFilter()
    out = b"".join(map(terminal.feed, pieces)) + terminal.finish()
    assert out.decode().replace("\n", "").replace("\t", "").isprintable()


@given(st.binary(max_size=60))
def test_the_terminal_filter_gives_the_same_however_its_bytes_arrive(data: bytes) -> None:
    whole, single = TerminalFilter(), TerminalFilter()
    expected = whole.feed(data) + whole.finish()
    assert (
        b"".join(single.feed(data[i : i + 1]) for i in range(len(data))) + single.finish()
        == expected
    )


def test_the_terminal_filter_lets_text_pass_and_stops_escape_sequences() -> None:
    terminal = TerminalFilter()
    data = f"grüße\ttab\r\n{ESC}]0;title\aend\r".encode()
    assert terminal.feed(data) == "grüße\ttab\n\\x1b]0;title\\x07end".encode()
    assert terminal.finish() == rb"\r"
