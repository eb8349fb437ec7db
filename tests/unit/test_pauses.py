"""How long a connector waits between two tries."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.config.schema import Reconnect
from tcpd.pauses import Pauses, pause
from tcpd.units import Seconds

STEADY = Reconnect(initial=Seconds(1), max=Seconds(8), factor=2.0, jitter=0.0)
RECONNECTS = st.builds(
    lambda initial, longer, factor, jitter: Reconnect(
        initial=Seconds(initial), max=Seconds(initial * longer), factor=factor, jitter=jitter
    ),
    st.floats(0.001, 1e6),
    st.floats(1, 1e6),
    st.floats(1, 100),
    st.floats(0, 1),
)


@given(RECONNECTS, st.integers(1, 10**9), st.floats(0, 1), st.floats(0, 1))
def test_pauses_keep_their_bounds(
    reconnect: Reconnect, attempt: int, chance: float, other: float
) -> None:
    nearly = 1 + 1e-9
    wait = pause(reconnect, attempt, chance)
    assert wait <= reconnect.max * nearly
    least = min(reconnect.initial, reconnect.max / (1 + reconnect.jitter))
    assert least <= wait * nearly
    # More failures never mean a shorter pause, and jitter alone makes the difference.
    assert pause(reconnect, attempt + 1, chance) * nearly >= wait
    spread = pause(reconnect, attempt, other)
    steady = pause(reconnect, attempt, 0)
    assert abs(spread - wait) <= steady * (reconnect.jitter + 1e-9)


@pytest.mark.parametrize(("attempt", "wait"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (500, 8)])
def test_pauses_without_jitter(attempt: int, wait: float) -> None:
    assert pause(STEADY, attempt, 0.5) == wait


def test_jitter_makes_a_pause_longer_by_a_part_of_it() -> None:
    spread = replace(STEADY, jitter=0.5)
    assert [pause(spread, 1, chance) for chance in (0, 0.5, 1)] == [1, 1.25, 1.5]
    assert pause(spread, 100, 1) == 8  # the cap holds


def test_pauses_begin_anew_after_a_connection_that_lasted() -> None:
    pauses = Pauses(STEADY)
    assert [pauses.next(lasted) for lasted in (None, None, 0.9, 1.0, None)] == [1, 2, 4, 1, 2]
    pauses.begin_anew()
    assert pauses.next(None) == 1


def test_other_pauses_hold_at_once() -> None:
    pauses = Pauses(STEADY)
    pauses.next(None)
    pauses.reconnect = replace(STEADY, factor=3.0)
    assert pauses.next(None) == 3
