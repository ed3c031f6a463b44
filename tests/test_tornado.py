"""Tornado: native and generator coroutines, its loop, its test cases, its locks, and a server with real requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("tornado", reason="tornado is not installed")

SHOP = """
import asyncio
import time
from tornado import gen

async def fetch(number):
    return number

@gen.coroutine
def old(number):
    yield gen.sleep(0.001)
    return number

@gen.coroutine
def instant(number):
    return number

@gen.coroutine
def failing(number):
    yield gen.moment
    raise ValueError(number)

@gen.coroutine
def sleepy(number):
    yield gen.moment
    time.sleep(0.002)

async def serve():
    await asyncio.sleep(0.001)

async def slow():
    time.sleep(0.002)
"""
HEAD = """
import asyncio
import pytest
from tornado import gen, ioloop, locks, queues, testing, web
from shop import failing, fetch, instant, old, serve, sleepy, slow

def run(main):
    loop = ioloop.IOLoop(make_current=False)
    try:
        return loop.run_sync(main)
    finally:
        loop.close(all_fds=True)
"""
HELD = """
@pytest.mark.must_overlap("shop:fetch", at_least=3)
def test_native_coroutines():
    async def main():
        assert await gen.multi([fetch(number) for number in range(3)]) == [0, 1, 2]
    run(main)

@pytest.mark.must_overlap("shop:old", at_least=3)
def test_generator_coroutines():
    @gen.coroutine
    def main():
        assert (yield [old(number) for number in range(3)]) == [0, 1, 2]
    run(main)

@pytest.mark.must_overlap("shop:instant", at_least=3)
def test_generator_coroutines_that_return_at_once():
    async def main():
        assert await gen.multi([instant(number) for number in range(3)]) == [0, 1, 2]
    run(main)

@pytest.mark.must_overlap("shop:fetch", "shop:old")
def test_one_of_each():
    async def main():
        ioloop.IOLoop.current().spawn_callback(fetch, 1)
        await old(2)
    run(main)

@pytest.mark.must_overlap("shop:old")
def test_spawn_callback():
    async def main():
        for number in range(2):
            ioloop.IOLoop.current().spawn_callback(old, number)
        await gen.sleep(0.01)
    run(main)

@pytest.mark.must_overlap("shop:failing")
def test_calls_that_raise():
    async def main():
        results = await asyncio.gather(failing(1), failing(2), return_exceptions=True)
        assert [str(error) for error in results] == ["1", "2"]
    run(main)

@pytest.mark.must_not_overlap("shop:old")
def test_a_lock():
    async def main():
        lock = locks.Lock()
        async def one(number):
            async with lock:
                await old(number)
        await gen.multi([one(number) for number in range(3)])
    run(main)

class TestCase(testing.AsyncTestCase):
    @pytest.mark.must_overlap("shop:fetch")
    @testing.gen_test
    async def test_native(self):
        await gen.multi([fetch(1), fetch(2)])

    @pytest.mark.must_overlap("shop:fetch")
    @testing.gen_test
    def test_generator(self):
        yield [fetch(1), fetch(2)]

    @pytest.mark.must_overlap("shop:old")
    @testing.gen_test
    def test_generators(self):
        yield [old(1), old(2)]

class Handler(web.RequestHandler):
    async def get(self):
        await serve()
        self.write("served")

class OldHandler(web.RequestHandler):
    @gen.coroutine
    def get(self):
        yield old(1)
        self.write("served")

class SlowHandler(web.RequestHandler):
    async def get(self):
        await slow()
        self.write("served")

class Server(testing.AsyncHTTPTestCase):
    def get_app(self):
        return web.Application([("/", Handler), ("/old", OldHandler), ("/slow", SlowHandler)])

    async def ask(self, path, count):
        answers = await gen.multi([self.http_client.fetch(self.get_url(path)) for _ in range(count)])
        assert {answer.body for answer in answers} == {b"served"}

    @pytest.mark.must_overlap("shop:serve", at_least=5)
    @pytest.mark.must_not_block
    @testing.gen_test
    async def test_requests_are_served_together(self):
        await self.ask("/", 5)

    @pytest.mark.must_overlap("shop:old", at_least=5)
    @testing.gen_test
    async def test_by_generator_coroutines_too(self):
        await self.ask("/old", 5)

    @pytest.mark.must_not_block
    def test_the_client_that_waits_blocks_nobody(self):
        assert self.fetch("/").body == b"served"
"""
BROKEN = """
@pytest.mark.must_overlap("shop:fetch")
def test_in_turn():
    async def main():
        for number in range(2):
            await fetch(number)  # in_turn
    run(main)

@pytest.mark.must_overlap("shop:old")
def test_generators_in_turn():
    @gen.coroutine
    def main():
        for number in range(2):
            yield old(number)  # generators_in_turn
    run(main)

class TestCase(testing.AsyncTestCase):
    @pytest.mark.must_overlap("shop:fetch")
    @testing.gen_test
    def test_in_turn_without_a_task(self):
        for number in range(2):
            yield fetch(number)  # without_a_task

@pytest.mark.must_overlap("shop:fetch")
def test_semaphore():
    async def main():
        lock = locks.Semaphore(1)
        async def one(number):
            async with lock:  # semaphore
                await fetch(number)
        await gen.multi([one(number) for number in range(2)])
    run(main)

@pytest.mark.must_overlap("shop:fetch")
def test_worker():
    async def main():
        numbers = queues.Queue()
        async def work():
            async for number in numbers:
                await fetch(number)  # worker
                numbers.task_done()
        for number in range(2):
            numbers.put_nowait(number)
        ioloop.IOLoop.current().spawn_callback(work)
        await numbers.join()
    run(main)

@pytest.mark.must_overlap("shop:sleepy")
def test_generators_that_block():
    async def main():
        await gen.multi([sleepy(1), sleepy(2)])
    run(main)
"""
SLOW_SERVER = """
class SlowHandler(web.RequestHandler):
    async def get(self):
        await slow()
        self.write("served")

class Server(testing.AsyncHTTPTestCase):
    def get_app(self):
        return web.Application([("/", SlowHandler)])

    @pytest.mark.must_overlap("shop:slow", at_least=3)
    @testing.gen_test
    async def test_requests_that_wait_for_each_other(self):
        await gen.multi([self.http_client.fetch(self.get_url("/")) for _ in range(3)])
"""


def lines(source: str) -> dict[str, str]:
    """Return `file:line` of each line that carries the comment `# name`."""
    numbered = enumerate(source.strip().splitlines(), start=1)
    return {text.rpartition("  # ")[2]: f"test_it.py:{number}" for number, text in numbered if "  # " in text}


def test_what_overlaps_is_proven(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(shop=SHOP, test_it=HEAD + HELD)

    # What tornado's own test cases warn of is not our affair.
    result = inner("-W", "ignore", "-W", "error::pytest_concurrency.BlockingCallWarning")

    result.assert_outcomes(passed=13)


def test_what_does_not_is_broken_with_its_cause(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(shop=SHOP, test_it=HEAD + BROKEN + SLOW_SERVER)
    at = lines(HEAD + BROKEN)

    result = inner("-W", "ignore")

    result.assert_outcomes(failed=7)
    text = " ".join(line.strip() for line in result.outlines)
    for cause in (
        f"Awaited one after the other: {at['in_turn']} in test_in_turn",
        f"Awaited one after the other: {at['generators_in_turn']} in test_generators_in_turn",
        f"Awaited one after the other: {at['without_a_task']} in TestCase.test_in_turn_without_a_task",
        "A semaphore lets them in one at a time:",
        f"1 other waits at {at['semaphore']}",
        f"One worker makes all the calls, from a queue, at {at['worker']}",
        "time.sleep blocked the event loop for",
        "shop.py:25 in sleepy",
        "shop.py:31 in slow",
    ):
        assert cause in text


def test_two_tests_in_a_row_and_nothing_is_left(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        shop=SHOP,
        test_it=HEAD
        + """
        import shop
        before = [locks.Lock.acquire, locks.Semaphore.release, queues.Queue.get, shop.old.__code__]

        @pytest.mark.parametrize("number", range(2))
        @pytest.mark.must_overlap("shop:old")
        def test_it(number):
            async def main():
                await gen.multi([old(1), old(2)])
            run(main)

        def test_a_call_that_is_only_watched_returns_its_own_future(concurrency):
            concurrency.watch("shop:instant")
            concurrency.watch("shop:failing")
            async def main():
                assert instant(1).result() == 1
                assert type(failing(1)) is asyncio.Future
                await gen.sleep(0.001)
            run(main)
            assert [span.outcome for span in concurrency.spans()] == ["returned", "raised"]

        def test_after():
            assert [locks.Lock.acquire, locks.Semaphore.release, queues.Queue.get, shop.old.__code__] == before
        """.replace("\n        ", "\n"),
    )

    inner("-W", "ignore").assert_outcomes(passed=4)
    inner("-W", "ignore", "-p", "no:pytest_concurrency").assert_outcomes(passed=3, errors=1)
