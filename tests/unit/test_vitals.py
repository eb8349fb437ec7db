"""How the process fares: the loop's lag, and the reloads."""

import pytest
from twisted.internet.task import Clock

from tcpd.events import Bus, ConfigurationRefused, ConfigurationReloaded
from tcpd.vitals import EVERY, LAGS, RECENT, Vitals


class LateClock(Clock):
    """Whose calls come as late as the test says."""

    def pass_late(self, late):
        """Let one look come so much later than due."""
        self.advance(EVERY + late)


@pytest.fixture
def clock():
    return LateClock()


@pytest.fixture
def vitals(clock):
    vitals = Vitals(Bus(), clock)
    vitals.start()
    return vitals


def test_a_loop_on_time_has_no_lag(vitals, clock) -> None:
    for _ in range(10):
        clock.advance(EVERY)
    assert (vitals.lag, vitals.lag_max) == (0, 0)
    assert vitals.lags.counts[0] == vitals.lags.count == 10


def test_a_late_loop_shows_until_a_minute_has_passed(vitals, clock) -> None:
    clock.pass_late(0.2)
    assert vitals.lag == pytest.approx(0.2)
    clock.pass_late(0.03)
    assert vitals.lag == pytest.approx(0.03)
    assert vitals.lag_max == pytest.approx(0.2)
    assert vitals.lags.counts[sum(bound < 0.2 for bound in LAGS)] == 1
    for _ in range(int(RECENT / EVERY) + 1):
        clock.advance(EVERY)
    assert vitals.lag_max == 0


def test_the_worst_is_kept_beside_lesser_ones_that_come_later(vitals, clock) -> None:
    for late in (0.1, 0.5, 0.2, 0.3):
        clock.pass_late(late)
    assert vitals.lag_max == pytest.approx(0.5)
    clock.pass_late(0.7)
    assert vitals.lag_max == pytest.approx(0.7)


def test_nothing_is_left_after_a_stop(vitals, clock) -> None:
    vitals.stop()
    vitals.stop()
    assert clock.getDelayedCalls() == []


def test_two_starts_are_one(vitals, clock) -> None:
    vitals.start()
    assert len(clock.getDelayedCalls()) == 1


def test_uptime_is_counted_from_the_beginning(vitals, clock) -> None:
    clock.advance(12.5)
    assert vitals.uptime == 12.5


def test_reloads_are_remembered(clock) -> None:
    bus = Bus()
    vitals = Vitals(bus, clock)
    assert vitals.last_reload is None
    bus.emit(ConfigurationReloaded(changes=("listener a is new",), duration=0.1))
    assert vitals.last_reload.ok
    assert vitals.last_reload.words == ("listener a is new",)
    bus.emit(ConfigurationRefused(errors=("no",), duration=0.1))
    assert (vitals.reloads, vitals.refused_reloads) == (1, 1)
    assert not vitals.last_reload.ok
