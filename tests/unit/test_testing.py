"""The helpers for handler authors: a good handler passes, and each kind of bad one doesn't."""

from dataclasses import dataclass, field

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from tcpd.errors import ConfigErrors
from tcpd.sinks.sink import Sink
from tcpd.testing import (
    Closes,
    Expect,
    Finish,
    Peer,
    Send,
    Wait,
    check_handler,
    check_sink,
    connect,
    make_handler,
    make_record,
    no_call_left,
)


class Upper(LineReceiver):
    delimiter = b"\n"

    def connectionMade(self):
        self.sendLine(b"hi")

    def lineReceived(self, line):
        if line == b"bye":
            self.transport.loseConnection()
        else:
            self.sendLine(line.upper())


CONVERSATION = (
    Expect(b"hi\n"),
    Send(b"one\ntw"),
    Expect(b"ONE\n"),
    Send(b"o\nbye\nthree\n"),
    Expect(b"TWO\n"),
    Closes(),
)


def broken(handler, *steps, **options):
    """Return what is said of a handler that doesn't hold a conversation."""
    with pytest.raises(AssertionError) as caught:
        check_handler(handler, *steps, **options)
    return str(caught.value)


# -- check_handler ------------------------------------------------------------------------------


def test_a_good_handler_holds_its_conversation():
    check_handler(Upper, *CONVERSATION)
    check_handler(Factory.forProtocol(Upper), *CONVERSATION)
    check_handler(
        "echo", Send(b"abc"), Expect(b"abc"), Send(b"d"), Finish(), Expect(b"d"), Closes()
    )


def test_a_handler_that_takes_a_chunk_for_a_message_is_found_out():
    class Chunky(Protocol):
        def dataReceived(self, data):
            self.transport.write(data.strip().upper() + b"\n")

    told = broken(Chunky, Send(b"one\n"), Expect(b"ONE\n"))
    assert told == r"byte by byte: expected b'ONE\n', the handler says b'O\nN\nE\n\n'"


def test_a_handler_that_forgets_what_follows_a_message_is_found_out():
    class OneAtATime(Protocol):
        got = b""

        def dataReceived(self, data):
            self.got += data
            if b"\n" in self.got:
                line, _, _ = self.got.partition(b"\n")
                self.got = b""
                self.transport.write(line.upper() + b"\n")

    told = broken(OneAtATime, Send(b"a\n"), Expect(b"A\n"), Send(b"b\n"), Expect(b"B\n"))
    assert told == r"all at once: expected b'A\nB\n', the handler says b'A\n'"


def test_a_handler_that_fails_at_one_cut_alone_is_found_out():
    class Crlf(Protocol):
        got = b""

        def dataReceived(self, data):
            if data.startswith(b"\n") and len(data) > 1:
                data = data[1:]
            self.got += data
            while b"\n" in self.got:
                line, _, self.got = self.got.partition(b"\n")
                self.transport.write(line.strip() + b".")

    told = broken(Crlf, Send(b"ab\r\ncd\r\n"), Expect(b"ab.cd."))
    assert told.startswith(r"cut before byte 3 of b'ab\r\ncd\r\n': expected b'ab.cd.', the handler")


def test_an_answer_after_the_close_is_found_out():
    class Deaf(Upper):
        def lineReceived(self, line):
            if line == b"bye":
                self.sendLine(b"bye")
                self.transport.loseConnection()
            else:
                self.late = True

        def dataReceived(self, data):
            super().dataReceived(data)
            if hasattr(self, "late"):
                self.transport.write(b"late")

    told = broken(Deaf, Expect(b"hi\n"), Send(b"x\n"), Closes())
    assert told == "as written: the handler has not closed the connection"


def test_what_is_said_beyond_what_is_expected_counts():
    told = broken(Upper, Expect(b"hi\n"), Send(b"x\n"))
    assert told == r"as written: the handler says more than is expected: b'X\n'"


class Slow(Protocol):
    """Answers a second later, and forgets about it when the connection is lost."""

    tidy = True
    call = None

    def __init__(self, clock):
        self.clock = clock

    def dataReceived(self, data):
        if self.call is None:
            self.call = self.clock.callLater(1.0, self.transport.write, b"done")

    def connectionLost(self, reason):
        if self.tidy and self.call is not None and self.call.active():
            self.call.cancel()


def slow(tidy):
    class Handler(Factory):
        def buildSession(self, session):
            protocol = Slow(session.clock)
            protocol.tidy = tidy
            return protocol

    return Handler


def test_a_delayed_call_left_behind_is_found_out_wherever_the_connection_is_lost():
    steps = (Send(b"x"), Wait(0.9), Expect(b""), Wait(0.1), Expect(b"done"))
    check_handler(slow(tidy=True), *steps)
    told = broken(slow(tidy=False), *steps)
    assert told.startswith("the connection lost after Send(data=b'x'): delayed calls were left")


def test_a_function_is_given_the_clock():
    def make(clock):
        factory = Factory()
        factory.buildProtocol = lambda addr: Slow(clock)
        return factory

    check_handler(make, Send(b"x"), Wait(1), Expect(b"done"))


def test_an_error_that_is_only_logged_is_found_out():
    class Swallowing(Protocol):
        log = Logger()

        def dataReceived(self, data):
            try:
                raise RuntimeError("swallowed")
            except RuntimeError:
                self.log.failure("oops")

    told = broken(Swallowing, Send(b"x"))
    assert "as written: an error was logged" in told
    assert "swallowed" in told


def test_an_unhandled_error_in_a_deferred_is_found_out():
    class Async(Protocol):
        def dataReceived(self, data):
            async def work():
                raise RuntimeError("nobody waits for me")

            Deferred.fromCoroutine(work())

    assert "nobody waits for me" in broken(Async, Send(b"x"))


def test_what_a_handler_raises_comes_out_as_it_is_with_the_way_it_was_played():
    class Raising(Protocol):
        def connectionLost(self, reason):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        check_handler(Raising, Send(b"x"))
    assert caught.value.__notes__ == ["The conversation was played as written."]


def test_options_are_checked_as_in_the_configuration():
    check_handler("chargen", Expect(b" !"), Closes(), limit=2)
    check_handler("logging", Expect(b"hi"), banner="hi")
    with pytest.raises(ConfigErrors, match="options limt: unknown key; did you mean 'limit'"):
        check_handler("chargen", limt=2)


def test_a_long_conversation_is_cut_at_a_bounded_number_of_places():
    made = []

    class Counting(Factory):
        def __init__(self):
            made.append(self)

        def buildProtocol(self, addr):
            return Protocol()

    check_handler(Counting, Send(b"x" * 2000))
    assert 400 <= len(made) <= 410


# -- connect, make_handler ------------------------------------------------------------------------


def test_a_handler_is_made_from_a_name_a_class_or_a_factory(tmp_path):
    path = tmp_path / "handlers_of_a_test.py"
    path.write_text("from tcpd.handlers.echo import EchoProtocol as Mine\n")
    factory = Factory.forProtocol(Upper)
    assert make_handler(factory) is factory
    assert connect(Upper).take() == b"hi\n"
    peer = connect(f"{path}:Mine")
    peer.send(b"x")
    assert peer.take() == b"x"
    with pytest.raises(ConfigErrors, match="handler: no handler 'ecko'; did you mean 'echo'"):
        make_handler("ecko")
    with pytest.raises(ConfigErrors, match=r"unknown key; the handler .* takes no options"):
        make_handler(Upper, size=1)


def test_options_of_a_dataclass_are_read_with_their_units():
    @dataclass
    class Sized(Factory):
        not_: int = 0

    assert make_handler(Sized, not_=3).not_ == 3


def test_the_connection_ends_once_and_says_why():
    peer = connect(Upper)
    assert peer.closed == ""
    peer.send(b"bye\n")
    assert peer.closed == "handler-closed"
    assert peer.session.close_reason == "handler-closed"
    peer.send(b"more\n")
    peer.leave()
    assert peer.take() == b"hi\n"
    for leave, cause in ((Peer.leave, "peer-closed"), (Peer.reset, "peer-reset")):
        peer = connect(Upper)
        leave(peer)
        assert peer.closed == cause


def test_an_abort_and_a_refusal():
    class Aborting(Protocol):
        def connectionMade(self):
            self.transport.write(b"lost or not")
            self.transport.abort_because("bored")
            self.transport.write(b"too late")

    peer = connect(Aborting)
    assert peer.closed == "bored"
    assert b"too late" not in peer.take()

    class Refusing(Factory):
        def buildProtocol(self, addr):
            return None

    peer = connect(Refusing)
    assert (peer.closed, peer.protocol) == ("handler-refused", None)


def test_the_session_and_its_events_are_there():
    class Telling(Factory):
        def buildSession(self, session):
            session.emit("greeted", peer=session.peer.host)
            return Protocol()

    peer = connect(Telling)
    assert peer.events == [("greeted", {"peer": "192.0.2.7"})]
    peer.send(b"12345")
    assert peer.session.bytes_in == 5


def test_half_close_reaches_a_handler_that_wants_it_and_ends_the_others():
    peer = connect("echo")
    peer.send(b"x")
    peer.finish()
    assert (peer.take(), peer.closed) == (b"x", "handler-closed")
    with pytest.raises(ValueError, match="finished"):
        peer.send(b"y")
    peer = connect(Upper)
    peer.finish()
    assert (peer.take(), peer.closed) == (b"hi\n", "peer-closed")

    @implementer(IHalfCloseableProtocol)
    class Half(Protocol):
        told = 0

        def connectionMade(self):
            self.transport.loseWriteConnection()
            self.transport.write(b"not any more")

        def readConnectionLost(self):
            self.transport.loseConnection()

        def writeConnectionLost(self):
            self.told += 1

    peer = connect(Half)
    peer.send(b"x")
    assert (peer.protocol.told, peer.take(), peer.closed) == (1, b"", "")


def test_a_paused_handler_gets_nothing_until_it_resumes():
    class Pausing(Protocol):
        got = b""

        def dataReceived(self, data):
            self.got += data
            self.transport.pauseProducing()

    peer = connect(Pausing)
    peer.send(b"1")
    peer.send(b"2")
    assert peer.protocol.got == b"1"
    peer.protocol.transport.resumeProducing()
    peer.wait(0)
    assert peer.protocol.got == b"12"


def test_a_producer_is_asked_for_more_and_stopped_at_the_end():
    class Producing(Protocol):
        left = 3
        stopped = False

        def connectionMade(self):
            self.transport.registerProducer(self, False)
            self.transport.loseConnection()

        def resumeProducing(self):
            self.transport.write(b"x")
            self.left -= 1
            if not self.left:
                self.transport.unregisterProducer()

        def stopProducing(self):
            self.stopped = True

    peer = connect(Producing)
    assert (peer.take(), peer.closed) == (b"xxx", "handler-closed")
    endless = connect("chargen")
    assert len(endless.take()) == 16 * 63270
    endless.finish()
    assert not endless.closed
    Producing.left = 100
    peer = connect(Producing)
    peer.reset()
    assert peer.protocol.stopped


def test_a_finished_peer_is_still_fed_by_a_producer_that_knows_of_no_half_close():
    class Producing(Protocol):
        left = 40

        def connectionMade(self):
            self.transport.registerProducer(self, False)

        def resumeProducing(self):
            self.transport.write(b"x")
            self.left -= 1
            if not self.left:
                self.transport.unregisterProducer()

    peer = connect(Producing)
    peer.finish()
    assert not peer.closed
    peer.wait(0)
    assert (peer.take(), peer.closed) == (b"x" * 40, "peer-closed")


def test_time_passes_call_by_call():
    clock = Clock()
    seen = []

    def again():
        seen.append(clock.seconds())
        clock.callLater(1.0, again)

    clock.callLater(1.0, again)
    peer = connect("discard", clock=clock)
    peer.wait(3.5)
    assert seen == [1.0, 2.0, 3.0]
    assert clock.seconds() == 3.5


def test_no_call_left_looks_at_what_is_new_only():
    clock = Clock()
    clock.callLater(5, print)
    with no_call_left(clock):
        clock.callLater(1, print).cancel()
    with pytest.raises(AssertionError, match="left behind"), no_call_left(clock):
        clock.callLater(1, print)


def test_the_tap_sees_both_directions():
    seen = []
    peer = connect("echo")
    peer.transport.tap = lambda direction, data: seen.append((direction, data))
    peer.send(b"x")
    assert seen == [("in", b"x"), ("out", b"x")]


# -- for who writes a sink --------------------------------------------------------------------


@dataclass
class Kept(Sink):
    """Keeps what it is given, but for what the test has it lose."""

    lose: str = ""
    kept: list = field(default_factory=list)

    def write(self, batch):
        self.kept += [each.line for each in batch[self.lose == "first" :]]

    def close(self):
        if self.lose == "at close":
            self.kept.clear()


def test_a_sink_that_keeps_the_contract_passes():
    sink = Kept()
    check_sink(sink, lambda: len(sink.kept))
    assert len(sink.kept) == 13


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        ("first", "opened and flushed: 4 records were written, 2 are there"),
        ("at close", "opened and closed: 6 records were written, 0 are there"),
    ],
)
def test_a_sink_that_loses_records_is_told_when(lose, said):
    sink = Kept(lose)
    with pytest.raises(AssertionError, match=said):
        check_sink(sink, lambda: len(sink.kept))


def test_records_to_write_are_of_sessions_and_of_handlers():
    assert make_record().fields["bytes.in"] == 5
    assert make_record("login", user="eve").fields["user"] == "eve"
    assert make_record().sequence != make_record().sequence
