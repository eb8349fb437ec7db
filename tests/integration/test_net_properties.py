"""Whatever a handler calls, wherever, and whatever its peer does: one end, and the bytes in order.

The transports, sockets and reactors are real; the reactors are turned by hand and never sleep. See
`helpers.properties` for how to have more examples tried.
"""

import contextlib
import os
import select
import socket
import ssl
import time
from importlib import import_module

import pytest
import trustme
from helpers.net_peer import Peer
from helpers.properties import examples, with_examples_of_its_own
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpd.net.lingering import lingering_on
from tcpd.net.network import Network
from tcpd.net.tls import ClientTLS, ServerTLS

REACTORS = {"stock": "twisted.internet.epollreactor", "tcpd": "tcpd.net.reactor"}
KINDS = ["tcp server", "tcp client", "unix server", "tls server", "tls client", "tls unix server"]
LIMIT = 3.0

# -- what may happen -------------------------------------------------------------------------

# Each is taken as often as its weight says; None is nothing at all, and what failures shrink to.
CALLS = [
    (80, None),
    *((16, ("write", size)) for size in (1, 1000, 100_000, 400_000)),
    *((8, ("sequence", size)) for size in (2, 30_000)),
    *((8, (call,)) for call in ("pause", "resume", "push producer", "pull producer", "unproduce")),
    *((16, (call,)) for call in ("lose", "lose write")),
    *((8, (call,)) for call in ("abort", "reset", "raise")),
]
EVENTS = [
    (39, None),
    *((16, ("send", size)) for size in (1, 70_000, 300_000)),
    (50, ("later",)),
    *((20, (event,)) for event in ("turn", "turns")),
    *((16, (event,)) for event in ("stop reading", "nibble", "read on", "finish")),
    *((5, (event,)) for event in ("reset", "close", "cut")),
]
CUTS = {"abort", "reset", "raise", "close", "cut"}
# The callbacks, how many of their calls are scripted, and by how many steps each.
CALLBACKS = {
    "made": (1, 3),
    "data": (3, 2),
    "read lost": (1, 2),
    "write lost": (1, 2),
    "resume": (2, 2),
    "pause": (1, 1),
    "stop": (1, 1),
    "lost": (1, 1),
}
COURSE = 12


def table(weighted):
    return [what for weight, what in weighted for _ in range(weight)]


CALLS, EVENTS = table(CALLS), table(EVENTS)
assert len(CALLS) == len(EVENTS) == 256, (len(CALLS), len(EVENTS))
SIZE = 1 + sum(times * steps for times, steps in CALLBACKS.values()) + 3 * COURSE


def play_of(numbers):
    """A play: whether the handler knows of half-close, what it does where, and what is done to it.

    Lists of strategies would mostly give plays that are short or much alike; this gives each step
    a number of its own.
    """
    numbers = iter(numbers)
    first = next(numbers)
    peaceful = bool(first & 2)  # with neither aborts nor failures nor resets: all must get through

    def step(choices):
        what = choices[next(numbers)]
        return None if what is None or (peaceful and what[0] in CUTS) else what

    def calls(steps):
        return [call for call in [step(CALLS) for _ in range(steps)] if call]

    script = {
        where: [calls(steps) for _ in range(times)] for where, (times, steps) in CALLBACKS.items()
    }
    course = []
    for _ in range(COURSE):
        event, done_then = step(EVENTS), calls(2)
        if event == ("later",):
            event = ("later", done_then)
        if event:
            course.append(event)
    return bool(first & 1), {where: done for where, done in script.items() if any(done)}, course


PLAYS = st.binary(min_size=SIZE, max_size=SIZE).map(play_of)


class AsToldError(Exception):
    """What a handler raises, when its script says so."""


class Handler(Protocol):
    """Makes the calls of its script, and notes everything."""

    def __init__(self, script):
        self.script = {where: list(calls) for where, calls in script.items()}
        self.deaf = False  # whether it needn't hear all that its peer says
        self.told = []
        self.heard = b""
        self.written = b""
        self.raised = 0
        self.closing = False  # whether anybody may have ended it already
        self.cut_short = False  # whether it needn't have got everything through
        self.wrote_last = False  # whether the peer may rightly see the end before an abort
        self.closed = 0
        self.failures = 0
        self.transport = None

    # As the transport's observer.

    def transport_closed(self, reason):
        assert self.told[-1] == "lost", "the observer is told after the handler"
        self.closed += 1

    def handler_failed(self, failure):
        assert failure.check(AsToldError), failure.getTraceback()
        self.failures += 1

    # As a protocol.

    def makeConnection(self, transport):
        transport.observer = self
        # So small that much of what is written doesn't fit.
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.descriptor = transport.fileno()
        self.inode = os.fstat(self.descriptor).st_ino
        super().makeConnection(transport)

    def connectionMade(self):
        self.note("made")
        self.act("made")

    def dataReceived(self, data):
        self.note("data")
        self.heard += data
        self.act("data")

    def connectionLost(self, reason):
        assert self.told.count("made") == 1
        self.note("lost")
        self.closing = True
        self.act("lost")

    def note(self, what):
        assert "lost" not in self.told, f"{what} after the end"
        self.told.append(what)

    # As a producer.

    def pauseProducing(self):
        self.act("pause")

    def resumeProducing(self):
        self.act("resume")

    def stopProducing(self):
        self.act("stop")

    # The script.

    def act(self, where):
        calls = self.script.get(where)
        if calls:
            self.perform(calls.pop(0))

    def perform(self, calls):
        for call, *arguments in calls:
            getattr(self, "call_" + call.replace(" ", "_"))(*arguments)

    def call_write(self, size):
        data = self._some(size)
        self._count(self.transport.write, data, data)

    def call_sequence(self, size):
        data = self._some(size)
        self._count(self.transport.writeSequence, data, [data[: size // 3], data[size // 3 :]])

    def _some(self, size):
        number = b"%09d|" % len(self.written)
        return (number * (size // 10 + 1))[:size]

    def _count(self, write, data, argument):
        """Write, and note whether it was taken: it must be as long as nothing has ended."""
        transport = self.transport
        before = transport.bytes_out + transport.queued
        place = len(self.written)
        self.written += data  # already now, since a producer may be paused in this call, and write
        try:
            write(argument)
        finally:
            taken = transport.bytes_out + transport.queued > before
            if not taken:
                self.written = self.written[:place] + self.written[place + len(data) :]
        assert taken or self.closing

    def call_lose(self):
        self.closing = self.deaf = True
        self.transport.loseConnection()

    def call_abort(self):
        self.closing = self.cut_short = True
        self.transport.abortConnection()

    def call_reset(self):
        self.closing = self.cut_short = True
        self.transport.reset_connection()

    def call_pause(self):
        self.deaf = True
        self.transport.pauseProducing()

    def call_resume(self):
        self.transport.resumeProducing()

    def call_lose_write(self):
        self.closing = self.wrote_last = True
        self.transport.loseWriteConnection()

    def call_push_producer(self):
        if self.transport.producer is None:
            self.transport.registerProducer(self, True)

    def call_pull_producer(self):
        if self.transport.producer is None:
            self.transport.registerProducer(self, False)

    def call_unproduce(self):
        self.transport.unregisterProducer()

    def call_raise(self):
        self.closing = True
        self.cut_short = self.cut_short or "lost" not in self.told
        self.raised += 1
        raise AsToldError


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Handler):
    def readConnectionLost(self):
        self.note("read lost")
        self.act("read lost")

    def writeConnectionLost(self):
        self.note("write lost")
        self.act("write lost")


# -- the reactors and what connects on them --------------------------------------------------


class World(ClientFactory):
    """A reactor that is turned by hand, and a way to connect on it."""

    noisy = False

    def __init__(self, reactor_module, kind, directory):
        self.kind = kind
        self.name = f"{reactor_module} {kind}"
        self.reactor = import_module(reactor_module).EPollReactor()
        self.reactor._registerAsIOThread = False
        self.reactor.startRunning(installSignalHandlers=False)
        self.always = set(self.reactor.getReaders())
        self.handler = None
        self.released = 0
        self.client_losses = 0
        self.tls_at_peer = None
        server_tls = client_tls = None
        if "tls" in kind:
            server_tls, client_tls = self._make_tls(directory)
        self.network = Network(self.reactor, server_tls, client_tls)
        if "client" in kind:
            self.listening = socket.create_server(("127.0.0.1", 0))
        elif "unix" in kind:
            self.path = os.path.join(directory, f"{reactor_module}.{kind}"[-60:].replace(" ", "-"))
            self.port = self.network.listenUNIX(self.path, self)
        else:
            self.port = self.network.listenTCP(0, self, interface="127.0.0.1")
        if "server" in kind:
            self.always.add(self.port)
            self.port.descriptor_released = self.descriptor_released

    def _make_tls(self, directory):
        authority = trustme.CA()
        authority_file = os.path.join(directory, "ca.pem")
        authority.cert_pem.write_to_path(authority_file)
        issued = authority.issue_cert("localhost")
        certificate = os.path.join(directory, "server.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        if "server" in self.kind:
            self.tls_at_peer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            authority.configure_trust(self.tls_at_peer)
            return ServerTLS(certificate), None
        self.tls_at_peer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(self.tls_at_peer)
        return None, ClientTLS("localhost", authority_file)

    def close(self):
        self.reactor.stop()
        self.reactor.iterate(0)
        assert set(self.reactor.getReaders()) <= self.always
        if "client" in self.kind:
            self.listening.close()

    # As a factory and a port.

    def buildProtocol(self, address):
        return self.handler

    def descriptor_released(self):
        self.released += 1

    def clientConnectionLost(self, connector, reason):
        self.client_losses += 1

    # Turning.

    def meet(self, handler):
        """Connect a handler; gives its peer, once connectionMade has been called."""
        self.handler = handler
        self.released = self.client_losses = 0
        sock = None
        if "client" in self.kind:
            self.network.connectTCP("127.0.0.1", self.listening.getsockname()[1], self)
            self.turn()
            sock = self.listening.accept()[0]
        elif "unix" in self.kind:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.path)
        else:
            sock = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        peer = Peer(sock, self.tls_at_peer, server_side="client" in self.kind)
        self.turn_until(lambda: "made" in handler.told and (peer.shaken or peer.end), peer)
        return peer

    def turn(self, times=1):
        for _ in range(times):
            self.reactor.iterate(0)

    def turn_until(self, done, peer):
        """Serve both sides until it is done, or nothing more will happen by itself."""
        deadline = time.monotonic() + LIMIT
        while not done():
            moved = peer.pump()
            self.turn()
            if not moved and not self._wait(peer):
                return
            assert time.monotonic() < deadline, "it goes on for ever"

    def _wait(self, peer):
        """Wait for something to do; gives False if there is nothing and nothing on its way."""
        reactor = self.reactor
        now = reactor.seconds()
        if any(call.getTime() <= now for call in reactor.getDelayedCalls()):
            return True
        readers = [reactor._poller]
        writers = []
        if peer.sock.fileno() >= 0:
            if peer.reading and not peer.end:
                readers.append(peer)
            if peer.wants_to_write():
                writers.append(peer)
        if any(select.select(readers, writers, [], 0)):
            return True
        # A kernel may have something under way to itself, or sit on an acknowledgement.
        return self._under_way(peer) and any(select.select(readers, writers, [], 1.0))

    def _under_way(self, peer):
        return bool(self.reactor.getWriters()) and peer.reading

    @contextlib.contextmanager
    def left_clean(self):
        """Have one example's failure not be the next one's as well."""
        try:
            yield
        except BaseException:
            for left in self.leftovers():
                with contextlib.suppress(Exception):
                    if hasattr(left, "cancel"):
                        left.cancel()
                    else:
                        left.connectionLost(Failure(ConnectionDone()))
            raise

    def leftovers(self):
        """What the reactor still watches or waits for."""
        reactor = self.reactor
        watched = {*reactor.getReaders(), *reactor.getWriters()} - self.always
        return [*watched, *reactor.getDelayedCalls()]


@pytest.fixture(scope="module", params=[(r, k) for r in REACTORS for k in KINDS], ids="-".join)
def world(request, tmp_path_factory):
    reactor, kind = request.param
    with contextlib.closing(World(REACTORS[reactor], kind, tmp_path_factory.mktemp("w"))) as made:
        yield made


@pytest.fixture
def log():
    """What was logged as an error; and nothing may be."""
    errors = []

    def observe(event):
        if event["log_level"].name in ("error", "critical"):
            errors.append(event.get("log_failure") or event)

    globalLogPublisher.addObserver(observe)
    yield errors
    globalLogPublisher.removeObserver(observe)


# -- the property ----------------------------------------------------------------------------


def found(play, half_closeable=False, **script):
    """A play that has once ended as it must not."""
    calls = {where.replace("_", " "): [steps] for where, steps in script.items()}
    return example(play=(half_closeable, calls, play))


ABORT, LOSE, LOSE_WRITE, PAUSE, RAISE = (
    ("abort",),
    ("lose",),
    ("lose write",),
    ("pause",),
    ("raise",),
)


@examples(100)
@given(play=PLAYS)
# Ended in order, though aborted, since the failure came on top of it.
@found([], made=[ABORT, RAISE])
# Heard writeConnectionLost twice; with TLS, a second close_notify went out.
@found([("finish",)], half_closeable=True, read_lost=[LOSE_WRITE], write_lost=[LOSE_WRITE])
# Was over amid its own callback, so that what it raised then was told to nobody.
@found([], half_closeable=True, made=[LOSE_WRITE], write_lost=[LOSE, RAISE])
# Was never sent: it was written amid the write that paused the producer.
@found(
    [("send", 1), ("turn",), ("later", [("write", 100_000)])],
    data=[("push producer",)],
    pause=[("write", 1)],
)
# Counted as lost, though both sides had finished: epoll said so, asked about a side shut down.
@found([("send", 1), ("turn",), ("turn",), ("finish",)], data=[("push producer",), LOSE_WRITE])
@found([("later", [PAUSE, LOSE_WRITE]), ("finish",)], half_closeable=True, write_lost=[LOSE_WRITE])
@found(
    [
        ("later", [PAUSE, LOSE_WRITE]),
        *(("finish",), ("turn",)),
        ("later", [LOSE, ("unproduce",)]),
    ]
)
# Failed over TLS: it wrote while the close_notify waited.
@found(
    [
        *(("send", 1), ("later", [("sequence", 30_000)]), ("later", [("write", 100_000)])),
        *(("turn",), ("later", [("write", 1)])),
    ],
    data=[LOSE],
)
# Saw a reset in place of the end, for what it sent wasn't read.
@found([("send", 1), ("later", [("write", 10), LOSE]), ("turn",), ("send", 1)])
# Never ended: the producer came while the close_notify waited.
@found(
    [
        ("later", [("write", 100_000), LOSE]),
        ("later", [("sequence", 30_000)]),
        ("nibble",),
        ("later", [("pull producer",)]),
    ]
)
def any_session(world, log, play):
    """Play a session through, and hold its end against what must be."""
    half_closeable, script, course = play
    handler = (HalfCloseable if half_closeable else Handler)(script)
    log.clear()
    with contextlib.closing(world.meet(handler)) as peer, world.left_clean():
        assert handler.told[:1] == ["made"]
        for event in course:
            take_part(world, handler, peer, *event)
        end_of(world, handler, peer)
        check(world, handler, peer)
        assert not log, log


def test_any_session_ends_once_with_all_its_bytes_in_order(world, log):
    with_examples_of_its_own(any_session, world.name)(world, log)


def take_part(world, handler, peer, event, *arguments):
    if event == "later":
        if "lost" not in handler.told:
            world.reactor.callLater(0, later, handler, arguments[0])
    elif event == "turn":
        peer.pump()
        world.turn()
    elif event == "turns":
        for _ in range(5):
            peer.pump()
            world.turn()
    elif event == "nibble":
        peer.reading = False
        peer.nibble(3000)
        world.turn()
    elif event == "stop reading":
        peer.reading = False
    elif event == "read on":
        peer.reading = True
    elif event == "send":
        peer.send(b"p%08d|" % len(peer.sent) * (arguments[0] // 10 + 1))
    else:
        if event in ("reset", "close", "cut"):
            # Of these, a close may be one that nobody could answer any more.
            handler.closing = handler.cut_short = True
        getattr(peer, event)()
    if event == "finish":
        handler.closing = True  # a handler that doesn't know of half-close may end any time now


def later(handler, calls):
    """Do as told outside any callback of the transport's; what that raises is nobody's business."""
    if "lost" in handler.told:
        return
    try:
        handler.perform(calls)
    except AsToldError:
        handler.raised -= 1


def end_of(world, handler, peer):
    """Let it end, asking for it if need be; then the peer goes, too."""

    def lost():
        return "lost" in handler.told

    peer.reading = True
    world.turn_until(lost, peer)
    if not lost():  # paused, half-closed, waiting for a producer, or simply content
        assert not {"read lost", "write lost"} <= set(handler.told), "nobody has more to say"
        assert handler.cut_short or not differ(peer.got, handler.written), "it is stuck"
        assert handler.deaf or handler.cut_short or not differ(handler.heard, peer.sent), (
            "it is deaf"
        )
        calls = [("resume",), ("unproduce",), ("lose",)]
        world.reactor.callLater(0, later, handler, calls)
        world.turn_until(lost, peer)
    world.turn_until(lambda: peer.end != "", peer)
    peer.close()
    world.turn_until(lambda: not len(lingering_on(world.reactor)) and not world.leftovers(), peer)


def differ(got, expected):
    """Where two streams differ; pytest would compare them at length."""
    if got == expected:
        return ""
    pairs = zip(got, expected, strict=False)
    same = next((place for place, (one, other) in enumerate(pairs) if one != other), None)
    return f"{len(got)} bytes in place of {len(expected)}; the first that differs is {same}"


def check(world, handler, peer):
    transport = handler.transport
    assert handler.told.count("made") == handler.told.count("lost") == 1
    assert handler.told.count("read lost") <= 1
    assert handler.told.count("write lost") <= 1
    assert handler.closed == 1
    assert handler.failures == handler.raised
    assert transport.close_cause in {
        *("peer-closed", "handler-closed", "handler-aborted", "peer-reset", "handler-failed"),
        "lost",
    }
    if "server" in world.kind:
        assert world.released == 1
    else:
        assert world.client_losses == 1

    # Nothing stays behind.
    assert transport.queued == 0
    assert world.leftovers() == []
    with contextlib.suppress(OSError):
        assert os.fstat(handler.descriptor).st_ino != handler.inode, "the descriptor is open"

    # The bytes, both ways.
    assert not differ(peer.got, handler.written[: len(peer.got)])
    assert not differ(handler.heard, peer.sent[: len(handler.heard)])
    if transport.close_cause == "peer-closed" and not handler.cut_short:
        assert not differ(handler.heard, peer.sent)
    if not handler.cut_short:
        assert not differ(peer.got, handler.written)
        assert peer.end == "eof"
        assert transport.close_cause in ("peer-closed", "handler-closed")
    elif transport.close_cause.startswith("handler-a") or transport.close_cause == "handler-failed":
        may_be_cut = handler.wrote_last or "unix" in world.kind
        assert may_be_cut or peer.end in ("reset", "closed")
