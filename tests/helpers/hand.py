"""Coroutines under a reactor that a test turns by hand."""

from twisted.internet.defer import Deferred


def done(reactor, coroutine, turns=1000):
    """Return what a coroutine returns, or raise what it raises; the reactor turns meanwhile."""
    results = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    for _ in range(turns):
        if results:
            break
        reactor.turn()
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result
