"""Signals, answered in a turn of the reactor's loop; the process's own are put back after."""

import signal

import pytest
from twisted.internet.task import Clock

from tcpd.signals import Signals, begin

ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGHUP)


class Reactor(Clock):
    """What signals ask of a reactor; `start` installs its own handlers as Twisted's do."""

    def __init__(self):
        super().__init__()
        self.queue = []
        self.triggers = []

    def addSystemEventTrigger(self, phase, event, call):
        self.triggers.append((phase, event, call))

    def callWhenRunning(self, call):
        self.triggers.append(("after", "startup", call))

    def callFromThread(self, call, *arguments):
        self.queue.append((call, arguments))

    def fire(self, phase, event):
        for each, which, call in self.triggers:
            if (each, which) == (phase, event):
                call()

    def start(self):
        self.fire("before", "startup")
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGTERM, self.stop)
        self.fire("after", "startup")

    def stop(self, number, frame):
        raise AssertionError("the reactor's own handler")

    def turn(self):
        queue, self.queue = self.queue, []
        for call, arguments in queue:
            call(*arguments)


@pytest.fixture(autouse=True)
def _signals_as_they_were():
    before = {number: signal.getsignal(number) for number in ALL}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def answered():
    return []


@pytest.fixture
def signals(reactor, answered):
    return Signals(reactor, {each: lambda each=each: answered.append(each) for each in ALL})


def come(number):
    signal.raise_signal(number)  # to this thread: the whole process may have others


@pytest.mark.parametrize("number", ALL)
@pytest.mark.parametrize("started", [False, True])
def test_each_is_answered_in_a_turn_of_its_own(reactor, signals, answered, number, started) -> None:
    signals.heed()
    if started:
        reactor.start()
    come(number)
    assert answered == []
    reactor.turn()
    assert answered == [number]


def test_one_that_comes_while_the_reactor_starts_is_answered(reactor, signals, answered) -> None:
    signals.heed()
    reactor.fire("before", "startup")
    signal.signal(signal.SIGTERM, reactor.stop)
    come(signal.SIGTERM)
    reactor.fire("after", "startup")
    reactor.turn()
    assert answered == [signal.SIGTERM]


def test_a_hup_that_comes_before_is_answered_too(reactor, signals, answered) -> None:
    signal.signal(signal.SIGHUP, lambda number, frame: pytest.fail("it would end the process"))
    begin()
    come(signal.SIGHUP)
    signals.heed()
    reactor.start()
    reactor.turn()
    assert answered == [signal.SIGHUP]


def test_a_ctrl_c_before_is_no_exception_and_one_after_is_answered(
    reactor, signals, answered
) -> None:
    begin()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    signals.heed()
    reactor.start()
    come(signal.SIGINT)
    reactor.turn()
    assert answered == [signal.SIGINT]


def test_a_ctrl_c_that_is_somebody_elses_stays_so_from_the_beginning() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_one_that_comes_twice_is_answered_once_but_for_term(reactor, signals, answered) -> None:
    signals.heed()
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
        come(number)
    reactor.turn()
    assert answered == [signal.SIGHUP, signal.SIGTERM, signal.SIGTERM]
    come(signal.SIGHUP)
    reactor.turn()
    assert answered[3:] == [signal.SIGHUP]


def test_what_the_process_was_started_to_ignore_stays_ignored(reactor, signals, answered) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    signals.heed()
    reactor.start()
    come(signal.SIGINT)
    come(signal.SIGQUIT)
    reactor.turn()
    assert answered == []


def test_a_debuggers_interrupt_stays_its_own(reactor, signals, answered) -> None:
    heard = []
    signals.heed()
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))  # twistd --debug
    reactor.start()
    come(signal.SIGINT)
    reactor.turn()
    assert (heard, answered) == ([signal.SIGINT], [])


def test_after_the_end_they_are_ignored(reactor, signals, answered) -> None:
    signals.heed()
    reactor.start()
    reactor.fire("after", "shutdown")
    for number in ALL:
        come(number)
    reactor.turn()
    assert answered == []


def test_who_heeds_twice_heeds_once(reactor, signals) -> None:
    signals.heed()
    signals.heed()
    assert len(reactor.triggers) == 3
