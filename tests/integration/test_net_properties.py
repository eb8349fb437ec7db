"""Whatever a handler calls, wherever, and whatever its peer does: one end, and the bytes in order.

The transports, sockets and reactors are real; the reactors are turned by hand and never sleep. See
`helpers.properties` for how to have more examples tried.
"""

import contextlib
import os

import pytest
from helpers.net_plays import PLAYS, AsToldError, HalfCloseable, Handler
from helpers.net_world import World
from helpers.properties import examples, with_examples_of_its_own
from hypothesis import example, given
from twisted.logger import globalLogPublisher

from tcpd.net.lingering import lingering_on

REACTORS = {"stock": "twisted.internet.epollreactor", "tcpd": "tcpd.net.reactor"}
KINDS = ["tcp server", "tcp client", "unix server", "tls server", "tls client", "tls unix server"]


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
