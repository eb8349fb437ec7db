import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
    write_duration,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("20us", 0.00002),
        ("1.5h", 5400.0),
        ("1d", 86400.0),
        ("1w", 604800.0),
        ("1w2d3h4m5s6ms7us", 604800 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5.006007),
        ("0.1s", 0.1),
        ("1.000000001s", 1.000000001),
        ("999999999999999s", 999999999999999.0),
    ],
)
def test_a_duration_is_a_number_of_each_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "30",
        "s",
        "30 s",
        " 30s",
        "30s ",
        "30s\n",
        "-1s",
        "+1s",
        ".5s",
        "1.s",
        "1e3s",
        "1_0s",
        "5min",
        "5 minutes",
        "5M",
        "1m1h",
        "1s1s",
        "infs",
        "٣s",
        "1" * 16 + "s",
        "1,5s",
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="isn't a duration; write one as '30s', '5m', '1h30m' or"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("512 B", 512),
        ("64KiB", 65536),
        ("64 K", 65536),
        ("10MB", 10_000_000),
        ("10M", 10 * 2**20),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1.5GiB", 3 * 2**29),
        ("2G", 2**31),
        ("1GB", 10**9),
        ("1TiB", 2**40),
        ("0.5KiB", 512),
        ("0.001kB", 1),
        ("999999999999999", 999999999999999),
    ],
)
def test_a_size_counts_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


@pytest.mark.parametrize(
    "text",
    ["", "K", "-1", "1kb", "1 KiB ", "1  K", "10 mega", "1e3", "0x10", "1_000", "٣", "1KiB\n"],
)
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"isn't a size; write one as '512', '64KiB' or '10MB'$"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0.5", "1.0001K", "0.0001kB"])
def test_a_part_of_a_byte_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a whole number of bytes$"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50/s", 50.0),
        ("0/s", 0.0),
        ("0.5/s", 0.5),
        ("30/m", 0.5),
        ("30/min", 0.5),
        ("1800/h", 0.5),
        ("43200/d", 0.5),
        ("50 / s", 50.0),
    ],
)
def test_a_rate_is_so_many_a_second(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "50", "/s", "50/", "50/x", "50/S", "-1/s", "50 per s", "1/s\n"]
)
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"isn't a rate; write one as '50/s', '10/m' or '1000/h'$"):
        parse_rate(text)


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_rate])
def test_a_complaint_is_one_printable_line_of_bounded_length(parse) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="isn't a ") as caught:
        parse("\x1b[31m\n" + "x" * 10_000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@given(st.integers(0, 10**11))
def test_what_is_written_exactly_is_read_as_the_same(number: int) -> None:
    assert parse_size(write_size(number)) == number
    assert parse_duration(write_duration(number / 1000)) == number / 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (172800, "2d"), (86401, "1d1s"), (0.5, "500ms"), (1.25, "1s250ms"), (6e-6, "6us")],
)
def test_a_duration_is_written_exactly(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1000, "1000B"), (1024, "1KiB"), (2**30, "1GiB")]
)
def test_a_size_is_written_exactly(size: int, text: str) -> None:
    assert write_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1e-12, "0s"),
        (5e-7, "0.500us"),
        (1e-6, "0.001ms"),
        (0.0004, "0.4ms"),
        (0.0999, "99.9ms"),
        (0.1, "0.1s"),
        (1.25, "1.25s"),
        (59.94, "59.9s"),
        (59.95, "1m"),
        (60, "1m"),
        (303, "5m3s"),
        (3599.4, "59m59s"),
        (3599.7, "1h"),
        (5400, "1h30m"),
        (5459, "1h30m"),
        (93600, "1d2h"),
        (864000, "10d"),
    ],
)
def test_a_duration_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**20, "1.0 MiB"),
        (2**30, "1.0 GiB"),
        (2**40 - 1, "1.0 TiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_a_size_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.floats(0, 1e9))
def test_a_duration_for_people_reads_back_as_nearly_the_same(seconds: float) -> None:
    # At worst "23h59m" drops just under a minute, of a day; and three figures half of the last.
    again = parse_duration(format_duration(seconds))
    assert again == pytest.approx(seconds, rel=0.05, abs=1e-9)


@given(st.integers(0, 2**50))
def test_a_size_for_people_reads_back_as_nearly_the_same(size: int) -> None:
    shown = format_size(size)
    number, unit = shown.split()
    scale = {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}[unit]
    assert float(number) * 1024**scale == pytest.approx(size, rel=0.051)
