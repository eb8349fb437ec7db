from tcpd_keyvalue.handler import KeyValue

from tcpd.testing import Closes, Expect, Finish, Send, Wait, check_handler, connect, make_handler


def test_a_conversation_however_it_is_cut():
    check_handler(
        KeyValue,
        Send(b"SET a hello world\nGET"),
        Expect(b"OK\n"),
        Send(b" a\nDEL a\n"),
        Expect(b"VALUE hello world\nOK\n"),
        Send(b"GET a\n"),
        Finish(),
        Expect(b"NONE\n"),
        Closes(),
    )


def test_who_says_nothing_is_let_go():
    check_handler(
        KeyValue,
        Wait(4),
        Send(b"COUNT\n"),
        Wait(4),
        Expect(b"COUNT 0\n"),
        Wait(1),
        Expect(b"ERROR you said nothing for too long\n"),
        Closes(),
        patience="5s",
    )


def test_a_line_without_end_is_refused():
    peer = connect(KeyValue, longest_line="1KiB")
    peer.send(b"x" * 1025)
    assert peer.take() == b"ERROR line too long\n"
    assert peer.closed == "handler-closed"


def test_clients_share_the_store_and_changes_are_reported():
    factory = make_handler(KeyValue)
    one, other = connect(factory), connect(factory)
    one.send(b"SET a 1\n")
    other.send(b"GET a\n")
    assert other.take() == b"VALUE 1\n"
    assert one.events == [("keyvalue.changed", {"keys": 1})]
    assert other.events == []
