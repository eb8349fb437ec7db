"""The decoders give the same frames however the bytes were cut, and the encoders the same bytes."""

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcpd.framing import (
    MAX_SIZE,
    BadLength,
    Delimited,
    Fixed,
    FrameTooLong,
    FramingError,
    LengthPrefixed,
    Line,
    Raw,
    WrongSize,
)
from tcpd.framing.decoders import Decoder


def cuts(data: bytes) -> list[list[bytes]]:
    """Return `data` whole, byte by byte, and cut in two at every place."""
    single = [data[i : i + 1] for i in range(len(data))]
    return [[data], single, *([data[:i], data[i:]] for i in range(1, len(data)))]


def drain(decoder: Decoder, limit: int = 1024) -> list[bytes]:
    frames = decoder.receive(b"", limit)
    while decoder.more:
        frames += decoder.receive(b"", limit)
    return frames


def decode(decoder: Decoder, pieces: list[bytes], limit: int = 1024) -> list[bytes]:
    """Return all the frames of a stream that comes in pieces."""
    frames = []
    for piece in pieces:
        got = decoder.receive(piece, limit)
        assert len(got) <= limit
        frames += got
        while decoder.more:
            got = decoder.receive(b"", limit)
            assert len(got) <= limit
            frames += got
    return frames


# A framing, a stream, its frames, and what is left unfinished.
STREAMS = [
    (Line(), b"one\ntwo\r\n\n\r\nthree", [b"one", b"two", b"", b""], b"three"),
    (Line(), b"a\rb\r\r\nc\n", [b"a\rb\r", b"c"], b""),
    (Line(), b"end\r", [], b"end\r"),
    (Delimited(b"\r\n"), b"a\nb\r\rc\r\nd\r", [b"a\nb\r\rc"], b"d\r"),
    (Delimited(b"\0"), b"a\r\0\0b", [b"a\r", b""], b"b"),
    (Delimited(b"aab"), b"aaab1aab2aabaa", [b"a", b"1", b"2"], b"aa"),
    (LengthPrefixed(1), b"\x03abc\x00\x01d\x02e", [b"abc", b"", b"d"], b"\x02e"),
    (LengthPrefixed(2), b"\0\x03abc\0\0\0", [b"abc", b""], b"\0"),
    (LengthPrefixed(2, "little"), b"\x03\0abc\0\0\x05", [b"abc", b""], b"\x05"),
    (LengthPrefixed(4), b"\0\0\0\x02hi\0\0\0\x01", [b"hi"], b"\0\0\0\x01"),
    (LengthPrefixed(4, "little"), b"\x02\0\0\0hi", [b"hi"], b""),
    (LengthPrefixed(1, counts_itself=True), b"\x04abc\x01\x02d", [b"abc", b"", b"d"], b""),
    (LengthPrefixed(2, counts_itself=True), b"\0\x05abc\0\x02", [b"abc", b""], b""),
    (LengthPrefixed(4, "little", True), b"\x06\0\0\0hi\x04\0\0\0", [b"hi", b""], b""),
    (Fixed(3), b"abcdefg", [b"abc", b"def"], b"g"),
    (Fixed(4, b" "), b"a   b c     x", [b"a", b"b c", b""], b"x"),
]


@pytest.mark.parametrize(("framing", "stream", "frames", "rest"), STREAMS)
@pytest.mark.parametrize("limit", [1, 2, 1024])
def test_the_cut_of_the_bytes_makes_no_difference(framing, stream, frames, rest, limit):
    for pieces in cuts(stream):
        decoder = framing.decoder()
        assert decode(decoder, pieces, limit) == frames, pieces
        assert decoder.pending == rest
        assert decoder.error is None


@pytest.mark.parametrize(("framing", "stream", "frames", "rest"), STREAMS)
def test_frames_that_were_put_back_come_again_to_the_byte(framing, stream, frames, rest):
    for pieces in cuts(stream):
        for used in range(len(frames)):
            decoder = framing.decoder()
            before = b""
            got = []
            for piece in pieces:
                before += piece
                got += decoder.receive(piece)
                if len(got) > used:
                    break
                while decoder.more:
                    got += decoder.receive()
            decoder.put_back(got[used:])
            # What the frames that were used took is gone; everything else is there, CRs and all.
            redone = decode(framing.decoder(), [decoder.pending])
            assert redone == got[used:]
            assert before.endswith(decoder.pending)
            unread = stream[len(before) :]
            assert got[:used] + decode(decoder, [b"", unread]) == frames
            assert decoder.pending == rest


@pytest.mark.parametrize(("framing", "stream", "frames", "rest"), STREAMS)
def test_one_frame_at_a_time_as_of_a_protocol_that_pauses_after_each(framing, stream, frames, rest):
    decoder = framing.decoder()
    decoder.feed(stream)
    taken = []
    while got := decoder.receive():
        taken.append(got[0])
        decoder.put_back(got[1:])
    assert taken == frames
    assert decoder.pending == rest


REVERSIBLE = [
    Line(),
    Line(b"\r\n"),
    Delimited(b"||"),
    *(
        LengthPrefixed(size, order, itself)
        for size in (1, 2, 4)
        for order in ("big", "little")
        for itself in (False, True)
    ),
]


@given(
    framing=st.sampled_from(REVERSIBLE),
    payloads=st.lists(st.binary(max_size=20)),
    places=st.lists(st.integers(0, 400)),
    limit=st.integers(1, 5),
)
@example(framing=Line(b"\r\n"), payloads=[b"a"], places=[2], limit=1)
def test_what_is_encoded_comes_out_again(framing, payloads, places, limit):
    if not isinstance(framing, LengthPrefixed):  # which alone takes any bytes
        payloads = [p.translate(None, b"\r\n|") for p in payloads]
    stream = b"".join(map(framing.encode, payloads))
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert decode(framing.decoder(), pieces, limit) == payloads


@pytest.mark.parametrize(
    ("framing", "good", "bad", "frames"),
    [
        (Line(), b"12345678\r\n12345678\n", b"123456789\n", [b"12345678"] * 2),
        (Line(), b"a\n", b"123456789\r\nb\n", [b"a"]),
        (Line(), b"", b"1234567890", []),
        (Delimited(b"ab"), b"12345678ab", b"123456789ab", [b"12345678"]),
        (Delimited(b"ab"), b"12345678ab", b"1234567890", [b"12345678"]),
        (Delimited(b"\n"), b"\n", b"12345678\r\n", [b""]),
        (LengthPrefixed(2), b"\0\x0812345678", b"\0\x09", [b"12345678"]),
        (LengthPrefixed(2), b"", b"\xff\xff123", []),
        (
            LengthPrefixed(4, counts_itself=True),
            b"\0\0\0\x0c12345678",
            b"\0\0\0\x0d",
            [b"12345678"],
        ),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 1024])
def test_a_frame_that_is_too_long_is_an_error_after_those_ahead_of_it(
    framing, good, bad, frames, limit
):
    for pieces in cuts(good + bad):
        decoder = framing.decoder(8)
        assert decode(decoder, pieces, limit) == frames, pieces
        assert isinstance(decoder.error, FrameTooLong)
        assert decoder.error.limit == 8
        assert "longer than the 8 bytes" in str(decoder.error)
        assert decode(decoder, [b"x\n" * 100]) == []
        assert not decoder.more


@pytest.mark.parametrize("framing", [Line(), Delimited(b"ab")])
def test_a_frame_of_the_maximum_is_none_too_long_while_its_end_is_on_the_way(framing):
    end = framing.encode(b"") if isinstance(framing, Delimited) else b"\r\n"
    decoder = framing.decoder(8)
    for byte in b"12345678" + end[:-1]:
        assert decoder.receive(bytes([byte])) == []
        assert decoder.error is None
    assert decoder.receive(end[-1:]) == [b"12345678"]


def test_an_error_comes_back_with_the_frames_that_were_put_back():
    decoder = Line().decoder(4)
    frames = decoder.receive(b"a\nb\n123456\n")
    assert frames == [b"a", b"b"]
    assert decoder.error is not None
    decoder.put_back([b"b"])
    assert decoder.error is None
    assert drain(decoder) == [b"b"]
    assert decoder.error is not None


@pytest.mark.parametrize("length", range(4))
def test_a_length_that_counts_itself_and_is_less_is_an_error(length):
    for pieces in cuts(b"\0\0\0\x05a" + bytes([0, 0, 0, length])):
        decoder = LengthPrefixed(4, counts_itself=True).decoder()
        assert decode(decoder, pieces) == [b"a"]
        assert isinstance(decoder.error, BadLength)
        assert str(decoder.error) == f"a frame's length of {length} is less than its own field of 4"


def test_raw_frames_are_what_was_read_cut_at_the_maximum():
    decoder = Raw().decoder(4)
    assert decoder.receive(b"") == []
    assert decoder.receive(b"abc") == [b"abc"]
    assert decoder.receive(b"abcdefghi", 2) == [b"abcd", b"efgh"]
    assert decoder.more
    assert decoder.receive(b"j") == [b"ij"]
    assert not decoder.more
    decoder.receive(b"abcdefghi")
    decoder.put_back([b"efgh", b"i"])
    assert decoder.pending == b"efghi"
    assert decode(decoder, [b""]) == [b"efgh", b"i"]


@pytest.mark.parametrize("framing", [Line(), Raw(), LengthPrefixed(4), Delimited(b"ab")])
def test_a_maximum_holds_even_if_nobody_sets_one(framing):
    decoder = framing.decoder()
    assert decoder.max_size == MAX_SIZE == 65536
    assert all(len(frame) <= MAX_SIZE for frame in decode(decoder, [b"\xff" * 300_000]))


@pytest.mark.parametrize("framing", [Line(), Delimited(b"abcd")])
def test_a_stream_without_an_end_costs_one_frame_and_one_read(framing):
    decoder = framing.decoder(10_000)
    read = b"a" * 1000
    tracemalloc.start()
    for _ in range(1000):
        decoder.receive(read)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * (10_000 + 1000)


def test_a_read_isnt_kept_once_its_frames_are_done_with():
    decoder = Line().decoder()
    tracemalloc.start()
    decoder.receive(b"a" * 50_000 + b"\n")
    decoder.done()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 5_000


def test_the_work_for_a_long_frame_grows_with_its_bytes_not_with_their_square():
    # The search for its end begins where the last one stopped.
    decoder = Line().decoder(1 << 20)
    for _ in range(1000):
        decoder.receive(b"x" * 100)
        assert decoder._scanned in (0, len(decoder.pending))
    assert decoder._scanned == 100_000
    assert decoder.receive(b"\n") == [b"x" * 100_000]


def test_the_rest_of_a_large_read_is_decoded_in_small_windows():
    decoder = Line().decoder()
    decoder.receive(b"a\n" * 1_000_000)
    while decoder.more:
        decoder.receive()
        assert len(decoder._window) <= 1024 * 64
    decoder.receive(b"a\n" * 10_000)
    decoder.put_back([b"a"] * 1024)
    assert decoder.receive() == [b"a"]
    assert len(decoder._window) <= 64


@pytest.mark.parametrize("framing", [Line(), LengthPrefixed(2), Fixed(1000, b" ")])
@pytest.mark.parametrize("limit", [1, 7, 1024])
def test_frames_that_are_longer_than_a_window_come_all(framing, limit):
    payloads = [b"%d" % n * 100 for n in range(3000)]
    decoder = framing.decoder()
    decoder.feed(b"".join(map(framing.encode, payloads)))
    assert drain(decoder, limit) == payloads


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        (Raw(), b"hi"),
        (Line(), b"hi\n"),
        (Line(b"\r\n"), b"hi\r\n"),
        (Delimited(b";;"), b"hi;;"),
        (LengthPrefixed(1), b"\x02hi"),
        (LengthPrefixed(2), b"\0\x02hi"),
        (LengthPrefixed(2, "little"), b"\x02\0hi"),
        (LengthPrefixed(4, "big", True), b"\0\0\0\x06hi"),
        (Fixed(2), b"hi"),
        (Fixed(4, b"."), b"hi.."),
    ],
)
def test_a_payload_is_framed(framing, wire):
    assert framing.encode(b"hi") == wire


@pytest.mark.parametrize(
    ("framing", "payload", "error"),
    [
        (LengthPrefixed(1), b"x" * 256, FrameTooLong),
        (LengthPrefixed(1, counts_itself=True), b"x" * 255, FrameTooLong),
        (LengthPrefixed(2), b"x" * 65536, FrameTooLong),
        (Fixed(3), b"ab", WrongSize),
        (Fixed(3), b"abcd", WrongSize),
        (Fixed(3, b" "), b"abcd", WrongSize),
    ],
)
def test_a_payload_that_a_framing_cant_express_is_refused(framing, payload, error):
    with pytest.raises(error) as caught:
        framing.encode(payload)
    assert isinstance(caught.value, FramingError)
    framing.encode(payload[:3].ljust(3, b"x"))


def test_framings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="one byte at least"):
        Delimited(b"")
    with pytest.raises(ValueError, match="one byte at least"):
        Fixed(0)
    with pytest.raises(ValueError, match="one byte"):
        Fixed(4, b"ab")
