"""Token buckets: how fast, how many at once, and that memory stays bounded."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.admission import rates
from tcpd.admission.rates import Rates


def taken(bucket, tries, now, key=1):
    return sum(bucket.take(key, now) for _ in range(tries))


@pytest.mark.parametrize("start", [0.0, 1e5, 1e7])
@pytest.mark.parametrize(
    ("rate", "burst"), [(50.0, 50), (0.1, 5), (3.0, 1), (1e4, 1000), (1 / 3, 7)]
)
def test_a_burst_at_once_and_then_the_rate(rate, burst, start):
    bucket = Rates(rate, burst, start)
    assert taken(bucket, 2 * burst, start) == burst
    assert taken(bucket, 1, start + 0.9 / rate) == 0
    assert taken(bucket, 2, start + 1.01 / rate) == 1
    assert taken(bucket, 2 * burst + 5, start + (burst + 2) / rate) == burst


def test_addresses_have_buckets_of_their_own():
    bucket = Rates(1.0, 2, 0.0)
    assert taken(bucket, 5, 0.0, key=1) == 2
    assert taken(bucket, 5, 0.0, key=2) == 2


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200), st.integers(1, 20))
def test_no_more_than_burst_and_rate_in_any_stretch_of_time(pauses, burst):
    bucket = Rates(2.0, burst, 100.0)
    now, times = 100.0, []
    for pause in pauses:
        now += pause / 10
        if bucket.take(7, now):
            times.append(now)
    for first, begin in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + (times[last] - begin) * 2.0 + 0.01


def test_full_buckets_are_forgotten_without_loss():
    bucket = Rates(1.0, 5, 0.0)
    for key in range(1000):
        bucket.take(key, 0.0)
    assert len(bucket) == 1000
    bucket.take(-1, 5.0)
    bucket.take(-1, 10.0)
    assert len(bucket) == 1


def test_an_empty_bucket_outlives_the_turn_of_a_generation():
    bucket = Rates(1.0, 5, 0.0)
    assert bucket.take(1, 0.0)
    assert taken(bucket, 9, 4.9) == 5
    bucket.take(2, 5.0)  # turns
    assert taken(bucket, 9, 5.1) == 0
    assert bucket.take(1, 6.0)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(rates, "GENERATION", 1000)


@pytest.mark.usefixtures("small")
def test_a_spray_of_addresses_takes_no_more_than_two_generations():
    bucket = Rates(1 / 86400, 1, 0.0)
    most = 0
    for key in range(10_000):
        bucket.take(key, key * 1e-4)
        most = max(most, len(bucket))
    assert most == 2000


def test_a_hundred_thousand_sprayed_addresses_are_all_known_and_bounded():
    bucket = Rates(1 / 86400, 1, 0.0)
    for key in range(100_000):
        assert bucket.take(key, 0.0)
    assert not any(bucket.take(key, 1.0) for key in range(40_000, 100_000))
    for key in range(100_000, 300_000):
        bucket.take(key, 1.0)
        assert len(bucket) <= 2 * rates.GENERATION


@pytest.mark.usefixtures("small")
def test_who_keeps_trying_amid_a_spray_is_not_forgotten():
    bucket = Rates(1 / 86400, 1, 0.0)
    assert bucket.take(-1, 0.0)
    for key in range(50_000):
        bucket.take(key, 1.0)
        if key % 900 == 0:
            assert not bucket.take(-1, 1.0)


@pytest.mark.usefixtures("small")
def test_to_be_forgotten_takes_a_generation_of_other_addresses():
    bucket = Rates(1 / 86400, 1, 0.0)
    keys = count()
    assert bucket.take(-1, 0.0)
    for _ in range(998):
        bucket.take(next(keys), 0.0)
    assert not bucket.take(-1, 0.0)
    for _ in range(999):
        bucket.take(next(keys), 0.0)
    assert not bucket.take(-1, 0.0)


def test_another_rate_keeps_what_is_missing():
    bucket = Rates(1 / 17280, 5, 0.0)  # 5 a day
    assert taken(bucket, 9, 0.0) == 5
    bucket.configure(10.0, 5, 1.0)
    assert taken(bucket, 9, 1.0) == 0  # still empty
    assert taken(bucket, 9, 1.11) == 1  # but it fills at the new rate
    assert taken(bucket, 99, 100.0) == 5
    bucket.configure(10.0, 2, 100.0)
    assert taken(bucket, 9, 100.11) == 1
    assert taken(bucket, 9, 200.0) == 2
