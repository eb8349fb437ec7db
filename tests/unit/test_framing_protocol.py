"""Frames reach a protocol whatever it does in between: pause, close, change framing, raise."""

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from tcpd.framing import Delimited, FrameProtocol, FrameTooLong, LengthPrefixed, Line, Raw


class Recorder(FrameProtocol):
    """Keeps what it gets, and does with each frame what the test says."""

    def __init__(self, on=None):
        self.frames = []
        self.errors = []
        self.ends = 0
        self.on = on or {}

    def frame_received(self, frame):
        self.frames.append(frame)
        if action := self.on.get(frame):
            action(self)

    def frame_error(self, error):
        self.errors.append(error)

    def input_ended(self):
        self.ends += 1


def connected(protocol, clock=None):
    protocol.clock = clock
    protocol.makeConnection(StringTransport())
    return protocol


def take_turn(clock):
    """Run what is due, but, unlike `Clock.advance`, not what that schedules anew."""
    (call,) = clock.calls
    clock.calls.clear()
    call.called = 1
    call.func(*call.args, **call.kw)


def test_it_is_a_protocol_that_answers_after_a_half_close():
    protocol = connected(FrameProtocol())
    assert verifyObject(IProtocol, protocol)
    assert verifyObject(IHalfCloseableProtocol, protocol)


def test_lines_are_answered_one_by_one_and_the_rest_waits():
    protocol = connected(Recorder({b"two": lambda p: p.send_frame(b"2")}))
    protocol.dataReceived(b"one\ntwo\nthr")
    protocol.dataReceived(b"ee\nfour")
    assert protocol.frames == [b"one", b"two", b"three"]
    assert protocol.transport.value() == b"2\n"


def test_a_pause_stops_after_the_frame_and_pauses_the_transport():
    protocol = connected(Recorder({b"b": Recorder.pause}))
    protocol.dataReceived(b"a\nb\nc\nd")
    assert protocol.frames == [b"a", b"b"]
    assert protocol.transport.producerState == "paused"
    protocol.dataReceived(b"\ne\n")  # a read that was on its way
    assert protocol.frames == [b"a", b"b"]
    protocol.resume()
    assert protocol.frames == [b"a", b"b", b"c", b"d", b"e"]
    assert protocol.transport.producerState == "producing"


def test_a_pause_in_every_frame_loses_and_repeats_nothing():
    protocol = Recorder()
    protocol.frame_received = lambda frame: (protocol.frames.append(frame), protocol.pause())
    connected(protocol)
    sent = [b"%d" % n for n in range(3000)]
    protocol.dataReceived(b"\r\n".join(sent) + b"\r\n")
    for n in range(3000):
        assert protocol.frames == sent[: n + 1]
        assert protocol.transport.producerState == "paused"
        protocol.resume()
    assert protocol.transport.producerState == "producing"


def test_a_pause_that_is_taken_back_at_once_doesnt_touch_the_transport():
    protocol = connected(Recorder({b"b": lambda p: (p.pause(), p.resume())}))
    protocol.transport.pauseProducing = None
    protocol.dataReceived(b"a\nb\nc\n")
    assert protocol.frames == [b"a", b"b", b"c"]


def test_a_resume_while_frames_are_delivered_keeps_their_order():
    protocol = connected(Recorder({b"b": Recorder.pause, b"c": lambda p: p.resume()}))
    protocol.dataReceived(b"a\nb\nc\nd\n")
    protocol.resume()
    assert protocol.frames == [b"a", b"b", b"c", b"d"]


def test_nothing_is_delivered_after_the_protocol_has_closed():
    protocol = connected(Recorder({b"quit": lambda p: p.transport.loseConnection()}))
    protocol.dataReceived(b"a\nquit\nrm\n")
    protocol.dataReceived(b"rm\n" * 100)
    protocol.readConnectionLost()
    assert protocol.frames == [b"a", b"quit"]
    assert protocol._decoder.pending == b"rm\n"
    assert protocol.ends == 0


def test_stop_ends_the_delivery_where_an_abort_wouldnt():
    protocol = connected(Recorder({b"bad": Recorder.stop}))
    protocol.dataReceived(b"bad\nmore\n")
    protocol.resume()
    protocol.dataReceived(b"more\n")
    assert protocol.frames == [b"bad"]


def test_a_lost_connection_ends_the_delivery():
    clock = Clock()
    protocol = Recorder()
    protocol.frames_a_turn = 1
    connected(protocol, clock)
    protocol.dataReceived(b"a\nb\n")
    protocol.connectionLost()
    assert clock.getDelayedCalls() == []
    protocol.resume()
    assert protocol.frames == [b"a"]


def test_a_flood_of_frames_gives_the_others_their_turn():
    clock = Clock()
    protocol = connected(Recorder(), clock)
    protocol.dataReceived(b"\r\n" * 5000)
    assert len(protocol.frames) == 1024
    assert protocol.transport.producerState == "paused"
    for turn in range(2, 5):
        take_turn(clock)
        assert len(protocol.frames) == 1024 * turn
        assert protocol.transport.producerState == "paused"
    take_turn(clock)
    assert len(protocol.frames) == 5000
    assert protocol.transport.producerState == "producing"
    assert clock.getDelayedCalls() == []


def test_turns_and_pauses_are_independent():
    clock = Clock()
    protocol = Recorder({b"4": Recorder.pause})
    protocol.frames_a_turn = 4
    connected(protocol, clock)
    protocol.dataReceived(b"1\n2\n3\n4\n5\n6\n")
    clock.advance(0)
    assert protocol.frames[-1] == b"4"
    assert protocol.transport.producerState == "paused"
    protocol.resume()
    assert protocol.frames[-1] == b"6"
    assert protocol.transport.producerState == "producing"


def test_the_transports_own_reactor_is_the_clock_when_there_is_no_other():
    clock = Clock()
    protocol = Recorder()
    transport = StringTransport()
    transport.reactor = clock
    protocol.makeConnection(transport)
    protocol.dataReceived(b"\n" * 1025)
    assert len(protocol.frames) == 1024
    assert len(clock.getDelayedCalls()) == 1


def test_without_a_clock_there_are_no_turns():
    protocol = connected(Recorder())
    protocol.dataReceived(b"\n" * 5000)
    assert len(protocol.frames) == 5000


def test_the_framing_can_change_after_any_frame():
    stream = b"one\nlength\r\n\0\x03a\nb\0\x04line\0\r\ntwo\n"
    expected = [b"one", b"length", b"a\nb", b"line", b"\0", b"two"]
    for cut in range(len(stream) + 1):
        for both in (False, True):
            protocol = connected(
                Recorder(
                    {
                        b"length": lambda p: p.change_framing(LengthPrefixed(2)),
                        b"line": lambda p: (p.change_framing(Line()), p.send_frame(b"ok")),
                    }
                )
            )
            for piece in [stream[:cut], stream[cut:]] if both else [stream]:
                protocol.dataReceived(piece)
            assert protocol.frames == expected
            assert protocol.transport.value() == b"ok\n"


def test_the_framing_and_the_maximum_can_change_between_reads():
    protocol = connected(Recorder())
    protocol.dataReceived(b"a\nrest;of;")
    protocol.change_framing(Delimited(b";"), 4)
    assert protocol.frames == [b"a", b"rest", b"of"]
    protocol.dataReceived(b"12345;")
    assert isinstance(protocol.errors[0], FrameTooLong)


def test_what_is_written_follows_the_framing():
    protocol = connected(Recorder())
    protocol.send_frame(b"a")
    protocol.change_framing(LengthPrefixed(1))
    protocol.send_frame(b"b")
    assert protocol.transport.value() == b"a\n\x01b"


def test_raw_data_after_a_header_is_byte_exact():
    protocol = connected(Recorder({b"body": lambda p: p.change_framing(Raw())}))
    protocol.dataReceived(b"head\r\nbody\r\n\r\n\0\r\n\n")
    assert protocol.frames == [b"head", b"body", b"\r\n\0\r\n\n"]


def test_an_error_comes_once_after_the_frames_ahead_of_it():
    protocol = Recorder()
    protocol.max_size = 4
    connected(protocol)
    protocol.dataReceived(b"a\nb\n12345\nc\n")
    protocol.dataReceived(b"d\n" * 10)
    protocol.readConnectionLost()
    assert protocol.frames == [b"a", b"b"]
    assert [type(error) for error in protocol.errors] == [FrameTooLong]
    assert protocol.ends == 0


def test_an_error_waits_while_the_protocol_is_paused():
    protocol = Recorder({b"a": Recorder.pause})
    protocol.max_size = 4
    connected(protocol)
    protocol.dataReceived(b"a\n12345\n")
    assert protocol.errors == []
    protocol.resume()
    assert len(protocol.errors) == 1


def test_by_default_an_error_closes():
    protocol = connected(FrameProtocol())
    protocol.dataReceived(b"x" * 70_000)
    assert protocol.transport.disconnecting


def test_a_peer_that_has_finished_is_answered_first():
    clock = Clock()
    protocol = Recorder({b"b": Recorder.pause})
    protocol.frames_a_turn = 2
    connected(protocol, clock)
    protocol.dataReceived(b"a\nb\nc\n")
    protocol.readConnectionLost()
    assert protocol.ends == 0
    clock.advance(0)
    assert protocol.ends == 0
    protocol.resume()
    assert protocol.frames == [b"a", b"b", b"c"]
    assert protocol.ends == 1


def test_a_peer_that_has_finished_and_waits_for_nothing_is_let_go():
    protocol = connected(FrameProtocol())
    protocol.dataReceived(b"a\nunfinished")
    protocol.readConnectionLost()
    assert protocol.transport.disconnecting


def test_a_protocol_may_take_all_the_frames_of_a_read_at_once():
    class Batch(FrameProtocol):
        def frames_received(self, frames):
            self.transport.write(b"%d;" % len(frames))

    protocol = connected(Batch())
    protocol.dataReceived(b"a\nb\nc\nd")
    protocol.dataReceived(b"\n")
    assert protocol.transport.value() == b"3;1;"


def test_a_batch_may_be_left_half_done():
    class Half(Recorder):
        def frames_received(self, frames):
            self.frames.append(frames[:1])
            self.pause()
            return frames[1:]

    protocol = connected(Half())
    protocol.dataReceived(b"a\nb\n")
    protocol.resume()
    assert protocol.frames == [[b"a"], [b"b"]]


def test_a_handler_that_raises_is_the_transports_to_deal_with():
    def fail(_):
        raise RuntimeError("no")

    protocol = connected(Recorder({b"b": fail}))
    with pytest.raises(RuntimeError):
        protocol.dataReceived(b"a\nb\nc\n")


def test_a_protocol_may_begin_paused():
    class Late(Recorder):
        def connectionMade(self):
            self.pause()

    protocol = connected(Late())
    assert protocol.transport.producerState == "paused"
    protocol.dataReceived(b"a\n")
    assert protocol.frames == []
    protocol.resume()
    assert protocol.frames == [b"a"]
