"""The rows of the table in greenlets: each docstring is the verdict, `{name}` the line marked `# name`."""

from __future__ import annotations

import functools
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import gevent
import pytest
from choice import BACKEND, FAKE
from gevent import Greenlet
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.pool import Group, Pool
from gevent.queue import Queue
from loop_gevent import Client, endless, failing, fetch, store

must_overlap = pytest.mark.must_overlap
must_not_overlap = pytest.mark.must_not_overlap
patched_only = pytest.mark.skipif(BACKEND != "gevent-patched", reason="threads are greenlets in a patched process")


# Together, and one after the other


@must_overlap("loop_gevent:fetch", at_least=3)
def test_joinall():
    """held"""
    greenlets = [gevent.spawn(fetch, number) for number in range(3)]
    gevent.joinall(greenlets)
    assert [greenlet.value for greenlet in greenlets] == [0, 1, 2]


@must_overlap("loop_gevent:fetch", at_least=3)
def test_get_after_all_were_spawned():
    """held"""
    greenlets = [gevent.spawn(fetch, number) for number in range(3)]
    assert [greenlet.get() for greenlet in greenlets] == [0, 1, 2]


@must_overlap("loop_gevent:Client.method", at_least=3)
def test_method():
    """held"""
    client = Client()
    gevent.joinall([gevent.spawn(client.method, number) for number in range(3)])


@must_overlap("loop_gevent:fetch", at_least=3)
def test_partial():
    """held"""
    gevent.joinall([gevent.spawn(functools.partial(fetch, number)) for number in range(3)])


@must_overlap("loop_gevent:fetch", at_least=3)
def test_greenlet_class():
    """held"""
    greenlets = [Greenlet(fetch, number) for number in range(3)]
    for greenlet in greenlets:
        greenlet.start()
    gevent.wait(greenlets)


@must_overlap("loop_gevent:fetch", at_least=3)
def test_spawn_raw():
    """held"""
    results = [AsyncResult() for _ in range(3)]

    def run(number):
        results[number].set(fetch(number))

    for number in range(3):
        gevent.spawn_raw(run, number)
    assert [result.get() for result in results] == [0, 1, 2]


@must_overlap("loop_gevent:fetch", at_least=3)
def test_spawn_later():
    """held"""
    gevent.joinall([gevent.spawn_later(number / 500, fetch, number) for number in range(3)])


@must_overlap("loop_gevent:fetch")
def test_the_thread_itself_and_a_greenlet():
    """held"""
    greenlet = gevent.spawn(fetch, 1)
    fetch(2)
    greenlet.join()


@must_overlap("loop_gevent:fetch", "loop_gevent:store")
def test_two_targets():
    """held"""
    gevent.joinall([gevent.spawn(fetch, 1), gevent.spawn(store, 2)])


@must_overlap("loop_gevent:fetch", "loop_gevent:store")
def test_two_targets_in_turn():
    """broken: expected 2 targets in progress at once ... Run one after the other: {two_targets} in"""
    fetch(1)
    gevent.spawn(gevent.sleep, 0).join()
    store(2)  # two_targets


@must_overlap("loop_gevent:fetch")
def test_for_loop():
    """broken: Run one after the other: {for_loop} in test_for_loop waits for each call to end"""
    for number in range(3):
        fetch(number)  # for_loop


@must_overlap("loop_gevent:fetch")
def test_for_loop_in_a_greenlet():
    """broken: Run one after the other: {for_loop_in_a_greenlet} ... gevent.spawn() for each, then gevent"""

    def run():
        for number in range(3):
            fetch(number)  # for_loop_in_a_greenlet

    gevent.spawn(run).join()


@must_overlap("loop_gevent:fetch")
def test_joined_at_once():
    """broken: Run one after the other: {joined_at_once} in test_joined_at_once waits for each call to end"""
    for number in range(3):
        gevent.spawn(fetch, number).join()  # joined_at_once


@must_overlap("loop_gevent:fetch")
def test_got_at_once():
    """broken: Run one after the other: {got_at_once} in test_got_at_once waits for each call to end"""
    for number in range(3):
        greenlet = gevent.spawn(fetch, number)
        assert greenlet.get() == number  # got_at_once


@must_overlap("loop_gevent:fetch", at_least=3)
def test_fewer_than_asked_for():
    """broken: expected 3 calls of loop_gevent:fetch at once, saw at most 2"""
    gevent.joinall([gevent.spawn(fetch, number) for number in range(2)])


@must_overlap("loop_gevent:fetch")
def test_one_call():
    """broken: Only one call was made, by {one_call} in test_one_call"""
    gevent.spawn(fetch, 1).join()  # one_call


@must_overlap("loop_gevent:fetch")
def test_never_called():
    """broken: loop_gevent:fetch was never called in this test."""
    gevent.spawn(gevent.sleep, 0).join()


@must_overlap("loop_gevent:fetch")
def test_late_partner():
    """held"""

    def late():
        gevent.sleep(0.02)
        fetch(2)

    gevent.joinall([gevent.spawn(fetch, 1), gevent.spawn(late)])


@must_overlap("loop_gevent:fetch")
def test_late_partner_from_the_hubs_thread_pool():
    """held"""

    def late():
        gevent.get_hub().threadpool.apply(time.thread_time)
        fetch(2)

    gevent.joinall([gevent.spawn(fetch, 1), gevent.spawn(late)])


@must_overlap("loop_gevent:fetch")
def test_waits_for_each_other_by_events():
    """broken: saw at most 1 ... until nothing else in the program could move. expected"""
    done = Event()

    def first():
        fetch(1)
        done.set()

    def second():
        done.wait()
        fetch(2)

    both = [gevent.spawn(first), gevent.spawn(second)]
    both[0].join()
    gevent.joinall(both)


# Locks, limits, pools


def _locked(lock, number):
    with lock:  # locked
        fetch(number)


@must_overlap("loop_gevent:fetch")
def test_semaphore():
    """broken: A semaphore lets them in one at a time: ... holds it during its call, and 2 others wait at {locked}"""
    lock = Semaphore(1)
    gevent.joinall([gevent.spawn(_locked, lock, number) for number in range(3)])


@must_overlap("loop_gevent:fetch")
def test_bounded_semaphore():
    """broken: A semaphore lets them in one at a time: ... holds it during its call, and 2 others wait at {locked}"""
    lock = BoundedSemaphore(1)
    gevent.joinall([gevent.spawn(_locked, lock, number) for number in range(3)])


@must_overlap("loop_gevent:fetch")
def test_rlock():
    """broken: A lock lets them in one at a time: ... holds it during its call, and 2 others wait at {locked}"""
    lock = RLock()
    gevent.joinall([gevent.spawn(_locked, lock, number) for number in range(3)])


@must_overlap("loop_gevent:fetch")
def test_acquire_and_release():
    """broken: A semaphore lets them in one at a time: ... holds it during its call, and 1 other waits at {acquire}"""
    lock = Semaphore(1)

    def run(number):
        lock.acquire()  # acquire
        try:
            fetch(number)
        finally:
            lock.release()

    gevent.joinall([gevent.spawn(run, number) for number in range(2)])


@must_overlap("loop_gevent:fetch", at_least=3)
def test_semaphore_of_two():
    """broken: saw at most 2 ... A semaphore lets in only 2 at a time: while they hold it, 1 other waits at {locked}"""
    lock = Semaphore(2)
    gevent.joinall([gevent.spawn(_locked, lock, number) for number in range(3)])


@must_overlap("loop_gevent:fetch", at_least=2, at_most=2)
def test_limit_holds_and_bites():
    """held"""
    lock = Semaphore(2)
    gevent.joinall([gevent.spawn(_locked, lock, number) for number in range(5)])


@must_overlap("loop_gevent:fetch", at_least=2, at_most=2)
def test_limit_lost():
    """broken: expected at most 2 calls of loop_gevent:fetch at once, saw 3"""
    gevent.joinall([gevent.spawn(fetch, number) for number in range(3)])


@must_overlap("loop_gevent:fetch", at_least=2, at_most=2)
def test_limit_never_tested():
    """broken: the limit was never tested"""
    gevent.joinall([gevent.spawn(fetch, number) for number in range(2)])


@must_overlap("loop_gevent:fetch", at_least=3)
def test_pool():
    """held"""
    assert Pool(3).map(fetch, range(6)) == list(range(6))


@must_overlap("loop_gevent:fetch", at_least=3)
def test_group():
    """held"""
    group = Group()
    for number in range(3):
        group.spawn(fetch, number)
    group.join()


@must_overlap("loop_gevent:fetch")
def test_pool_of_one():
    """broken: A pool of greenlets lets them in one at a time ... {pool_of_one} ... Give the pool a size of at least"""
    pool = Pool(1)
    for number in range(3):
        pool.spawn(fetch, number)  # pool_of_one
    pool.join()


@must_overlap("loop_gevent:fetch")
def test_map_of_a_pool_of_one():
    """broken: A pool of greenlets lets them in one at a time: ... {map_of_a_pool} in test_map_of_a_pool_of_one"""
    assert Pool(1).map(fetch, range(3)) == [0, 1, 2]  # map_of_a_pool


@must_overlap("loop_gevent:fetch")
def test_one_worker_with_a_queue():
    """broken: One worker makes all the calls, from a queue, at {one_worker} in ... Start at least 2 workers"""
    numbers = Queue()

    def work():
        while not numbers.empty():
            fetch(numbers.get())  # one_worker

    for number in range(3):
        numbers.put(number)
    gevent.spawn(work).join()


@must_overlap("loop_gevent:fetch")
def test_two_workers_with_a_queue():
    """held"""
    numbers = Queue()

    def work():
        for number in iter(numbers.get, None):
            fetch(number)

    workers = [gevent.spawn(work) for _ in range(2)]
    for number in (1, 2, 3, None, None):
        numbers.put(number)
    gevent.joinall(workers)


# Calls that block the hub


def _busy(number):
    time.sleep(0.002)


def _blocking(number):
    gevent.get_hub()
    _real_sleep(0.002)  # blocking


if BACKEND == "gevent-patched":
    from gevent.monkey import get_original

    _real_sleep = get_original("time", "sleep")
else:
    _real_sleep = time.sleep


@pytest.mark.skipif(BACKEND == "gevent-patched", reason="is told of from Python 3.13 on only")
@must_overlap("test_rows:_blocking")
def test_calls_that_block_the_hub():
    """broken: saw at most 0 ... time.sleep blocked the event loop for ... at {blocking} in _blocking"""
    gevent.joinall([gevent.spawn(_blocking, number) for number in range(3)])


@patched_only
@must_overlap("test_rows:_busy", at_least=3)
def test_a_sleep_that_was_made_cooperative():
    """held"""
    gevent.joinall([gevent.spawn(_busy, number) for number in range(3)])


# Exclusion


@must_not_overlap("loop_gevent:fetch")
def test_a_lock_keeps_them_apart():
    """held"""
    lock = Semaphore(1)
    gevent.joinall([gevent.spawn(_locked, lock, number) for number in range(3)])


@must_not_overlap("loop_gevent:fetch")
def test_nothing_keeps_them_apart():
    """broken: expected calls of loop_gevent:fetch one at a time, saw 2 ... Nothing keeps them apart"""
    gevent.joinall([gevent.spawn(fetch, number) for number in range(3)])


@must_not_overlap("loop_gevent:fetch", "loop_gevent:store")
def test_two_of_different_targets():
    """broken: expected calls of loop_gevent:fetch or loop_gevent:store one at a time, saw 2 in progress together"""
    gevent.joinall([gevent.spawn(fetch, 1), gevent.spawn(store, 2)])


# Without a target


def _rest():
    gevent.sleep(0.001)


@must_overlap(at_least=3)
def test_strands():
    """held"""
    gevent.joinall([gevent.spawn(_rest) for _ in range(3)])


@must_overlap
def test_strands_in_turn():
    """broken: Started one after the other: {strands_in_turn} in test_strands_in_turn"""
    for _ in range(3):
        gevent.spawn(_rest).join()  # strands_in_turn


@must_overlap
def test_strands_that_never_let_another_run():
    """broken: expected 2 strands of the test at once, saw at most 1"""
    gevent.joinall([gevent.spawn(len, "") for _ in range(3)])


@must_overlap
def test_one_strand():
    """broken: Only one strand was started"""
    gevent.spawn(_rest).join()


# Endings


@must_overlap("loop_gevent:failing")
def test_calls_that_raise():
    """held"""
    greenlets = [gevent.spawn(failing, number) for number in range(2)]
    gevent.joinall(greenlets)
    assert [str(greenlet.exception) for greenlet in greenlets] == ["no 0", "no 1"]


@must_overlap("loop_gevent:fetch")
def test_body_that_raises():
    """error: the body's own"""
    gevent.spawn(fetch, 1)
    gevent.sleep(0)
    raise ValueError("the body's own")


@must_overlap("loop_gevent:fetch")
def test_killed_while_it_is_held():
    """broken: Only one call was made"""
    other = gevent.spawn(gevent.sleep, 60)
    greenlet = gevent.spawn(fetch, 1)
    gevent.sleep(0.0 if FAKE == "instant" else 0.01)
    gevent.killall([greenlet, other])
    assert greenlet.dead


@must_overlap("loop_gevent:endless")
def test_killed_in_the_call():
    """held"""
    greenlets = [gevent.spawn(endless) for _ in range(2)]
    gevent.sleep(0)
    gevent.killall(greenlets)


@must_overlap("loop_gevent:fetch")
def test_a_time_out_does_not_strike_because_a_call_is_held():
    """broken: saw at most 1"""
    for number in range(2):
        with gevent.Timeout(0.5):
            assert gevent.spawn(fetch, number).get() == number


@must_overlap("loop_gevent:endless")
def test_a_time_out_in_the_call():
    """held"""

    def run():
        with gevent.Timeout(0.01, False):
            endless()

    gevent.joinall([gevent.spawn(run) for _ in range(2)])


# Threads that are greenlets


@patched_only
@must_overlap("loop_gevent:fetch", at_least=3)
def test_threads():
    """held"""
    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@patched_only
@must_overlap("loop_gevent:fetch")
def test_thread_joined_at_once():
    """broken: Run one after the other: {thread_joined_at_once} in"""
    for number in range(3):
        thread = threading.Thread(target=fetch, args=(number,))
        thread.start()
        thread.join()  # thread_joined_at_once


@patched_only
@must_overlap
def test_one_thread():
    """broken: Only one strand was started"""
    thread = threading.Thread(target=_rest)
    thread.start()
    thread.join()


@patched_only
@must_overlap("loop_gevent:fetch")
def test_executor_of_one():
    """broken: One worker thread does all the jobs handed in at {executor_of_one}"""
    with ThreadPoolExecutor(1) as executor:
        assert list(executor.map(fetch, range(3))) == [0, 1, 2]  # executor_of_one


@patched_only
@must_overlap("loop_gevent:fetch", at_least=3)
def test_executor():
    """held"""
    with ThreadPoolExecutor(3) as executor:
        assert list(executor.map(fetch, range(3))) == [0, 1, 2]


@must_overlap("loop_gevent:fetch")
def test_pythons_own_locks():
    """broken: A lock lets them in one at a time: ... holds it during its call, and 1 other waits at {locked}
    gevent: skipped"""
    if BACKEND == "gevent":
        pytest.skip("would wait for ever: the thread's lock knows no greenlets")
    for lock in (threading.Lock(), threading.RLock()):
        gevent.joinall([gevent.spawn(_locked, lock, number) for number in range(2)])


@patched_only
@must_overlap("loop_gevent:fetch")
def test_pythons_own_queue():
    """broken: One worker makes all the calls, from a queue, at {own_queue}"""
    numbers = queue.Queue()

    def work():
        for _ in range(3):
            fetch(numbers.get())  # own_queue

    for number in range(3):
        numbers.put(number)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_nothing_is_left():
    """held"""
    assert threading.enumerate() == [threading.main_thread()] or FAKE == "http"
    assert gevent.get_hub().loop.activecnt == 0
