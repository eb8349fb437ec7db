"""Any input to any parser: a result or the error that is promised, and nothing kept without bound.

The PROXY header has tests of its own. See `helpers.properties` for how to have more tried.
"""

import re
import tomllib
import unicodedata
from pathlib import Path

import pytest
from helpers.properties import examples
from hypothesis import example, given
from hypothesis import strategies as st

from tcpd.client.codec import HexDump, InputError, LineEncoder, LineView, TerminalFilter, Typed
from tcpd.client.target import UsageError, parse_target
from tcpd.config.load import build_config
from tcpd.config.schema import Config
from tcpd.endpoint import ClientEndpoint, ServerEndpoint
from tcpd.errors import ConfigErrors, HandlerError, TcpdError
from tcpd.escape import escape_bytes, escape_text, one_line
from tcpd.framing import Delimited, Fixed, LengthPrefixed, Line, Raw
from tcpd.handlers.reply_rules.matching import Match, matcher_of
from tcpd.handlers.reply_rules.template import (
    Context,
    Facts,
    TemplateError,
    fields_with,
    hex_template,
    text_template,
)
from tcpd.registry import build_handler, find
from tcpd.sd_listen import InheritedSockets
from tcpd.toml_file import TomlFile
from tcpd.units import parse_duration, parse_rate, parse_size

# Texts with surrogates, too: they stand for bytes that are no UTF-8 (PEP 383).
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=60)


def bits_of(*bits, most=12):
    """Texts that are nearly right, made of what stands in right ones."""
    return st.lists(st.one_of(st.sampled_from(bits), st.text(max_size=2)), max_size=most).map(
        "".join
    )


def in_pieces(data, cuts):
    """The data, cut at these places."""
    places = sorted({min(cut, len(data)) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 400), max_size=8)

# -- framing ---------------------------------------------------------------------------------

MOST = 16
FRAMINGS = [
    Line(),
    Delimited(b";"),
    Delimited(b"\r\n.\r\n"),
    Delimited(b"aab"),
    LengthPrefixed(1),
    LengthPrefixed(2, "little"),
    LengthPrefixed(4),
    LengthPrefixed(2, counts_itself=True),
    Fixed(5),
    Fixed(5, pad=b" "),
]
STREAMS = st.one_of(
    st.binary(max_size=400),
    st.lists(
        st.sampled_from(
            [b"\n", b"\r", b";", b"\r\n.\r\n", b"aab", b"a", b"b", b"\0", b"\5", b"\0\5", b"x" * 7]
        ),
        max_size=60,
    ).map(b"".join),
)


def decode(framing, pieces, limit):
    """All that comes out, what is wrong, and the most that was ever kept beside a read."""
    decoder = framing.decoder(MOST)
    frames = []
    most = 0
    for piece in pieces:
        came = decoder.receive(piece, limit)
        assert len(came) <= limit
        frames += came
        empty = 0
        while decoder.more:
            came = decoder.receive(b"", limit)
            frames += came
            empty = 0 if came else empty + 1
            assert empty < 2 or not decoder.more, "more is said to come, and never does"
        if decoder.error is None:  # after that nobody goes on
            most = max(most, len(decoder.pending) - len(piece))
    return frames, str(decoder.error or ""), most


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
def test_any_stream_gives_the_same_frames_however_it_is_cut(framing):
    @examples(400)
    @given(stream=STREAMS, cuts=CUTS, limit=st.integers(1, 5))
    def any_stream(stream, cuts, limit):
        whole = decode(framing, [stream], 1024)
        assert decode(framing, [stream], limit)[:2] == whole[:2]
        assert all(len(frame) <= MOST for frame in whole[0])
        for pieces in (in_pieces(stream, cuts), [stream[i : i + 1] for i in range(len(stream))]):
            frames, error, most = decode(framing, pieces, limit)
            assert (frames, error) == whole[:2]
            assert most <= MOST + 8  # a frame that isn't complete, and what frames it

    any_stream()


@examples(400)
@given(stream=STREAMS, cuts=CUTS)
def test_raw_gives_back_every_byte_and_keeps_none(stream, cuts):
    frames, error, most = decode(Raw(), in_pieces(stream, cuts), 1024)
    assert (b"".join(frames), error) == (stream, "")
    assert most <= 0


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
def test_what_is_put_back_comes_out_again(framing):
    @examples(240)
    @given(stream=STREAMS, keep=st.integers(0, 10))
    def any_stream(stream, keep):
        decoder = framing.decoder(MOST)
        first = decoder.receive(stream)
        decoder.put_back(first[keep:])
        again = list(first[:keep])
        while True:
            came = decoder.receive()
            again += came
            if not came and not decoder.more:
                break
        assert again == first

    any_stream()


# -- what is shown ---------------------------------------------------------------------------


def assert_tame(text, *, allowed=""):
    """Nothing in it steers a terminal, or ends a line."""
    for character in text:
        assert character in allowed or unicodedata.category(character) not in (
            *("Cc", "Cf", "Cs", "Zl", "Zp"),
        ), f"{character!r} in {text!r}"


@examples(800)
@given(text=ANY_TEXT, data=st.binary(max_size=200), limit=st.none() | st.integers(0, 20))
def test_what_is_escaped_is_tame_and_bounded(text, data, limit):
    for shown in (escape_text(text, limit), escape_bytes(data, limit), one_line(text)):
        assert_tame(shown)
        shown.encode()
    if limit is not None:
        assert len(escape_text(text, limit)) <= 10 * limit + 30
        assert len(escape_bytes(data, limit)) <= 10 * limit + 30


@examples(400)
@given(
    stream=st.one_of(st.binary(max_size=300), ANY_TEXT.map(lambda t: t.encode("utf-8", "replace"))),
    cuts=CUTS,
    crlf=st.booleans(),
)
def test_whatever_a_peer_says_a_terminal_is_shown_tame_text(stream, cuts, crlf):
    pieces = in_pieces(stream, cuts)
    shown = []
    for cut in ([stream], pieces):
        view, dump, terminal = LineView(crlf=crlf), HexDump(), TerminalFilter()
        lines, rows, passed = [], [], b""
        for piece in cut:
            lines += view.feed(piece)
            rows += dump.feed(piece)
            passed += terminal.feed(piece)
            assert_tame("".join(fragment.text for fragment in view.partial))
        lines += view.flush()
        rows += dump.flush()
        passed += terminal.finish()
        shown.append((lines, rows, passed))
    assert shown[0] == shown[1]
    lines, rows, passed = shown[0]
    for line in lines:
        assert_tame("".join(fragment.text for fragment in line.fragments))
    assert all(re.fullmatch(r"[\x20-\x7e]+", row) for row in rows)
    assert_tame(passed.decode(), allowed="\n\t")


@examples(800)
@given(
    text=st.one_of(
        st.binary(max_size=100),
        bits_of("\\", "\\x4", "1", "\\u00e", "\\U0010ffff", "n", "\n", "0x", "ff", ",", " ").map(
            lambda text: text.encode("utf-8", "surrogatepass")
        ),
    ),
    cuts=CUTS,
    hexadecimal=st.booleans(),
    escape=st.booleans(),
)
def test_what_is_typed_is_sent_or_refused_however_it_comes(text, cuts, hexadecimal, escape):
    outcomes = []
    for cut in ([text], in_pieces(text, cuts)):
        encoder = LineEncoder(Typed(hex=hexadecimal, escape=escape))
        sent = b""
        try:
            for piece in cut:
                sent += encoder.feed(piece)
            sent += encoder.finish()
        except InputError as error:
            assert_tame(str(error))
            sent = str(error)  # of the lines ahead of it some may have been sent
        outcomes.append(sent)
    assert outcomes[0] == outcomes[1]
    if not hexadecimal and not escape:
        assert outcomes[0] == text.replace(b"\r\n", b"\n").removesuffix(b"\r")


# -- what is configured ----------------------------------------------------------------------


def problem_of(parse, text, *promised):
    """What a parser says against a text; it may raise only what is promised."""
    try:
        parse(text)
    except promised as error:
        return said_by(error)
    return ""


def said_by(error):
    """An error's text; it must have one."""
    said = str(error)
    assert said
    return said


@examples(1200)
@given(
    text=ANY_TEXT
    | bits_of(
        "1", "0", "9" * 15, ".", "5", "s", "m", "h", "ms", "us", "d", "w", "/", " ", "KiB", "M"
    )
)
@example("9" * 15 + "w" + "9" * 15 + "d")
def test_units(text):
    for parse in (parse_duration, parse_size, parse_rate):
        problem = problem_of(parse, text, ValueError)
        assert_tame(problem)
        if not problem:
            assert 0 <= parse(text) < 1e28


ENDPOINT_BITS = bits_of(
    *("tcp", "tcp6", "unix", "ssl", "tls", "systemd", "host", "127.0.0.1", "\\:\\:1", "\\", ":"),
    *("=", "80", "-1", "interface", "mode", "666", "backlog", "/run/x", "domain", "INET"),
    *("index", "0", "name", "privateKey", "certKey", "[::1]", "/", "?", "timeout"),
)


@examples(1200)
@given(text=ANY_TEXT | ENDPOINT_BITS)
def test_endpoints(text):
    for kind in (ServerEndpoint, ClientEndpoint):
        if not (problem := problem_of(kind.parse, text, ValueError)):
            endpoint = kind.parse(text)
            assert kind.parse(endpoint.text) == endpoint
            assert_tame(endpoint.address)
            assert endpoint.port is None or 0 <= endpoint.port <= 65535
        assert_tame(problem)
    assert_tame(problem_of(parse_target, [text], UsageError))
    assert_tame(problem_of(parse_target, text.split(" "), UsageError))


TOML_BITS = bits_of(
    *("[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\r\n", "#", '"', '"""', "'", "\\"),
    *("a", "b", "1", "true", "inf", "1979-05-27", " ", "listeners", "listen", "handler", "log"),
    *('"tcp:0"', '"echo"', "options", "tls"),
    most=30,
)


RIGHT = """
[listeners.a]
listen = "tcp:0:interface=127.0.0.1"
handler = "echo"
[listeners.a.limits]
sessions = 10
rate = "5/s"
burst = 3
at_limit = "wait"
[listeners.a.access]
allow = ["10.0.0.0/8", "::1"]
[listeners.a.deadlines]
idle = "10m"
lifetime = "off"
[listeners.a.proxy]
trusted = ["127.0.0.1", "unix"]
[listeners.b]
listen = ["tcp:1", "tcp6:2"]
handler = "reply"
[listeners.b.options]
greeting = "hi {{peer.host}}"
framing = { delimiter = ";" }
max_size = "1KiB"
rules = [{ match = { regex = "a(b)" }, reply = "{{1}}" }]
[connectors.c]
connect = "tcp:localhost:7"
handler = "echo"
[log]
level = "info"
[stop]
drain = "30s"
""".strip().splitlines()
VALUES = ["1", "-1", "true", "inf", "nan", "[]", "{}", "''", '"off"', '"\\u001b[31m"', "1979-05-27"]
VALUES += ["[[1]]", "{ a = 1 }", '"echo"', '"reply"', '"tcp:1"', '"9w"', "9" * 30, '["::/0"]']


@st.composite
def changed_configurations(draw):
    """A configuration, with some changes."""
    lines = list(RIGHT)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        key, equals, value = lines[place].partition(" = ")
        change = draw(st.sampled_from(["value", "value", "key", "take", "repeat", "text"]))
        if change == "value" and equals:
            lines[place] = f"{key} = {draw(st.sampled_from(VALUES) | TOML_BITS)}"
        elif change == "key" and equals:
            lines[place] = f"{draw(st.sampled_from(KEYS))} = {value}"
        elif change == "take":
            del lines[place]
        elif change == "repeat":
            lines.insert(place, draw(st.sampled_from(lines)))
        elif change == "text":
            start, end = sorted(draw(st.integers(0, len(lines[place]))) for _ in range(2))
            lines[place] = lines[place][:start] + draw(TOML_BITS) + lines[place][end:]
    return "\n".join(lines)


KEYS = [line.partition(" = ")[0] for line in RIGHT if " = " in line]


def any_configuration(text):
    """Hold a text against what is promised of every configuration; gives it, if it is one."""
    try:
        file = TomlFile.parse(text, "any.toml")
    except ConfigErrors as error:
        assert_tame(str(error), allowed="\n")
        with pytest.raises((ValueError, RecursionError)):
            tomllib.loads(text)
        return None
    for path, line in file._lines.walk():
        assert 1 <= line <= text.count("\n") + 1, path
    try:
        config = build_config(file.table, file, build_handler)
    except ConfigErrors as error:
        assert_tame(said_by(error), allowed="\n")
        return None
    assert isinstance(config, Config)
    return config


@examples(600)
@given(text=ANY_TEXT | TOML_BITS)
@example("[" * 5000)
@example("a = " + "[" * 5000)
def test_any_text_is_a_configuration_or_has_errors(text):
    any_configuration(text)


def test_the_configuration_that_is_changed_is_right():
    assert any_configuration("\n".join(RIGHT)) is not None


@examples(240)
@given(text=changed_configurations())
def test_a_configuration_with_mistakes_has_errors(text):
    any_configuration(text)


SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates(), st.times()
)
TABLES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
SECTIONS = ["log", "stop", "sinks"]
NAMES = st.sampled_from(
    [
        "level",
        "drain",
        "listen",
        "handler",
        "options",
        "tls",
        "limits",
        "access",
        "deadlines",
        "proxy",
        "connect",
    ]
)


def some_of(**right):
    """Listeners or connectors, with what is right and other things."""
    keys = {key: st.just(value) | st.just(value) | TABLES for key, value in right.items()}
    others = dict.fromkeys(("options", "tls", "limits", "access", "deadlines", "x"), TABLES)
    one = st.fixed_dictionaries(keys, optional=others)
    return st.dictionaries(st.sampled_from(["a", "b"]), st.fixed_dictionaries(keys) | one | TABLES)


@examples(400)
@given(
    table=st.fixed_dictionaries(
        {},
        optional={
            "listeners": some_of(listen="tcp:0", handler="echo"),
            "connectors": some_of(connect="tcp:a:1", handler="echo"),
            **{name: st.dictionaries(NAMES, TABLES, max_size=2) | TABLES for name in SECTIONS},
        },
    )
)
def test_any_table_is_a_configuration_or_has_errors(table):
    try:
        build_config(table, TomlFile.parse("", "any.toml"), build_handler)
    except ConfigErrors as error:
        assert_tame(str(error), allowed="\n")


@examples(400)
@given(name=ANY_TEXT | bits_of("echo", ":", "tcpd", ".", "Echo", "x.py", "/", "..", " ", "no_such"))
def test_handler_names(name, tmp_path_factory):
    assert_tame(problem_of(lambda text: find(text, Path("/nowhere")), name, HandlerError))


@examples(300)
@given(
    count=ANY_TEXT | st.integers(-5, 300).map(str) | st.sampled_from(["9" * 30, "9" * 5000, "²"]),
    names=st.none() | ANY_TEXT | bits_of("a", ":", "b"),
    index=st.none() | st.integers(-3, 20),
    name=st.none() | st.sampled_from(["a", "b", ""]),
)
def test_inherited_sockets(count, names, index, name):
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": count}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    sockets = InheritedSockets.from_environment(environ, 7)
    assert len(sockets.names) <= 10_000
    with pytest.raises(TcpdError) as caught:  # at 200, no descriptor is a socket of ours
        sockets.find("INET", name=name, index=None if index is None else index + 200)
    assert_tame(str(caught.value))


# -- rules for replies -----------------------------------------------------------------------

CONTEXT = Context(facts=Facts(), clock=lambda: 0.0, input=b"{{input}}", captures=(b"{{", b"}}"))
FIELDS = fields_with({"0": 0, "1": 1})


@examples(1200)
@given(
    text=ANY_TEXT
    | bits_of("{{", "}}", "{", "}", "input", "time", "|", "hex", "u16", " ", "0", "1", "ff", "peer")
)
def test_templates(text):
    for make in (text_template, hex_template):
        try:
            template = make(text, FIELDS)
        except (TemplateError, UnicodeEncodeError) as error:
            said_by(error)
            continue
        said = template.render(CONTEXT)
        assert len(said) <= 4 * len(text) + 40 * len(template.parts)
        assert template.constant in (None, said)


@examples(800)
@given(
    pattern=st.text(max_size=20)
    | bits_of(
        "(", ")", "a", "+", "*", ".", "[", "]", "\\", "{1000}", "?P<n>", "|", "^", "$", "\\C"
    ),
    binary=st.booleans(),
    ignore_case=st.booleans(),
    inputs=st.lists(st.binary(max_size=100), min_size=1, max_size=3),
)
@example(pattern="(a+)+$", binary=False, ignore_case=False, inputs=[b"a" * 5000 + b"b"])
def test_regular_expressions(pattern, binary, ignore_case, inputs):
    try:
        match = Match(regex=pattern, binary=binary, ignore_case=ignore_case)
    except (ValueError, ExceptionGroup) as error:
        said_by(error)
        return
    names = match.captures()
    for data in inputs:
        captures = matcher_of(match)(data)
        assert captures is None or len(captures) == max(names.values()) + 1
        for part in captures or ():
            assert part in data


@examples(400)
@given(
    wanted=st.text(min_size=1, max_size=5),
    ignore_case=st.booleans(),
    data=st.binary(max_size=50),
    around=st.binary(max_size=5),
)
def test_matches(wanted, ignore_case, data, around):
    content = wanted.encode()
    for field, right in (
        ("equals", content),
        ("starts_with", content + around),
        ("ends_with", around + content),
        ("contains", around + content + around),
    ):
        matches = matcher_of(Match(**{field: content}, ignore_case=ignore_case))
        if not ignore_case or around.isascii():
            assert matches(right) == ()
        assert matches(data) in ((), None)
