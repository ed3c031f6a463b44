"""The rows of the table with asyncio's own tools: each docstring is the verdict, `{name}` the line marked `# name`."""

from __future__ import annotations

import asyncio
import functools
import http.client
import socket
import sys
import time

import pytest
import work
from choice import BACKEND, FAKE
from work import Client, endless, failing, fetch, on_loop, recursive, store, stream

must_overlap = pytest.mark.must_overlap
must_not_overlap = pytest.mark.must_not_overlap


# Together, and one after the other


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_gather():
    """held"""
    assert await asyncio.gather(fetch(1), fetch(2), fetch(3)) == [1, 2, 3]


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_task_group():
    """held"""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(fetch(number)) for number in range(3)]
    assert [task.result() for task in tasks] == [0, 1, 2]


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_tasks_made_by_their_class():
    """held"""
    tasks = [asyncio.Task(fetch(number)) for number in range(3)]
    assert [await task for task in tasks] == [0, 1, 2]


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_wait():
    """held"""
    done, _ = await asyncio.wait([asyncio.ensure_future(fetch(number)) for number in range(3)])
    assert len(done) == 3


@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_as_completed():
    """held"""
    assert {await each for each in asyncio.as_completed([fetch(number) for number in range(3)])} == {0, 1, 2}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.skipif(
    BACKEND == "uvloop" and (3, 13) <= sys.version_info < (3, 13, 4),
    reason="uvloop calls the eager task factory of these versions with an argument that it does not take",
)
@must_overlap("work:fetch", at_least=3)
@on_loop
async def test_eager_tasks():
    """held"""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    assert await asyncio.gather(*(asyncio.create_task(fetch(number)) for number in range(3))) == [0, 1, 2]


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
async def test_task_awaited_at_once():
    """broken: Awaited one after the other: {task_awaited_at_once} in test_task_awaited_at_once"""
    for number in range(3):
        task = asyncio.create_task(fetch(number))
        assert await task == number  # task_awaited_at_once


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
    await asyncio.gather(fetch(1), fetch(2))


@must_overlap("work:fetch", at_least=2)
@on_loop
async def test_gather_after_a_single_call():
    """held"""
    await fetch(0)
    await asyncio.gather(fetch(1), fetch(2))


# Locks, limits, pools


@must_overlap("work:fetch")
@on_loop
async def test_lock():
    """broken: A lock lets them in one at a time: ... holds it during its call, and 2 others wait at {lock} in"""
    lock = asyncio.Lock()

    async def locked(number):
        async with lock:  # lock
            await fetch(number)

    await asyncio.gather(*map(locked, range(3)))


@must_overlap("work:fetch")
@on_loop
async def test_semaphore_of_one():
    """broken: A semaphore lets them in one at a time: ... holds it during its call, and 2 others wait at {one} in"""
    semaphore = asyncio.Semaphore(1)

    async def limited(number):
        async with semaphore:  # one
            await fetch(number)

    await asyncio.gather(*map(limited, range(3)))


@must_overlap("work:fetch")
@on_loop
async def test_lock_held_further_up():
    """broken: A lock lets them in one at a time: 'holder' holds it during its call, and 1 other waits at {up} in"""
    lock = asyncio.Lock()

    async def outer(number):
        async with lock:  # up
            await _helper(number)

    first = asyncio.create_task(outer(1), name="holder")
    second = asyncio.create_task(outer(2), name="waiter")
    await first
    await second


@must_overlap("work:fetch", at_least=2, at_most=2)
@on_loop
async def test_semaphore_of_two():
    """held"""
    semaphore = asyncio.Semaphore(2)

    async def limited(number):
        async with semaphore:
            await fetch(number)

    await asyncio.gather(*map(limited, range(5)))


@must_overlap("work:fetch", at_least=2, at_most=2)
@on_loop
async def test_limit_lost():
    """broken: expected at most 2 calls of work:fetch at once, saw 3 ... The limit of 2 does not hold."""
    semaphore = asyncio.Semaphore(3)

    async def limited(number):
        async with semaphore:
            await fetch(number)

    await asyncio.gather(*map(limited, range(5)))


@must_overlap("work:fetch", at_most=2)
@on_loop
async def test_limit_never_tested():
    """broken: No call was waiting outside while 2 were in: the limit was never tested."""
    await asyncio.gather(fetch(1), fetch(2))


@must_overlap("work:fetch", at_most=3)
@on_loop
async def test_limit_never_reached():
    """broken: At most 2 were in at once, so the limit of 3 was never reached"""
    semaphore = asyncio.Semaphore(2)

    async def limited(number):
        async with semaphore:
            await fetch(number)

    await asyncio.gather(*map(limited, range(5)))


async def _work_off(workers):
    queue = asyncio.Queue()
    for number in range(4):
        queue.put_nowait(number)

    async def worker():
        while True:
            number = await queue.get()
            await fetch(number)  # pool
            queue.task_done()

    tasks = [asyncio.create_task(worker()) for _ in range(workers)]
    await queue.join()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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


@must_overlap("work:fetch", at_least=2)
@on_loop
async def test_caller_of_the_second_waits_for_the_first():
    """broken: The next call never started, since its caller waits for the first: ... 'second' waits at {chain} in"""
    first = asyncio.create_task(fetch(1), name="first")

    async def middle():
        return await first

    between = asyncio.create_task(middle(), name="middle")

    async def second():
        await between  # chain
        await fetch(2)

    await asyncio.create_task(second(), name="second")


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
    await asyncio.gather(*map(sleeps, range(3)))


@pytest.mark.skipif(FAKE != "http", reason="needs the server")
@must_overlap("test_rows:requests")
@on_loop
async def test_blocking_request():
    """broken: blocked the event loop ... in requests: nothing else could run meanwhile."""
    await asyncio.gather(*map(requests, range(3)))


# Late, slow, silent


@must_overlap("work:fetch")
@on_loop
async def test_partner_sleeps_first():
    """held"""

    async def late():
        await asyncio.sleep(0.05)
        await fetch(2)

    await asyncio.gather(fetch(1), late())


@must_overlap("work:fetch")
@on_loop
async def test_partner_works_in_a_thread_first():
    """held"""

    async def late():
        await asyncio.to_thread(time.sleep, 0.05)
        await fetch(2)

    await asyncio.gather(fetch(1), late())


@must_overlap("work:fetch")
@on_loop
async def test_partner_is_started_by_a_timer():
    """held"""
    tasks = []
    done = asyncio.Event()

    async def late():
        await fetch(2)
        done.set()

    asyncio.get_running_loop().call_later(0.02, lambda: tasks.append(asyncio.create_task(late())))
    await fetch(1)
    await done.wait()


@must_overlap("work:fetch", patience=0.1)
@on_loop
async def test_silent_socket():
    """inconclusive: Still pending when patience ran out: ... a socket"""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:

        async def listener():
            await asyncio.get_running_loop().sock_recv(near, 1)
            await fetch(2)

        task = asyncio.create_task(listener())
        await fetch(1)
        task.cancel()
        await asyncio.wait([task])


@must_overlap("work:fetch", patience=0.1)
@on_loop
async def test_heartbeat_beside_a_for_loop():
    """broken: Awaited one after the other: {heartbeat} in test_heartbeat_beside_a_for_loop"""

    async def heartbeat():
        while True:
            await asyncio.sleep(0.01)

    beside = asyncio.create_task(heartbeat())
    for number in range(3):
        await fetch(number)  # heartbeat
    beside.cancel()


@must_overlap("work:fetch")
@on_loop
async def test_timeout_around_a_for_loop():
    """broken: Awaited one after the other: {timeout_around} in test_timeout_around_a_for_loop"""
    async with asyncio.timeout(0.5):
        for number in range(3):
            await fetch(number)  # timeout_around


@must_overlap("work:fetch")
@on_loop
async def test_wait_for_around_each_call():
    """broken: Awaited one after the other: {wait_for_each} in test_wait_for_around_each_call"""
    for number in range(3):
        assert await asyncio.wait_for(fetch(number), 0.5) == number  # wait_for_each


@must_overlap("work:fetch", patience=0)
@on_loop
async def test_without_patience():
    """held
    instant: broken: The calls finished without ever awaiting"""
    await asyncio.gather(fetch(1), fetch(2))


# Errors and cancellation


async def together(*coroutines):
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


@must_overlap("work:failing", at_least=3)
@on_loop
async def test_calls_that_raise_together():
    """held"""
    found = await asyncio.gather(*map(failing, range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["no 0", "no 1", "no 2"]


@must_overlap("work:failing")
@on_loop
async def test_calls_that_raise_in_turn():
    """broken: Awaited one after the other: {raises} in test_calls_that_raise_in_turn"""
    for number in range(3):
        with pytest.raises(ValueError, match=f"no {number}"):
            await failing(number)  # raises


@must_overlap("work:endless")
@on_loop
async def test_cancelled_by_a_timeout():
    """held"""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await asyncio.gather(endless(), endless())


@must_overlap("work:endless")
@on_loop
async def test_cancelled_in_turn():
    """broken: one after the other: {cancelled_in_turn} in test_cancelled_in_turn"""
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(endless(), 0.01)  # cancelled_in_turn


@must_overlap("work:endless")
@on_loop
async def test_cancelled_by_a_sibling():
    """held"""

    async def sibling():
        await asyncio.sleep(0.01)
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        await together(endless(), endless(), sibling())
    assert caught.group_contains(LookupError)


@must_overlap("work:failing", "work:endless")
@on_loop
async def test_one_fails_and_cancels_the_other():
    """held"""
    with pytest.raises(ExceptionGroup):
        await together(failing(1), endless())


@must_overlap("work:fetch")
@on_loop
async def test_cancelled_while_held():
    """broken: Only one call was made, by {held_and_cancelled} in"""

    async def caller():
        await fetch(1)  # held_and_cancelled
        await endless()

    task = asyncio.create_task(caller())
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


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


@must_overlap("works.fetch")
@on_loop
async def test_module_misspelt():
    """error: target 'works.fetch' cannot be imported: there is no module 'works'"""
    raise AssertionError("must not run")


@must_overlap("work:server")
@on_loop
async def test_target_is_no_function():
    """error: target 'work:server' is not callable"""
    raise AssertionError("must not run")


# Several targets, and none


@must_overlap("work:fetch", "work:store")
@on_loop
async def test_two_targets_together():
    """held"""
    await asyncio.gather(fetch(1), store(2))


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
    await asyncio.gather(fetch(1), fetch(2))


@must_overlap()
@on_loop
async def test_two_strands_together():
    """held"""
    await asyncio.gather(endless_for_a_moment(), endless_for_a_moment())


async def endless_for_a_moment():
    await asyncio.sleep(0.01)


@must_overlap()
@on_loop
async def test_two_strands_in_turn():
    """broken: expected 2 strands of the test at once, saw at most 1 ... Started one after the other: {strands} in"""
    for _ in range(2):
        await asyncio.create_task(endless_for_a_moment())  # strands


async def blocks_for_a_moment():
    time.sleep(0.02)  # blocks_for_a_moment


@must_overlap()
@on_loop
async def test_a_strand_that_blocks_beside_one_that_waits():
    """broken: time.sleep blocked the event loop for ... at {blocks_for_a_moment} in blocks_for_a_moment"""
    waiting = asyncio.create_task(endless_for_a_moment())
    await asyncio.sleep(0)
    await asyncio.create_task(blocks_for_a_moment())
    await waiting


@must_overlap()
@on_loop
async def test_no_strand():
    """broken: The test started no task, thread or process"""
    await endless_for_a_moment()


# Every kind of function


@must_overlap("work:Client.method", at_least=3)
@on_loop
async def test_method():
    """held"""
    await asyncio.gather(*map(Client().method, range(3)))


@must_overlap("work.Client.class_method", at_least=3)
@on_loop
async def test_class_method():
    """held"""
    await asyncio.gather(*map(Client.class_method, range(3)))


@must_overlap("work.Client.static_method", at_least=3)
@on_loop
async def test_static_method():
    """held"""
    await asyncio.gather(*map(Client.static_method, range(3)))


@must_overlap("work:Client.method")
@on_loop
async def test_method_in_turn():
    """broken: Awaited one after the other: {method_in_turn} in test_method_in_turn"""
    client = Client()
    for number in range(3):
        await client.method(number)  # method_in_turn


partial_fetch = functools.partial(fetch, 7)


@must_overlap("test_rows:partial_fetch")
@on_loop
async def test_partial():
    """held"""
    assert await asyncio.gather(partial_fetch(), partial_fetch()) == [7, 7]


@must_overlap.with_args(fetch)
@on_loop
async def test_function_given_itself():
    """held"""
    await asyncio.gather(fetch(1), fetch(2))


@must_overlap("work:stream")
@on_loop
async def test_async_generators_together():
    """held"""

    async def read():
        return [number async for number in stream(2)]

    assert await asyncio.gather(read(), read()) == [[0, 1], [0, 1]]


@must_overlap("work:stream")
@on_loop
async def test_async_generators_in_turn():
    """broken: Awaited one after the other: {generators_in_turn} in"""
    for _ in range(2):
        async for number in stream(2):  # generators_in_turn
            assert number in (0, 1)


def logged(function):
    @functools.wraps(function)
    async def wrapper(*args):
        return await function(*args)

    return wrapper


@logged
async def decorated(number):
    return await fetch(number)


@must_overlap("test_rows:decorated")
@on_loop
async def test_decorated():
    """held"""
    assert await asyncio.gather(decorated(1), decorated(2)) == [1, 2]


def make_closure():
    seen = []

    async def closure(number):
        seen.append(await fetch(number))
        return len(seen)

    return closure


closure = make_closure()


@must_overlap("test_rows:closure")
@on_loop
async def test_closure():
    """held"""
    assert sorted(await asyncio.gather(closure(1), closure(2))) == [1, 2]


def plain(number):
    return number


@must_overlap("test_rows:plain")
@on_loop
async def test_plain_function_in_turn():
    """broken: expected 2 calls of test_rows:plain at once, saw at most 1"""
    assert [plain(number) for number in range(3)] == [0, 1, 2]


@must_overlap("work:recursive")
@on_loop
async def test_recursion():
    """broken: expected 2 calls of work:recursive at once, saw at most 1"""
    assert await recursive(2) == 0


@must_overlap("work:recursive")
@on_loop
async def test_recursion_twice():
    """held"""
    await asyncio.gather(recursive(2), recursive(2))


# Exclusion


async def _run_three(lock):
    async def guarded(number):
        async with lock:
            await fetch(number)  # unlocked

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(guarded(number), name=f"caller {number}")


class NoLock:
    async def __aenter__(self):
        pass

    async def __aexit__(self, *exc):
        pass


@must_not_overlap("work:fetch")
@on_loop
async def test_lock_keeps_them_apart():
    """held"""
    await _run_three(asyncio.Lock())


@must_not_overlap("work:fetch", "work:store")
@on_loop
async def test_lock_keeps_two_targets_apart():
    """held"""
    lock = asyncio.Lock()

    async def guarded(function):
        async with lock:
            await function(1)

    await asyncio.gather(guarded(fetch), guarded(store))


@must_not_overlap("work:fetch")
@on_loop
async def test_nothing_keeps_them_apart():
    """broken: fetch#1 was in, called by {unlocked} ... fetch#2 got in, called by {unlocked} ... Nothing keeps them"""
    await _run_three(NoLock())


async def releases_early(number, lock):
    await work._WORK["sleeping"](number)
    lock.release()  # releases_early
    await work._WORK["sleeping"](number)


@must_not_overlap("test_rows:releases_early")
@on_loop
async def test_lock_released_too_early():
    """broken: saw 2 in progress together ... The lock was given back too early, at {releases_early} in"""
    lock = asyncio.Lock()

    async def guarded(number):
        await lock.acquire()
        await releases_early(number, lock)

    await asyncio.gather(guarded(1), guarded(2))


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


@must_not_overlap("work:fetch")
@on_loop
async def test_exclusion_never_called():
    """broken: work:fetch was never called in this test."""


@must_overlap("work:fetch")
@must_not_overlap("work:store")
@on_loop
async def test_two_markers():
    """held"""
    lock = asyncio.Lock()

    async def guarded(number):
        async with lock:
            await store(number)

    await asyncio.gather(fetch(1), fetch(2), guarded(1), guarded(2))


# One test sees nothing of another


@must_overlap("work:fetch")
@on_loop
async def test_first_of_two():
    """held"""
    await asyncio.gather(fetch(1), fetch(2))


@must_overlap("work:fetch")
@on_loop
async def test_second_of_two():
    """broken: Only one call was made"""
    await fetch(1)
