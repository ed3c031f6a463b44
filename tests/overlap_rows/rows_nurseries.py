"""The rows of the table in trio and anyio: each docstring is the verdict, `{name}` the line marked `# name`."""

from __future__ import annotations

import functools
import http.client
import socket
import time

import pytest
import work
from choice import FAKE
from work import Client, endless, failing, fetch, on_loop, recursive, store, stream
from work import loop as lib

must_overlap = pytest.mark.must_overlap
must_not_overlap = pytest.mark.must_not_overlap


async def together(*calls):
    """Run calls without arguments in one nursery."""
    async with lib.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)


# Together, and one after the other


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_nursery():
    """held"""
    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(fetch, number)


@must_overlap("work:fetch")
@on_loop
async def test_body_of_a_nursery_beside_its_child():
    """held"""
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        assert await fetch(2) == 2


@must_overlap("work:fetch")
@on_loop
async def test_nurseries_inside_each_other():
    """held"""
    async with lib.open_nursery() as outer:
        outer.start_soon(fetch, 1)
        async with lib.open_nursery() as inner:
            inner.start_soon(fetch, 2)


@must_overlap("work:fetch")
@on_loop
async def test_for_loop():
    """broken: Awaited one after the other: {for_loop} in test_for_loop waits for each call to end"""
    for number in range(3):
        assert await fetch(number) == number  # for_loop


@must_overlap("work:fetch")
@on_loop
async def test_comprehension():
    """broken: Awaited one after the other: {comprehension} in"""
    assert [await fetch(number) for number in range(3)] == [0, 1, 2]  # comprehension


async def _helper(number):
    return await fetch(number)


@must_overlap("work:fetch")
@on_loop
async def test_for_loop_over_a_helper():
    """broken: Awaited one after the other: {for_loop_over_a_helper} in test_for_loop_over_a_helper"""
    for number in range(3):
        await _helper(number)  # for_loop_over_a_helper


@must_overlap("work:fetch")
@on_loop
async def test_nursery_awaited_at_once():
    """broken: Awaited one after the other: {nursery_awaited_at_once} in test_nursery_awaited_at_once"""
    for number in range(3):
        async with lib.open_nursery() as nursery:  # nursery_awaited_at_once
            nursery.start_soon(fetch, number)


async def _generator():
    for number in range(3):
        yield await fetch(number)  # async_for


@must_overlap("work:fetch")
@on_loop
async def test_async_for():
    """broken: Awaited one after the other: {async_for} in _generator"""
    assert [number async for number in _generator()] == [0, 1, 2]


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_fewer_than_asked_for():
    """broken: expected 3 calls of work:fetch at once, saw at most 2"""
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(fetch, 2)


@must_overlap("work:fetch")
@on_loop
async def test_nursery_after_a_single_call():
    """held"""
    await fetch(0)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(fetch, 2)


# Locks, limits, pools


async def _run_limited(limit, count):
    async def limited(number):
        async with limit:  # limited
            await fetch(number)

    async with lib.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(limited, number)


@must_overlap("work:fetch")
@on_loop
async def test_lock():
    """broken: A lock lets them in one at a time: ... holds it during its call, and 2 others wait at {limited}"""
    await _run_limited(lib.Lock(), 3)


@must_overlap("work:fetch")
@on_loop
async def test_semaphore_of_one():
    """broken: A semaphore lets them in one at a time: ... holds it during its call, and 2 others wait at {limited}"""
    await _run_limited(lib.Semaphore(1), 3)


@must_overlap("work:fetch")
@on_loop
async def test_limiter_of_one():
    """broken: A limiter lets them in one at a time: ... holds it during its call, and 2 others wait at {limited}"""
    await _run_limited(lib.CapacityLimiter(1), 3)


@must_overlap("work:fetch")
@on_loop
async def test_lock_held_further_up():
    """broken: A lock lets them in one at a time: 'holder' holds it during its call, and 1 other waits at {up} in"""
    lock = lib.Lock()

    async def outer(number):
        async with lock:  # up
            await _helper(number)

    async with lib.open_nursery() as nursery:
        nursery.start_soon(outer, 1, name="holder")
        await lib.sleep(0)
        await lib.sleep(0)
        nursery.start_soon(outer, 2, name="waiter")


@must_overlap("work:fetch", at_least=2, at_most=2)
@on_loop
async def test_semaphore_of_two():
    """held"""
    await _run_limited(lib.Semaphore(2), 5)


@must_overlap("work:fetch", at_least=2, at_most=2)
@on_loop
async def test_limiter_of_two():
    """held"""
    await _run_limited(lib.CapacityLimiter(2), 5)


@must_overlap("work:fetch", at_least=2, at_most=2)
@on_loop
async def test_limit_lost():
    """broken: expected at most 2 calls of work:fetch at once, saw 3 ... The limit of 2 does not hold."""
    await _run_limited(lib.Semaphore(3), 5)


@must_overlap("work:fetch", at_most=2)
@on_loop
async def test_limit_never_tested():
    """broken: No call was waiting outside while 2 were in: the limit was never tested."""
    await _run_limited(lib.Semaphore(5), 2)


@must_overlap("work:fetch", at_most=3)
@on_loop
async def test_limit_never_reached():
    """broken: At most 2 were in at once, so the limit of 3 was never reached"""
    await _run_limited(lib.Semaphore(2), 5)


async def _work_off(workers):
    send, receive = lib.open_channel(4)
    async with send:
        for number in range(4):
            send.send_nowait(number)

    async def worker():
        async for number in receive:
            await fetch(number)  # pool

    async with receive:
        await together(*[worker] * workers)


@must_overlap("work:fetch")
@on_loop
async def test_one_worker():
    """broken: One worker makes all the calls, from a queue, at {pool} in"""
    await _work_off(1)


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_three_workers():
    """held"""
    await _work_off(3)


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_fewer_workers_than_asked_for():
    """broken: 2 workers make all the calls, from a queue, at {pool} in"""
    await _work_off(2)


@must_overlap("work:fetch")
@on_loop
async def test_second_is_started_when_the_nursery_of_the_first_is_done():
    """broken: The next call never started, since its caller waits for the first: ... waits at {chain} in"""

    async def first():
        async with lib.open_nursery() as nursery:
            nursery.start_soon(fetch, 1)

    async with lib.open_nursery() as nursery:  # chain
        nursery.start_soon(first)
    await fetch(2)


# Calls that block the loop


async def sleeps(number):
    time.sleep(0.02)  # sleeps


async def requests(number):
    connection = http.client.HTTPConnection(*work.server)
    connection.request("GET", f"/{number}")  # requests
    connection.getresponse().read()
    connection.close()


@must_overlap("test_rows:sleeps")
@on_loop
async def test_time_sleep():
    """broken: time.sleep blocked the event loop for ... at {sleeps} in sleeps: nothing else could run meanwhile."""
    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(sleeps, number)


@pytest.mark.skipif(FAKE != "http", reason="needs the server")
@must_overlap("test_rows:requests")
@on_loop
async def test_blocking_request():
    """broken: blocked the event loop ... in requests: nothing else could run meanwhile."""
    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(requests, number)


# Late, slow, silent


@must_overlap("work:fetch")
@on_loop
async def test_partner_sleeps_first():
    """held"""

    async def late():
        await lib.sleep(0.05)
        await fetch(2)

    await together(functools.partial(fetch, 1), late)


@must_overlap("work:fetch")
@on_loop
async def test_partner_works_in_a_thread_first():
    """held"""

    async def late():
        await lib.run_in_thread(time.sleep, 0.05)
        await fetch(2)

    await together(functools.partial(fetch, 1), late)


@must_overlap("work:fetch", patience=0.1)
@on_loop
async def test_silent_socket():
    """inconclusive: Still pending when patience ran out: ... a socket"""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:

        async def listener():
            await lib.read_from(near)
            await fetch(2)

        async with lib.open_nursery() as nursery:
            nursery.start_soon(listener)
            await fetch(1)
            nursery.cancel_scope.cancel()


@must_overlap("work:fetch", patience=0.1)
@on_loop
async def test_heartbeat_beside_a_for_loop():
    """broken: Awaited one after the other: {heartbeat} in test_heartbeat_beside_a_for_loop"""

    async def heartbeat():
        while True:
            await lib.sleep(0.01)

    async with lib.open_nursery() as nursery:
        nursery.start_soon(heartbeat)
        for number in range(3):
            await fetch(number)  # heartbeat
        nursery.cancel_scope.cancel()


@must_overlap("work:fetch")
@on_loop
async def test_timeout_around_a_for_loop():
    """broken: Awaited one after the other: {timeout_around} in test_timeout_around_a_for_loop"""
    with lib.fail_after(0.5):
        for number in range(3):
            await fetch(number)  # timeout_around


@must_overlap("work:fetch")
@on_loop
async def test_timeout_around_each_call():
    """broken: Awaited one after the other: {timeout_each} in test_timeout_around_each_call"""
    for number in range(3):
        with lib.move_on_after(0.5) as scope:
            assert await fetch(number) == number  # timeout_each
        assert not scope.cancelled_caught


@must_overlap("work:fetch", patience=0)
@on_loop
async def test_without_patience():
    """held
    instant: broken: The calls finished without ever awaiting"""
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(fetch, 2)


# Errors and cancellation


async def _fails(number):
    with pytest.raises(ValueError, match=f"no {number}"):
        await failing(number)  # raises


@must_overlap("work:failing", at_least=3)
@on_loop
async def test_calls_that_raise_together():
    """held"""
    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(_fails, number)


@must_overlap("work:failing")
@on_loop
async def test_calls_that_raise_in_turn():
    """broken: Awaited one after the other: {raises_in_turn} in test_calls_that_raise_in_turn"""
    for number in range(3):
        with pytest.raises(ValueError, match=f"no {number}"):
            await failing(number)  # raises_in_turn


@must_overlap("work:endless")
@on_loop
async def test_cancelled_by_a_timeout():
    """held"""
    with lib.move_on_after(0.02) as scope:
        await together(endless, endless)
    assert scope.cancelled_caught


@must_overlap("work:endless")
@on_loop
async def test_cancelled_in_turn():
    """broken: Awaited one after the other: {cancelled_in_turn} in test_cancelled_in_turn"""
    for _ in range(2):
        with lib.move_on_after(0.01):
            await endless()  # cancelled_in_turn


@must_overlap("work:endless")
@on_loop
async def test_cancelled_by_a_sibling():
    """held"""

    async def sibling():
        await lib.sleep(0.01)
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        await together(endless, endless, sibling)
    assert caught.group_contains(LookupError)


@must_overlap("work:failing", "work:endless")
@on_loop
async def test_one_fails_and_cancels_the_other():
    """held"""
    with pytest.raises(ExceptionGroup):
        await together(functools.partial(failing, 1), endless)


@must_overlap("work:fetch")
@on_loop
async def test_cancelled_while_held():
    """broken: Only one call was made, by {held_and_cancelled} in"""

    async def caller():
        await fetch(1)  # held_and_cancelled
        await endless()

    with lib.move_on_after(0.03) as scope:
        await together(caller)
    assert scope.cancelled_caught


@must_overlap("work:fetch")
@on_loop
async def test_body_that_raises():
    """error: LookupError: the body's own"""
    for number in range(2):
        await fetch(number)
    raise LookupError("the body's own")


# Too few calls


@must_overlap("work:fetch")
@on_loop
async def test_called_once():
    """broken: Only one call was made, by {called_once} in test_called_once: there was nothing for it to overlap"""
    await fetch(1)  # called_once


@must_overlap("work:fetch")
@on_loop
async def test_never_called():
    """broken: saw none at all ... work:fetch was never called in this test."""


@must_overlap("work:fetsh")
@on_loop
async def test_target_misspelt():
    """error: target 'work:fetsh': work has no 'fetsh'; did you mean 'fetch'?"""
    raise AssertionError("must not run")


# Several targets, and none


@must_overlap("work:fetch", "work:store")
@on_loop
async def test_two_targets_together():
    """held"""
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(store, 2)


@must_overlap("work:fetch", "work:store")
@on_loop
async def test_two_targets_in_turn():
    """broken: expected 2 targets in progress at once, saw at most 1 ... one after the other: {two_targets} in"""
    await fetch(1)
    await store(2)  # two_targets


@must_overlap("work:fetch", "work:store")
@on_loop
async def test_only_one_of_two_targets_is_called():
    """broken: work:store was never called in this test."""
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(fetch, 2)


async def moment():
    await lib.sleep(0.01)


@must_overlap()
@on_loop
async def test_two_strands_together():
    """held"""
    await together(moment, moment)


@must_overlap()
@on_loop
async def test_two_strands_in_turn():
    """broken: expected 2 strands of the test at once, saw at most 1 ... Started one after the other: {strands} in"""
    for _ in range(2):
        async with lib.open_nursery() as nursery:
            nursery.start_soon(moment)  # strands


@must_overlap()
@on_loop
async def test_no_strand():
    """broken: The test started no task, thread or process"""
    await moment()


# Every kind of function


@must_overlap("work:Client.method")
@on_loop
async def test_method():
    """held"""
    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(Client().method, number)


@must_overlap("work.Client.class_method")
@on_loop
async def test_class_method():
    """held"""
    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(Client.class_method, number)


@must_overlap("work.Client.static_method")
@on_loop
async def test_static_method():
    """held"""
    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(Client.static_method, number)


partial_fetch = functools.partial(fetch, 7)


@must_overlap("test_rows:partial_fetch")
@on_loop
async def test_partial():
    """held"""
    await together(partial_fetch, partial_fetch)


@must_overlap.with_args(fetch)
@on_loop
async def test_function_given_itself():
    """held"""
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(fetch, 2)


@must_overlap("work:stream")
@on_loop
async def test_async_generators_together():
    """held"""

    async def read():
        assert [number async for number in stream(2)] == [0, 1]

    await together(read, read)


@must_overlap("work:stream")
@on_loop
async def test_async_generators_in_turn():
    """broken: Awaited one after the other: {generators_in_turn} in"""
    for _ in range(2):
        async for number in stream(2):  # generators_in_turn
            assert number in (0, 1)


def plain(seconds):
    time.sleep(seconds)


@must_overlap("test_rows:plain")
@on_loop
async def test_plain_functions_in_threads():
    """held"""
    async with lib.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(lib.run_in_thread, plain, 0.1)


@must_overlap("work:recursive")
@on_loop
async def test_recursion():
    """broken: expected 2 calls of work:recursive at once, saw at most 1"""
    assert await recursive(2) == 0


@must_overlap("work:recursive")
@on_loop
async def test_recursion_twice():
    """held"""
    await together(functools.partial(recursive, 2), functools.partial(recursive, 2))


# Exclusion


async def _run_three(lock):
    async def guarded(number):
        async with lock:
            await fetch(number)  # unlocked

    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(guarded, number)


class NoLock:
    async def __aenter__(self):
        pass

    async def __aexit__(self, *exc):
        pass


@must_not_overlap("work:fetch")
@on_loop
async def test_lock_keeps_them_apart():
    """held"""
    await _run_three(lib.Lock())


@must_not_overlap("work:fetch", "work:store")
@on_loop
async def test_lock_keeps_two_targets_apart():
    """held"""
    lock = lib.Lock()

    async def guarded(function):
        async with lock:
            await function(1)

    await together(functools.partial(guarded, fetch), functools.partial(guarded, store))


@must_not_overlap("work:fetch")
@on_loop
async def test_nothing_keeps_them_apart():
    """broken: fetch#1 was in, called by {unlocked} ... fetch#2 got in, called by {unlocked} ... Nothing keeps them"""
    await _run_three(NoLock())


async def releases_early(number, semaphore):
    await work._WORK["sleeping"](number)
    semaphore.release()  # releases_early
    await work._WORK["sleeping"](number)


@must_not_overlap("test_rows:releases_early")
@on_loop
async def test_lock_released_too_early():
    """broken: saw 2 in progress together ... The lock was given back too early, at {releases_early} in"""
    lock = lib.Lock()

    async def guarded(number):
        await lock.acquire()
        await releases_early(number, lock)

    await together(functools.partial(guarded, 1), functools.partial(guarded, 2))


@must_not_overlap("work:fetch")
@on_loop
async def test_one_after_the_other_excludes():
    """held"""
    for number in range(3):
        await fetch(number)


@must_not_overlap("work:fetch")
@on_loop
async def test_exclusion_with_one_call():
    """broken: Only one call was made, by {exclusion_with_one_call} in"""
    await fetch(1)  # exclusion_with_one_call


# One test sees nothing of another


@must_overlap("work:fetch")
@on_loop
async def test_first_of_two():
    """held"""
    async with lib.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(fetch, 2)


@must_overlap("work:fetch")
@on_loop
async def test_second_of_two():
    """broken: Only one call was made"""
    await fetch(1)
