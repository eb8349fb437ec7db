"""The delays between tries: growing, bounded, shortened by chance, and started anew."""

from tcpd.client.backoff import Backoff


def delays(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_delay() for _ in range(count)]


def test_delays_double_up_to_the_maximum() -> None:
    assert delays(Backoff(maximum=3.0, chance=lambda: 0.0), 5) == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_maximum_holds_for_the_first_delay_too() -> None:
    assert delays(Backoff(maximum=0.1, chance=lambda: 0.0), 2) == [0.1, 0.1]


def test_chance_shortens_by_a_tenth_at_most() -> None:
    assert delays(Backoff(maximum=1.0, chance=lambda: 1.0), 3) == [0.45, 0.9, 0.9]


def test_only_a_connection_that_stood_starts_the_row_anew() -> None:
    backoff = Backoff(maximum=30.0, chance=lambda: 0.0)
    delays(backoff, 3)
    backoff.stood(1.9)  # it fell sooner than the 2 s that were waited for it
    assert backoff.next_delay() == 4.0
    backoff.stood(4.1)
    assert backoff.next_delay() == 0.5
