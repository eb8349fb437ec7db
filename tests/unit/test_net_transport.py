"""The transport's rules, one by one, on a reactor that is turned by hand."""

import contextlib
import socket
from unittest import mock

import pytest
from helpers.net_loop import HandReactor
from twisted.internet import ssl
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpd.net.sockets import Server
from tcpd.net.transport import HIGH_WATER, LOW_WATER, StreamTransport

HERE = IPv4Address("TCP", "127.0.0.1", 4711)


class Recorder(Protocol):
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def connectionMade(self):
        self.told.append("made")

    def dataReceived(self, data):
        self.told.append(data)

    def connectionLost(self, reason):
        self.told.append("lost")


class Echo(Recorder):
    def dataReceived(self, data):
        super().dataReceived(data)
        self.transport.write(data)


class Port:
    """What a transport asks of the port that accepted it."""

    place = "here"
    tls = None

    def open_session(self, transport):
        return transport.perform(transport.protocol.makeConnection, transport)

    def session_abandoned(self, transport, reason):
        pass

    def descriptor_released(self):
        pass


class Session:
    """A transport, its protocol and the peer's end of its socket."""

    def __init__(self, protocol):
        self.reactor = HandReactor()
        # What one end of a pair sends the other has at once, so no test has to wait.
        self.peer, accepted = socket.socketpair()
        self.peer.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        self.protocol = protocol
        address = ("127.0.0.1", 4711)
        self.transport = Server(accepted, protocol, address, Port(), 0, self.reactor)
        self.transport.set_addresses(HERE, HERE)
        self.observer = mock.Mock(spec=["transport_closed", "handler_failed"])
        self.transport.observer = self.observer

    def __enter__(self):
        self.transport.begin()
        return self

    def __exit__(self, *exc):
        self.reactor.close()
        self.peer.close()

    def send(self, data):
        self.peer.sendall(data)
        self.reactor.turn()

    def read(self, turns=3):
        """What the peer has got after some turns."""
        got = b""
        for _ in range(turns):
            self.reactor.turn()
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                while data := self.peer.recv(1 << 20):
                    got += data
        return got


def counted_sends(session):
    """Have the transport's sends counted."""
    sends = []
    real = session.transport.socket

    class Counting:
        def send(self, data):
            sends.append(bytes(data))
            return real.send(data)

        def __getattr__(self, name):
            return getattr(real, name)

    session.transport.socket = Counting()
    return sends


def test_what_a_callback_writes_leaves_with_one_send():
    class Lines(Recorder):
        def dataReceived(self, data):
            for number in range(100):
                self.transport.write(b"%d\n" % number)
            self.transport.writeSequence([b"the ", b"end"])

    with Session(Lines()) as session:
        sends = counted_sends(session)
        session.send(b"go")
        assert len(sends) == 1
        assert sends[0].endswith(b"99\nthe end")


def test_what_is_written_elsewhere_is_gathered_until_the_turn_ends():
    with Session(Recorder()) as session:
        sends = counted_sends(session)
        session.transport.write(b"one ")
        session.transport.write(b"two")
        assert sends == []
        session.reactor.turn()
        assert sends == [b"one two"]


def test_counters_and_clock():
    with Session(Echo()) as session:
        opened = session.reactor.seconds()
        assert session.transport.last_read == session.transport.last_write == opened
        session.reactor.advance(7)
        session.send(b"hello")
        assert (session.transport.bytes_in, session.transport.bytes_out) == (5, 5)
        assert session.transport.last_read == session.transport.last_write == opened + 7


def test_writing_takes_bytes_only():
    with Session(Recorder()) as session:
        with pytest.raises(TypeError):
            session.transport.write("text")
        with pytest.raises(TypeError):
            session.transport.writeSequence([b"bytes", "text"])


def fill(session):
    """Have the peer push, not reading, until it is held."""
    block = b"x" * 65536
    for _ in range(1000):
        with contextlib.suppress(BlockingIOError):
            session.peer.send(block)
        session.reactor.turn()
        if session.transport not in session.reactor.readers:
            return
    raise AssertionError("never held")


def drain(session):
    """Have the peer read until nothing is queued."""
    for _ in range(2000):
        session.read(1)
        if not session.transport.dataBuffer and not session.transport._tempDataBuffer:
            return
    raise AssertionError("never drained")


def test_a_peer_that_does_not_read_is_held_above_the_high_water_mark():
    with Session(Echo()) as session:
        fill(session)
        assert HIGH_WATER < session.transport.queued < 2 * HIGH_WATER
        assert session.transport.held
        drain(session)
        assert session.transport in session.reactor.readers
        assert not session.transport.held


def test_it_is_counted_how_often_a_peer_is_held():
    with Session(Echo()) as session:
        assert "pauses" not in vars(session.transport)  # who is never held needs no number
        for times in (1, 2):
            fill(session)
            assert session.transport.pauses == times
            drain(session)


def test_a_peer_that_the_handler_holds_is_held_and_not_counted():
    with Session(Echo()) as session:
        session.transport.pauseProducing()
        assert session.transport.held
        assert session.transport.pauses == 0


def test_reading_resumes_at_the_low_water_mark():
    with Session(Echo()) as session:
        fill(session)
        while session.transport not in session.reactor.readers:
            with contextlib.suppress(BlockingIOError):
                session.peer.recv(8192)
            session.reactor.turn()
        assert 0 < session.transport.queued <= LOW_WATER


def test_the_handlers_pause_is_a_reason_of_its_own():
    with Session(Echo()) as session:
        fill(session)
        session.transport.resumeProducing()  # the handler's reason doesn't hold: the queue's does
        assert session.transport not in session.reactor.readers
        session.transport.pauseProducing()
        drain(session)
        assert session.transport not in session.reactor.readers
        session.transport.resumeProducing()
        assert session.transport in session.reactor.readers


def test_what_the_kernel_has_not_taken_is_counted_as_queued():
    with Session(Recorder()) as session:
        session.transport.write(b"x" * 100_000)
        assert session.transport.queued == 100_000
        session.reactor.turn()
        assert session.transport.queued == 100_000 - session.transport.bytes_out > 0
        session.transport.abortConnection()
        session.reactor.turn()
        assert session.transport.queued == 0


def test_a_producer_ends_the_hold():
    with Session(Echo()) as session:
        fill(session)
        session.transport.registerProducer(mock.Mock(), True)
        assert session.transport in session.reactor.readers


def test_writes_that_answer_nothing_do_not_stop_reading():
    with Session(Recorder()) as session:
        session.transport.perform(session.transport.write, b"x" * 4 * HIGH_WATER)
        session.send(b"and I push too")
        assert session.protocol.told == ["made", b"and I push too"]
        assert session.transport in session.reactor.readers


def test_an_end_of_stream_is_answered_with_what_is_queued():
    with Session(Echo()) as session:
        message = b"m" * 100_000
        session.peer.setblocking(True)
        session.peer.sendall(message)
        session.peer.shutdown(socket.SHUT_WR)
        session.peer.setblocking(False)
        session.reactor.turn(3)
        assert session.protocol.told == ["made", message]
        got = b""
        while "lost" not in session.protocol.told:
            got += session.read(1)
        got += session.read()
        assert got == message
        assert session.transport.close_cause == "peer-closed"


def test_after_an_end_of_stream_nothing_makes_it_read_again():
    @implementer(IHalfCloseableProtocol)
    class Halves(Recorder):
        def readConnectionLost(self):
            self.told.append("read lost")

        def writeConnectionLost(self):
            self.told.append("write lost")

    with Session(Halves()) as session:
        session.peer.shutdown(socket.SHUT_WR)
        session.reactor.turn()
        session.transport.pauseProducing()
        session.transport.resumeProducing()
        session.reactor.turn(3)
        assert session.protocol.told == ["made", "read lost"]
        session.transport.write(b"still here")
        assert session.read() == b"still here"
        session.transport.loseConnection()
        session.reactor.turn(2)
        assert session.protocol.told == ["made", "read lost", "lost"]


def test_a_streaming_producer_may_finish_after_the_end_of_stream():
    with Session(Recorder()) as session:
        producer = mock.Mock(spec=["pauseProducing", "resumeProducing", "stopProducing"])
        session.transport.registerProducer(producer, True)
        session.peer.shutdown(socket.SHUT_WR)
        session.reactor.turn(2)
        for _ in range(5):  # a piece every 8 seconds is work; 10 seconds of silence are not
            session.reactor.advance(8)
            session.transport.write(b"piece ")
            session.reactor.turn(2)
        assert session.read() == b"piece " * 5
        assert "lost" not in session.protocol.told
        session.transport.unregisterProducer()
        session.reactor.turn(2)
        assert session.protocol.told[-1] == "lost"
        assert not session.reactor.getDelayedCalls()


def test_a_producer_that_falls_silent_counts_as_finished():
    with Session(Recorder()) as session:
        session.transport.registerProducer(mock.Mock(), True)
        session.peer.shutdown(socket.SHUT_WR)
        session.reactor.turn(2)
        session.reactor.advance(10)
        assert session.protocol.told[-1] == "lost"
        assert session.transport.close_cause == "peer-closed"


def test_the_observer_hears_of_the_end_once_and_last():
    told = []

    class Late(Recorder):
        def connectionLost(self, reason):
            told.append("protocol")

    with Session(Late()) as session:
        session.observer.transport_closed.side_effect = lambda reason: told.append("observer")
        session.transport.abortConnection()
        session.transport.abortConnection()
        session.reactor.turn()
        session.transport.connectionLost(session.observer.transport_closed.call_args[0][0])
        assert told == ["protocol", "observer"]


def test_a_failing_observer_harms_nobody():
    with Session(Recorder()) as session:
        session.observer.transport_closed.side_effect = RuntimeError
        session.transport.abortConnection()
        session.reactor.turn()
        assert session.protocol.told == ["made", "lost"]


def test_a_failing_stop_producing_is_reported_and_the_protocol_still_told():
    with Session(Recorder()) as session:
        producer = mock.Mock()
        producer.stopProducing.side_effect = RuntimeError("stop")
        session.transport.registerProducer(producer, True)
        session.transport.abortConnection()
        session.reactor.turn()
        assert session.protocol.told == ["made", "lost"]
        assert session.observer.handler_failed.call_count == 1


def test_a_failing_pause_producing_ends_the_session_and_not_the_loop():
    with Session(Recorder()) as session:
        producer = mock.Mock()
        session.transport.registerProducer(producer, True)
        producer.pauseProducing.side_effect = RuntimeError("pause")
        session.transport._tempDataBuffer.append(b"x" * HIGH_WATER)
        session.transport._tempDataLen += HIGH_WATER
        session.transport.flush()  # as the loop does at the end of its turn
        assert session.observer.handler_failed.call_count == 1
        session.reactor.turn()
        assert session.protocol.told == ["made", "lost"]
        assert session.transport.close_cause == "handler-failed"


def test_an_error_in_send_never_ends_the_session_from_within_write():
    class Writes(Recorder):
        def dataReceived(self, data):
            super().dataReceived(data)
            self.transport.write(b"answer")
            self.told.append("written")

    with Session(Writes()) as session:
        real = session.transport.socket
        broken = mock.Mock(wraps=real)
        broken.send.side_effect = BrokenPipeError(32, "Broken pipe")
        session.transport.socket = broken
        session.send(b"x")
        session.reactor.turn()
        assert session.protocol.told == ["made", b"x", "written", "lost"]
        assert session.transport.close_cause == "peer-reset"


def test_a_tap_is_asked_for_nothing_when_there_is_none_and_sees_all_when_there_is():
    with Session(Echo()) as session:
        session.send(b"unseen")
        seen = []
        session.transport.tap = lambda way, data: seen.append((way, data))
        session.send(b"seen")
        assert seen == [("in", b"seen"), ("out", b"seen")]


def test_the_log_prefix_names_protocol_session_and_peer():
    with Session(Recorder()) as session:
        assert session.transport.logPrefix() == "Recorder,0,127.0.0.1"
        assert repr(session.transport) == "<Recorder #0 on here>"


def test_an_address_from_a_proxy_is_the_one_that_is_given():
    with Session(Recorder()) as session:
        true = IPv4Address("TCP", "192.0.2.1", 4711)
        session.transport.set_addresses(true, true)
        assert session.transport.getPeer() == session.transport.getHost() == true


def test_the_lean_loop_knows_every_kind_of_transport_and_nothing_else():
    """What is a part of one only would be called without the care that others need."""
    from tcpd.net import sockets, tls_transport
    from tcpd.net.hot_path import LEAN_KINDS

    kinds = {
        *(sockets.Server, sockets.Client, sockets.UNIXServer, sockets.UNIXClient),
        *(tls_transport.TLSServer, tls_transport.TLSClient),
        *(tls_transport.TLSUNIXServer, tls_transport.TLSUNIXClient),
    }
    assert kinds <= LEAN_KINDS
    assert all(issubclass(kind, StreamTransport) for kind in LEAN_KINDS)
    assert StreamTransport not in LEAN_KINDS


class Answers(Recorder):
    """Answers by a function of the test's."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def dataReceived(self, data):
        super().dataReceived(data)
        self.answer(self.transport, data)


def test_a_producer_that_comes_amid_a_callback_is_paused_by_what_was_written_before():
    producer = mock.Mock()

    def answer(transport, data):
        transport.write(b"x" * transport.bufferSize)
        transport.registerProducer(producer, True)
        assert not producer.pauseProducing.called
        transport.write(b"y")
        assert producer.pauseProducing.called

    with Session(Answers(answer)) as session:
        session.send(b"go")
        assert session.observer.handler_failed.call_count == 0
        assert len(session.read(turns=20)) == StreamTransport.bufferSize + 1


def test_the_queue_is_told_right_amid_a_callback_and_after():
    queued = []

    def answer(transport, data):
        for _ in range(3):
            transport.write(b"x" * 100)
            queued.append(transport.queued)

    with Session(Answers(answer)) as session:
        session.send(b"go")
        assert queued == [100, 200, 300]
        assert session.transport.queued == 0


def test_a_callback_s_writes_wait_behind_what_is_queued():
    full = b"x" * HIGH_WATER

    with Session(Answers(lambda transport, data: transport.write(data))) as session:
        session.transport.write(full)
        session.reactor.turn()
        before = session.transport.queued
        assert before > 0
        session.send(b"tail")
        assert session.transport.queued == before + 4
        assert session.read(turns=100) == full + b"tail"
        assert session.transport.queued == 0


def test_what_is_written_amid_a_callback_after_the_end_goes_nowhere():
    def answer(transport, data):
        transport.connectionLost(Failure(ConnectionDone()))
        transport.write(b"too late")
        transport.writeSequence([b"too", b"late"])

    with Session(Answers(answer)) as session:
        session.send(b"go")
        assert session.transport.queued == 0
        assert session.read() == b""
        assert session.observer.handler_failed.call_count == 0


def test_nothing_at_all_is_written_by_writing_nothing_amid_a_callback():
    with Session(Answers(lambda transport, data: transport.write(b""))) as session:
        sends = counted_sends(session)
        session.send(b"go")
        assert sends == []


@pytest.mark.parametrize("wrong", ["text", bytearray(b"x"), None])
def test_only_bytes_can_be_written_amid_a_callback_too(wrong):
    caught = []

    def answer(transport, data):
        with pytest.raises(TypeError) as error:
            transport.write(wrong)
        caught.append(error)

    class Bytes(bytes):
        pass

    with Session(Answers(answer)) as session:
        session.send(b"go")
        assert len(caught) == 1
        session.protocol.answer = lambda transport, data: transport.write(Bytes(b"fine"))
        session.send(b"go")
        assert session.read() == b"fine"


def test_what_is_written_after_starttls_amid_a_callback_is_encrypted():
    def answer(transport, data):
        transport.write(b"go ahead\n")
        transport.startTLS(ssl.CertificateOptions())
        transport.write(b"a secret")

    with Session(Answers(answer)) as session:
        session.send(b"STARTTLS")
        got = session.read()
        assert got.startswith(b"go ahead\n")
        assert b"secret" not in got


def test_what_is_written_amid_a_callback_once_twisted_s_tls_has_begun_is_encrypted():
    with Session(Recorder()) as session:
        wrapper = mock.Mock()
        wrapper.dataReceived.side_effect = lambda data: session.transport.write(b"a secret")
        session.transport.protocol = wrapper
        session.transport.TLS = True
        sends = counted_sends(session)
        session.send(b"a record")
        assert sends == []
        wrapper.write.assert_called_once_with(b"a secret")


def test_a_producer_is_paused_by_what_a_callback_wrote_behind_a_queue():
    producer = mock.Mock()

    def answer(transport, data):
        transport.write(b"x" * transport.bufferSize)

    with Session(Answers(answer)) as session:
        session.transport.dataBuffer = b"queued"  # and the kernel takes no more
        session.transport.socket = mock.Mock(wraps=session.transport.socket)
        session.transport.socket.send.side_effect = BlockingIOError
        session.send(b"go")
        session.transport.registerProducer(producer, True)
        session.transport.write(b"y")
        assert producer.pauseProducing.called
