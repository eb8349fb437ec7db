"""The admin side's work, in turns."""

import pytest
from helpers.net_loop import HandReactor
from twisted.internet.defer import Deferred

from tcpd.admin import turns
from tcpd.admin.turns import Turns, soon


class Loop:
    """Runs what is to be called later only when it is told to, once around."""

    def __init__(self):
        self.calls = []

    def callLater(self, delay, call, *arguments):
        assert delay == 0
        self.calls.append((call, arguments))

    def turn(self):
        calls, self.calls = self.calls, []
        for call, arguments in calls:
            call(*arguments)


def test_however_many_want_something_they_have_one_turn_together(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST", 0.0)
    loop, done = Loop(), []

    async def work(name):
        mine = Turns(loop)
        for step in range(3):
            await mine.others()
            done.append((name, step))

    working = [Deferred.fromCoroutine(work(name)) for name in range(10)]
    around = 0
    while not all(each.called for each in working):
        before = len(done)
        loop.turn()
        around += 1
        assert len(done) - before <= 1
    assert len(done) == 30
    assert around >= 30


def test_who_is_in_a_hurry_waits_for_few_and_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST", 0.0)
    loop, done = Loop(), []

    def again():
        done.append("first")
        soon(loop, again, first=True)

    for number in range(5):
        soon(loop, lambda number=number: done.append(number))
    soon(loop, again, first=True)
    for _ in range(5):
        loop.turn()
    assert done == ["first", 0, "first", 1, "first", 2, "first", 3, "first", 4]


def test_a_turn_is_a_tenth_of_what_the_others_take_within_bounds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    loop = Loop()
    share = turns.Share()
    seen = []

    def again():
        seen.append(share.turn)
        share.soon(loop, again)
        now[0] += 1  # more than any turn may take

    share.soon(loop, again)
    for others_take in (0.0, 0.0005, 0.01, 0.02, 5.0):
        now[0] += others_take
        loop.turn()
    assert seen == [turns.TURN, turns.TURN, pytest.approx(0.001), pytest.approx(0.002), 0.003]


def test_a_call_that_fails_keeps_no_other_from_its_turn():
    reactor, done = HandReactor(), []
    soon(reactor, lambda: 1 / 0)
    soon(reactor, lambda: done.append(1))
    try:
        reactor.turn()
    except ZeroDivisionError:
        pass
    reactor.turn()
    assert done == [1]
