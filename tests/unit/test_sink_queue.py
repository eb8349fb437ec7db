"""The queue between the reactor and a sink: bounded both ways, and nobody waits who must not."""

import threading

import pytest
from helpers.sinks import PATIENCE, record, records, said

from tcpd.sinks.record_queue import RecordQueue


def take(queue, timeout=0.0):
    return [each.sequence for each in queue.take(0.0, timeout)]


def test_records_come_out_in_order_a_batch_at_a_time():
    queue = RecordQueue(10, 10**6, 2)
    for each in records(3):
        queue.offer(each)
    assert (take(queue), take(queue), take(queue)) == ([1, 2], [3], [])


def test_what_does_not_fit_is_refused_until_a_batch_is_done_with():
    queue = RecordQueue(3, 10**6, 2)
    for each in records(5):
        queue.offer(each)
    batch = queue.take(0, 0)
    queue.offer(record(6))
    assert (queue.queued, queue.refused) == (3, 3)
    queue.done(batch)
    queue.offer(record(7))
    assert (queue.queued, queue.refused) == (2, 3)
    assert take(queue) == [3, 7]


def test_it_is_bounded_in_bytes_too():
    one = record(1)
    queue = RecordQueue(100, 2 * one.size, 100)
    for each in records(3):
        queue.offer(each)
    assert (queue.queued, queue.refused, queue.queued_size) == (2, 1, 2 * one.size)
    queue.done(queue.take(0, 0))
    assert queue.queued_size == 0
    queue.offer(record(event=said("e", x="x" * 5000)))
    assert queue.refused == 2


def in_thread(call):
    """Run something in a thread; gives the thread and the list that will have its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    return thread, results


@pytest.mark.parametrize("end", ["offer", "wake", "close"])
def test_who_waits_for_a_record_is_woken(end):
    queue = RecordQueue(10, 10**6, 1)
    thread, results = in_thread(lambda: queue.take(PATIENCE, None))
    {"offer": lambda: queue.offer(record()), "wake": queue.wake, "close": queue.close}[end]()
    thread.join(PATIENCE)
    assert [len(batch) for batch in results] == [1 if end == "offer" else 0]


def test_the_first_of_a_batch_waits_for_the_others_until_the_batch_is_full():
    queue = RecordQueue(10, 10**6, 3)
    thread, results = in_thread(lambda: queue.take(PATIENCE, None))
    for each in records(3):
        queue.offer(each)
    thread.join(PATIENCE)
    assert [len(batch) for batch in results] == [3]


LARGE = said("e", x="x" * 7000)


@pytest.mark.parametrize(
    ("bounds", "offered"),
    [
        ((200, 10**9), records(100)),
        ((5, 10**9), records(3)),
        ((1, 10**9), records(1)),
        ((10_000, 65_536), [record(event=LARGE)] * 5),
        ((10_000, record(event=LARGE).size), [record(event=LARGE)]),
    ],
    ids=["few", "odd", "one", "little memory", "one large"],
)
def test_nor_does_it_wait_once_the_queue_is_half_full(bounds, offered):
    queue = RecordQueue(*bounds, 500)
    *others, last = offered
    for each in others:
        queue.offer(each)
    assert not queue._enough.is_set()
    thread, results = in_thread(lambda: queue.take(10 * PATIENCE, None))
    queue.offer(last)
    thread.join(PATIENCE)
    assert results == [offered]


def test_nor_once_something_did_not_fit():
    small, large = record(), record(event=said("e", x="x" * 7000, y="y" * 7000))
    queue = RecordQueue(100, large.size + small.size, 500)
    for _ in range(2):
        queue.offer(small)
    assert queue.queued_size < queue._half_size
    assert not queue._enough.is_set()
    queue.offer(large)
    assert (queue.refused, queue._enough.is_set()) == (1, True)


@pytest.mark.parametrize("full_by", ["count", "size"])
def test_what_came_while_it_wrote_does_not_wait_either_once_it_is_half_full(full_by):
    each = record()
    bounds = (4, 10**9) if full_by == "count" else (10_000, 4 * each.size)
    queue = RecordQueue(*bounds, 500)
    queue.offer(each)
    batch = queue.take(0.0, 0)
    queue.offer(each)
    queue.offer(each)
    queue.done(batch)
    thread, results = in_thread(lambda: queue.take(10 * PATIENCE, None))
    thread.join(PATIENCE)
    assert results == [[each, each]]


def test_a_wake_while_nobody_waits_is_not_forgotten():
    queue = RecordQueue(10, 10**6, 3)
    queue.wake()
    thread, results = in_thread(lambda: queue.take(PATIENCE, None))
    thread.join(PATIENCE)
    assert results == [[]]


def test_once_it_is_closed_nothing_waits():
    queue = RecordQueue(10, 10**6, 3)
    queue.offer(record())
    queue.close()
    assert take(queue, None) == [1]
    assert take(queue, None) == []


def test_nothing_is_lost_or_doubled_between_two_threads():
    queue = RecordQueue(200_000, 10**12, 7)
    got = []

    def work():
        while batch := queue.take(0.0, None):
            got.extend(each.sequence for each in batch)
            queue.done(batch)

    thread, _ = in_thread(work)
    each = record()
    for number in range(20_000):
        copy = object.__new__(type(each))
        copy.sequence, copy.size = number, 1
        queue.offer(copy)
    queue.close()
    thread.join(PATIENCE)
    assert got == list(range(20_000))
    assert (queue.queued, queue.queued_size, queue.refused) == (0, 0, 0)
