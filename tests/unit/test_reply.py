"""The handler `reply` in memory: what it says, when, and how it ends."""

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from tcpd.handlers.reply import Reply
from tcpd.handlers.reply_rules.model import Rule
from tcpd.interfaces import ISessionFactory
from tcpd.testing import (
    Closes,
    Expect,
    Finish,
    Peer,
    Send,
    Wait,
    check_handler,
    connect,
    make_handler,
)


@pytest.fixture
def caught_logs():
    """Give a function that returns what was logged, as people read it."""
    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [formatEvent(event) for event in events]
    globalLogPublisher.removeObserver(events.append)


def check(*steps, **options):
    """Play a conversation at every split of its bytes."""
    check_handler("reply", *steps, **options)


def one(**rule):
    return [rule]


def say(factory, data: bytes) -> bytes:
    """Return what a new session is told about some bytes."""
    peer = Peer(factory, Clock())
    peer.send(data)
    return peer.take()


def test_the_factory_and_its_protocol_are_what_they_say():
    factory = Reply(default="x")
    assert verifyObject(IProtocolFactory, factory)
    assert verifyObject(ISessionFactory, factory)
    protocol = factory.buildProtocol(None)
    assert verifyObject(IProtocol, protocol)
    assert verifyObject(IHalfCloseableProtocol, protocol)


def test_it_works_without_tcpd_around_it():
    clock = Clock()
    factory = Reply(rules=(Rule(match="slow", reply="{{session.id}}", delay=2.0),), default="?")
    factory.clock = clock
    factory.wall_clock = lambda: 0.0
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(b"hi\nslow\nhi\n")
    assert transport.value() == b"?\n"
    assert transport.producerState == "paused"
    clock.advance(2)
    assert transport.value() == b"?\n1\n?\n"
    assert transport.producerState == "producing"


def test_a_delay_without_any_clock_says_what_is_missing():
    protocol = Reply(rules=(Rule(reply="x", delay=2.0),)).buildProtocol(None)
    protocol.makeConnection(StringTransport())
    with pytest.raises(RuntimeError, match="needs a clock"):
        protocol.dataReceived(b"x\n")


def test_the_first_rule_that_matches_answers():
    rules = [
        {"match": {"starts_with": "a", "ends_with": "z"}, "reply": "1"},
        {"match": {"starts_with": "a"}, "reply": "2"},
        {"match": "b", "reply": "3"},
    ]
    check(
        Send(b"a-z\na\r\nb\nc\nb\n"),
        Expect(b"1\n2\n3\nnone\n3\n"),
        rules=rules,
        default="none",
    )


def test_without_a_default_there_is_silence():
    check(
        Send(b"a\nb\n"), Expect(b"1\n"), Send(b"a\n"), Expect(b""), rules=one(match="b", reply="1")
    )


def test_silence_has_no_prompt_and_everything_else_has():
    check(
        Expect(b"> "),
        Send(b"quiet\nmove\nhi\nbye\n"),
        Expect(b"> hi\n> bye\n"),
        Closes(),
        rules=[
            {"match": "quiet"},
            {"match": "move", "goto": "there"},
            {"match": "x", "state": "there"},
            {"match": "bye", "reply": "bye", "close": True},
        ],
        default="{{input}}",
        prompt="> ",
    )


def test_a_greeting_and_a_prompt():
    check(
        Expect(b"Hello\r\n> "),
        Send(b"a\r\n"),
        Expect(b"ok\r\n> "),
        greeting="Hello",
        prompt="> ",
        default="ok",
        framing="crlf",
    )


def test_a_prompt_may_depend_on_the_state():
    check(
        Expect(b"login: "),
        Send(b"bob\n"),
        Expect(b"password: "),
        Send(b"secret\n"),
        Expect(b"start> "),
        first_state="login",
        rules=[
            {"state": "login", "goto": "password"},
            {"state": "password", "match": "secret", "goto": "start"},
            {"state": ["start"], "reply": "x"},
        ],
        prompt={"login": "login: ", "password": "password: ", "start": "{{state}}> "},
    )


def test_a_greeting_may_do_whatever_a_rule_does():
    check(
        Send(b"early\n"),
        Expect(b""),
        Wait(0.9),
        Expect(b""),
        Wait(0.1),
        Expect(b"one\ntwo\nin ready\n"),
        greeting={"reply": ["one", "two"], "delay": "1s", "goto": "ready"},
        rules=one(state="ready", reply="in {{state}}"),
    )


def test_a_greeting_can_be_all_there_is():
    check(Expect(b"busy\n"), Closes(), greeting={"reply": "busy", "close": True})


def test_states():
    check(
        Send(b"data\nlogin x\ndata\nlogin y\nlogout\ndata\n"),
        Expect(b"denied\nhello x\nsecret\ndenied\nbye\ndenied\n"),
        rules=[
            {
                "state": "start",
                "match": {"regex": r"^login (?P<who>\w+)$"},
                "reply": "hello {{who}}",
                "goto": "in",
            },
            {"state": "in", "match": "data", "reply": "secret"},
            {"state": "in", "match": "logout", "reply": "bye", "goto": "start"},
        ],
        default="denied",
    )


def test_each_session_has_its_own_state():
    factory = make_handler(
        "reply",
        rules=[{"match": "go", "goto": "b"}, {"state": "b", "reply": "b"}],
        default="a",
    )
    assert say(factory, b"go\nx\n") == b"b\n"
    assert say(factory, b"x\n") == b"a\n"


def test_a_delay_keeps_the_order_and_holds_back_the_input():
    options = {
        "rules": [{"match": "slow", "reply": "slow", "delay": "1s"}],
        "default": "{{input}}",
    }
    check(
        Send(b"a\nslow\nb\nslow\nc\n"),
        Expect(b"a\n"),
        Wait(0.999),
        Expect(b""),
        Wait(0.001),
        Expect(b"slow\nb\n"),
        Wait(1.0),
        Expect(b"slow\nc\n"),
        **options,
    )
    peer = connect("reply", **options)
    peer.send(b"slow\n" + b"x\n" * 100_000)
    assert peer.transport.producerState == "paused"


def test_a_connection_that_is_lost_during_a_delay_leaves_nothing_behind():
    peer = connect("reply", rules=one(reply="x", delay="1s", close=True))
    peer.send(b"a\n")
    peer.reset()
    assert peer.clock.getDelayedCalls() == []


def test_close_sends_everything_first_and_hears_nothing_more():
    check(
        Send(b"a\nquit\na\n"),
        Expect(b"?\nbye\n"),
        Closes(),
        rules=one(match="quit", reply="bye", close=True),
        default="?",
    )


def test_a_delayed_close():
    peer = connect("reply", rules=one(reply="bye", delay="1s", close=True))
    peer.send(b"a\nb\n")
    peer.wait(0.5)
    assert not peer.closed
    peer.wait(0.5)
    assert peer.closed
    assert peer.take() == b"bye\n"


def test_half_close_sends_a_fin_and_reads_on():
    peer = connect("reply", rules=one(match="eof", reply="end", half_close=True), default="?")
    peer.send(b"eof\na\n")
    assert peer.take() == b"end\n"
    assert peer.transport.write_closed
    assert not peer.closed
    peer.send(b"a\n" * 10)
    assert peer.take() == b""
    peer.finish()
    assert peer.closed


def test_half_close_after_a_delay_still_hears_the_peers_end():
    peer = connect("reply", rules=one(delay="1s", half_close=True))
    peer.send(b"a\nb\n")
    peer.wait(1)
    assert peer.transport.write_closed
    assert peer.transport.producerState == "producing"
    peer.finish()
    assert peer.closed


def test_half_close_of_a_peer_that_has_finished_closes():
    peer = connect("reply", rules=one(delay="1s", half_close=True))
    peer.send(b"a\n")
    peer.finish()
    assert not peer.closed
    peer.wait(1)
    assert peer.closed


def test_half_close_of_a_peer_whose_end_was_seen_meanwhile_closes():
    # A transport may notice the end even while it is paused.
    peer = connect("reply", rules=one(delay="1s", half_close=True))
    peer.send(b"a\n")
    peer.protocol.readConnectionLost()
    assert not peer.closed
    peer.wait(1)
    assert peer.closed


def test_reset_is_a_reset():
    peer = connect("reply", rules=one(reset=True))
    peer.transport.reset_connection = lambda: peer.transport.abort_because("reset")
    peer.send(b"a\nb\n")
    assert peer.transport.close_cause == "reset"


def test_reset_is_an_abort_where_the_transport_has_nothing_better():
    protocol = Reply(rules=(Rule(reset=True),)).buildProtocol(None)
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(b"a\nb\n")
    assert protocol.transport.disconnected


def test_a_reply_before_a_reset_has_time_to_leave():
    peer = connect("reply", rules=one(reply="half a mess", reset=True))
    peer.send(b"a\n")
    assert not peer.closed
    assert peer.take() == b"half a mess\n"
    peer.wait(0.01)
    assert peer.closed


def test_a_peer_that_finishes_gets_the_replies_that_are_delayed():
    check(
        Send(b"a\na\n"),
        Finish(),
        Wait(1),
        Expect(b"x\n"),
        Wait(1),
        Expect(b"x\n"),
        Closes(),
        rules=one(reply="x", delay="1s"),
    )


FAILS_TWICE = {
    "rules": [{"match": "get", "times": 2, "reply": "error"}, {"match": "get", "reply": "ok"}]
}


def test_a_rule_that_answers_the_first_times_in_all_sessions_together():
    factory = make_handler("reply", **FAILS_TWICE)
    assert [say(factory, b"get\n") for _ in range(4)] == [b"error\n", b"error\n", b"ok\n", b"ok\n"]


def test_a_rule_that_answers_the_first_times_of_each_session():
    options = {"rules": [{**rule, "scope": "session"} for rule in FAILS_TWICE["rules"]]}
    factory = make_handler("reply", **options)
    for _ in range(2):
        assert say(factory, b"get\n" * 4) == b"error\nerror\nok\nok\n"


def test_a_rule_that_begins_later():
    check(
        Send(b"x\n" * 5),
        Expect(b"fine\nfine\n3\n4\nfine\n"),
        rules=one(after=2, times=2, reply="{{rule.count}}"),
        default="fine",
    )


def test_only_what_comes_to_a_rule_and_matches_it_is_counted():
    check(
        Send(b"a\nb\nb\na\nb\n"),
        Expect(b"a\nnot yet\nb2\na\nb3\n"),
        rules=[
            {"match": "a", "reply": "a"},
            {"match": "b", "after": 1, "reply": "b{{rule.count}}"},
        ],
        default="not yet",
    )


def test_each_factory_counts_for_itself():
    for _ in range(2):
        assert say(make_handler("reply", **FAILS_TWICE), b"get\n") == b"error\n"


def test_several_frames_in_one_reply():
    check(Send(b"x\n"), Expect(b"a\nb x\n"), rules=one(reply=["a", "b {{input}}"]))


@pytest.mark.parametrize(
    ("framing", "sent", "said"),
    [
        ("line", b"hi\r\nhi\n", b"<hi>\n<hi>\n"),
        ("crlf", b"hi\r\nhi\n", b"<hi>\r\n<hi>\r\n"),
        ({"delimiter": ";"}, b"hi;hi;", b"<hi>;<hi>;"),
        ({"delimiter_hex": "00"}, b"hi\0", b"<hi>\0"),
        ({"length_prefix": 1}, b"\x02hi\0", b"\x04<hi>\x02<>"),
        ({"length_prefix": 2, "byte_order": "little"}, b"\x02\0hi", b"\x04\0<hi>"),
        ({"length_prefix": 4, "counts_itself": True}, b"\0\0\0\x06hi", b"\0\0\0\x08<hi>"),
        ({"fixed_size": 4, "pad": " "}, b"hi  a   ", b"<hi><a> "),
    ],
)
def test_every_framing_both_ways(framing, sent, said):
    check(Send(sent), Expect(said), default="<{{input}}>", framing=framing)


def test_raw_input_is_what_a_read_brought():
    factory = make_handler("reply", default="<{{input}}>", framing="raw")
    assert say(factory, b"a\nb") == b"<a\nb>"


def test_input_that_is_too_long_is_answered_and_ends_the_connection():
    check(
        Send(b"12345678\n123456789\nx\n"),
        Expect(b"ok\n500 too long\n"),
        Closes(),
        max_size=8,
        too_long="500 too long",
        default="ok",
    )


def test_input_that_is_too_long_ends_the_connection_by_default():
    peer = connect("reply", default="ok")
    peer.send(b"x" * 65536)
    assert not peer.closed
    peer.send(b"xx")
    assert peer.closed
    assert peer.take() == b""


def test_input_that_is_too_long_may_be_answered_by_a_reset_after_a_delay():
    peer = connect("reply", default="ok", max_size=4, too_long={"reset": True, "delay": "1s"})
    peer.send(b"123456\n")
    peer.send(b"a\n")
    peer.wait(1)
    assert peer.closed
    assert peer.take() == b""


def test_a_length_that_cant_be_ends_the_connection():
    peer = connect("reply", default="ok", framing={"length_prefix": 2, "counts_itself": True})
    peer.send(b"\0\0")
    assert peer.closed


def test_a_reply_that_grew_too_long_for_its_framing_ends_the_connection(caught_logs):
    peer = connect("reply", default="{{input}}{{input}}", framing={"length_prefix": 1})
    peer.send(b"\x80" + b"x" * 128 + b"\x01a")
    assert peer.closed
    assert peer.take() == b""
    assert any("can't be sent: a frame of 256 bytes" in text for text in caught_logs())


def test_what_a_peer_says_is_never_a_template():
    check(
        Send(b"{{session.id}} {0.__class__} %s {{{{\n"),
        Expect(b"<{{session.id}} {0.__class__} %s {{{{>\n"),
        default="<{{input}}>",
    )


def test_an_idle_session_keeps_nothing_that_was_said_to_it():
    peer = connect("reply", rules=one(match={"regex": ".*"}, reply="{{0}} {{input}}"))
    peer.send(b"secret" * 1000 + b"\n")
    assert peer.protocol._conversation._kept.input == b""
    assert peer.protocol._conversation._kept.captures == ()
    assert peer.protocol._decoder._window == b""


def test_what_nothing_matches_is_told_once_a_session_and_is_escaped(caught_logs):
    peer = connect("reply", rules=one(match="x"))
    peer.send(b"\x1b[2Ja{log_format}\n" * 3)
    (told,) = [text for text in caught_logs() if "no rule matches" in text]
    assert r"\x1b[2Ja{log_format}" in told
    assert "\x1b" not in told


def test_events_tell_what_nothing_matches_and_frames_that_cant_be():
    peer = connect("reply", rules=one(match="x"), max_size=8)
    peer.send(b"a\nb\nx\n123456789\n")
    assert peer.events == [
        ("reply.unmatched", {"input": "a"}),
        ("reply.unmatched", {"input": "b"}),
        ("reply.bad_frame", {"error": "a frame is longer than the 8 bytes that are allowed"}),
    ]


def test_a_flood_of_inputs_gives_the_others_their_turn():
    peer = connect("reply", default="x")
    peer.clock.callLater = lambda delay, *_: calls.append(delay)
    calls = []
    peer.send(b"\n" * 5000)
    assert peer.take() == b"x\n" * 1024
    assert calls == [0]
    assert peer.transport.producerState == "paused"
