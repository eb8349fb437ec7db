"""Coroutines under a reactor that a test turns by hand."""

from twisted.internet.defer import Deferred

from tcpd.admin import turns

# Of the hand reactor, what is to be called at once is called before it looks at its sockets.
A_TURN = 0.001


def take_turns_at_everything(monkeypatch):
    """Have long work give the loop to others after each lot, for `A_TURN` seconds."""
    monkeypatch.setattr(turns, "LONGEST", -1)
    monkeypatch.setattr(turns, "soon", lambda reactor, call: reactor.callLater(A_TURN, call))


def done(reactor, coroutine, turns=1000):
    """Return what a coroutine returns, or raise what it raises; the reactor turns meanwhile."""
    results = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    for _ in range(turns):
        if results:
            break
        reactor.turn()
        reactor.advance(A_TURN)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result
