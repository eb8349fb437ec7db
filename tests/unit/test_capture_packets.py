"""What a capture makes of a session: packets of TCP/IP in pcapng."""

from ipaddress import ip_address

import pytest
from helpers.packets import ACK, FIN, PSH, RST, SYN, checksum, conversations, read
from hypothesis import given
from hypothesis import strategies as st

from tcpd.capture import pcapng
from tcpd.capture.frames import SEGMENT, Address, Connection
from tcpd.capture.packets import SYNTHETIC, Packets, PacketTrack
from tcpd.capture.track import Lost, Subject
from tcpd.events import Identity

PEER, LOCAL = ("192.0.2.7", 50_000), ("198.51.100.1", 80)
PEER6, LOCAL6 = ("2001:db8::7", 50_000), ("2001:db8::1", 80)
AT = 1_790_000_000_123_456_789


def address(end: tuple[str, int]) -> Address:
    return Address(ip_address(end[0]).packed, end[1])


def track(peer=PEER, local=LOCAL, number=7, role="listener", **more) -> PacketTrack:
    who = Identity("ab12cd34-7", "web", "echo", *peer, f"{local[0]}:{local[1]}", role)
    subject = Subject(
        who=who, peer=address(peer), local=address(local), number=number, encrypted=False, **more
    )
    return Packets().track(subject)


def parsed(data: bytes):
    return read(Packets().header("web") + data)


def one(data: bytes):
    (conversation,) = conversations(parsed(data).packets)
    return conversation


CHUNKS = st.lists(
    st.tuples(
        st.sampled_from(["in", "out"]),
        st.binary(min_size=1, max_size=40) | st.integers(1, 3 * SEGMENT).map(bytes),
    ),
    max_size=12,
)


@given(CHUNKS, st.sampled_from([(PEER, LOCAL), (PEER6, LOCAL6)]), st.integers(0, 1 << 40))
def test_any_bytes_come_back_as_they_were(chunks, ends, number) -> None:
    writer = track(*ends, number=number)
    data = writer.begin(AT, None)
    for n, (side, chunk) in enumerate(chunks):
        data += writer.data(AT + n, side, chunk, None)
    data += writer.close(AT + 20, "in", "peer-closed", None)
    conversation = one(data)
    for side, end in (("in", ends[0]), ("out", ends[1])):
        assert conversation.sent[end] == b"".join(c for s, c in chunks if s == side)
    assert conversation.began == ends[0]
    assert conversation.finished == list(ends)


@given(CHUNKS)
def test_a_sequence_number_goes_round(chunks) -> None:
    ends = address(PEER), address(LOCAL)
    connection = Connection(*ends, peer_began=True, number=1)
    connection.peer.seq, connection.local.seq = 0xFFFF_FFF0, 0xFFFF_0000
    packets = connection.handshake()
    for side, chunk in chunks:
        packets += connection.data(chunk, from_peer=side == "in")
    conversation = one(b"".join(pcapng.packet(AT, each, 1) for _, each in packets))
    for side, end in (("in", PEER), ("out", LOCAL)):
        assert conversation.sent[end] == b"".join(c for s, c in chunks if s == side)


def test_a_connection_begins_with_a_handshake_of_who_connects() -> None:
    flags = [SYN, SYN | ACK, ACK]
    packets = parsed(track().begin(AT, None)).packets
    assert [each.flags for each in packets] == flags
    assert [each.sender for each in packets] == [PEER, LOCAL, PEER]
    assert [each.inbound for each in packets] == [True, False, True]
    packets = parsed(track(role="connector").begin(AT, None)).packets
    assert [each.flags for each in packets] == flags
    assert [each.sender for each in packets] == [LOCAL, PEER, LOCAL]


@pytest.mark.parametrize("sizes", [(65_535,), (65_160, 375), (400, 65_150), (100_000,)])
def test_nobody_fills_the_window_of_a_syn(sizes) -> None:
    """It isn't scaled, so it is 65,535 bytes; readers warn of who sends as many."""
    ends = address(PEER), address(LOCAL)
    connection = Connection(*ends, peer_began=True, number=1)
    connection.handshake()
    senders = [who for size in sizes for who, _ in connection.data(bytes(size), from_peer=True)]
    assert senders == [True, False, True]  # in between, the other acknowledges with its window
    assert connection.peer.unacknowledged < 65_535


def test_times_are_those_of_the_wall_clock_in_nanoseconds() -> None:
    writer = track()
    writer.begin(AT, None)
    (packet,) = parsed(writer.data(AT + 1, "in", b"x", None)).packets
    assert packet.at == AT + 1


def test_the_file_says_that_its_packets_are_synthetic() -> None:
    file = parsed(b"")
    assert file.sections[0][1].decode() == file.interfaces[0][1].decode() == SYNTHETIC
    assert "synthetic" in SYNTHETIC
    assert "TLS" in SYNTHETIC


def test_the_first_packet_says_whose_session_it_is() -> None:
    file = parsed(track().begin(AT, None))
    assert [each.comment for each in file.packets] == [
        "session ab12cd34-7, listener web", "", "",
    ]  # fmt: skip
    unix = parsed(track(placeholders=True).begin(AT, None)).packets[0]
    assert "UNIX socket" in unix.comment


@pytest.mark.parametrize(("first", "order"), [("in", [PEER, LOCAL]), ("out", [LOCAL, PEER])])
def test_who_closes_first_says_so_first(first, order) -> None:
    writer = track()
    conversation = one(writer.begin(AT, None) + writer.close(AT, first, "peer-closed", None))
    assert conversation.finished == order
    last = conversation.packets[-4:]
    assert [each.flags for each in last] == [FIN | ACK, ACK, FIN | ACK, ACK]
    assert last[0].comment == "closed: peer-closed"


def test_a_side_that_finishes_early_finishes_once() -> None:
    writer = track()
    data = writer.begin(AT, None) + writer.data(AT, "in", b"question", None)
    data += writer.finish(AT, "in", None) + writer.finish(AT, "in", None)
    data += writer.data(AT, "out", b"answer", None)
    conversation = one(data + writer.close(AT, "in", "peer-closed", None))
    assert conversation.finished == [PEER, LOCAL]
    assert conversation.sent == {PEER: b"question", LOCAL: b"answer"}
    fin = next(n for n, each in enumerate(conversation.packets) if each.flags & FIN)
    answer = next(n for n, each in enumerate(conversation.packets) if each.data == b"answer")
    assert fin < answer


@pytest.mark.parametrize(("by", "end"), [("in", PEER), ("out", LOCAL)])
def test_a_reset_ends_it_at_once(by, end) -> None:
    writer = track()
    conversation = one(writer.begin(AT, None) + writer.reset(AT, by, "peer-reset", None))
    assert conversation.reset == end
    assert conversation.packets[-1].flags & RST


def test_no_packet_is_larger_than_ip_allows() -> None:
    for ends in ((PEER, LOCAL), (PEER6, LOCAL6)):
        writer = track(*ends)
        writer.begin(AT, None)
        packets = parsed(writer.data(AT, "in", bytes(1_000_000), None)).packets
        assert max(len(each.data) for each in packets) == SEGMENT
        data = [each for each in packets if each.data]
        assert [bool(each.flags & PSH) for each in data] == [False] * (len(data) - 1) + [True]


def test_who_only_listens_acknowledges_now_and_then() -> None:
    writer = track()
    data = writer.begin(AT, None)
    for _ in range(100):
        data += writer.data(AT, "in", bytes(SEGMENT), None)
    unanswered = most = 0
    for packet in one(data).packets:
        unanswered = 0 if packet.sender == LOCAL else unanswered + len(packet.data)
        most = max(most, unanswered)
    assert SEGMENT < most <= 262_144 + SEGMENT


def test_what_is_lost_leaves_a_gap_and_is_told() -> None:
    writer = track()
    start = writer.begin(AT, None)
    writer.skip("in", 1000)
    data = writer.data(AT, "in", b"after", Lost(pieces=2, size=1000))
    packets = parsed(start + data).packets
    assert packets[-1].seq == packets[2].seq + 1000
    assert packets[-1].comment == "tcpd has lost 2 pieces with 1000 bytes before this"
    assert parsed(Packets().trailer(AT, Lost(pieces=3, size=9))).dropped == 3


def test_a_capture_amid_a_session_says_where_it_begins() -> None:
    writer = track()
    data = writer.amid(AT, 100, 200, None) + writer.data(AT, "in", b"on", None)
    conversation = one(data + writer.stop(AT, "the capture was stopped", None))
    assert not any(each.flags & SYN for each in conversation.packets)
    assert conversation.sent[PEER] == b"on"
    assert "after 100 bytes in and 200 bytes out" in conversation.packets[0].comment
    assert conversation.packets[-1].comment == "the capture was stopped"


@pytest.mark.parametrize(("role", "first"), [("listener", PEER), ("connector", LOCAL)])
def test_the_first_packet_of_a_capture_amid_a_session_is_of_who_connected(role, first) -> None:
    (packet,) = parsed(track(role=role).amid(AT, 5 * 2**32, 6 * 2**32, None)).packets
    assert packet.source == first[0]


@pytest.mark.parametrize("size", [1, 5 * 2**32 - 7])
def test_what_comes_after_gigabytes_follows_on(size) -> None:
    writer = track()
    data = writer.amid(AT, size, 2 * size, None)
    data += writer.data(AT, "in", bytes(100_000), None)
    data += writer.close(AT, "in", "peer-closed", None)
    assert parsed(data).packets[0].seq == (track()._connection.peer.seq + 1 + size) % 2**32
    assert one(data).sent[PEER] == bytes(100_000)


def test_sessions_between_the_same_ends_begin_elsewhere() -> None:
    begins = {parsed(track(number=n).begin(AT, None)).packets[0].seq for n in range(500)}
    assert len(begins) == 500


def test_ipv4_beside_ipv6_is_written_as_ipv6_has_it() -> None:
    (packet, *_) = parsed(track(PEER6, LOCAL).begin(AT, None)).packets
    assert packet.sender == PEER6
    assert ip_address(packet.target).ipv4_mapped == ip_address(LOCAL[0])


def test_the_readers_checksum_is_that_of_the_rfc() -> None:
    # RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 make ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) ^ 0xFFFF == 0xDDF2
