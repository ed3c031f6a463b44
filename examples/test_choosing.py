"""Which way of concurrency to choose: the claims D1 to D6, the list at the end of the notes.

Run it with `pytest examples/test_choosing.py`. You will see workers that share nothing but a socket, threads that
compute and are told to become processes, 10, 1000 and 20 000 units that wait, what each of them costs, a pool that
lets in three at a time, and queues and locks in threads, processes, asyncio and trio.

`concurrency.advice()` walks down the same list, from what it has recorded.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import queue
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lesson_work
import pytest

from pytest_concurrency import OverlapError

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).parent / "programs"
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def in_threads(*works: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_processes(*works: Callable[[], object], context: Any = multiprocessing) -> None:
    processes = [context.Process(target=work) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}


def words(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


# D1


@pytest.mark.must_overlap("lesson_work.square", at_least=2)
def test_d1_processes_that_were_started_separately_share_the_work_by_messages() -> None:
    """D1: distributed: only processes can ("分布式,只能选择多进程").

    Two programs are started by themselves, as they would be on two machines, and share nothing but messages with this
    one: no memory, no module, no pool. Threads and coroutines end where their process ends.

    Verdict: true.
    Seen: two programs, told a number each by socket, compute the squares at the same time and send them back.
    """
    workers, ends = [], []
    command = [sys.executable, str(PROGRAMS / "socket_worker.py")]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            # The variable lets this test's recording see into a program that it did not make.
            environment = {**os.environ, "PYTEST_CONCURRENCY_CHILD": "1"}
            address = [str(part) for part in listener.getsockname()]
            workers.append(subprocess.Popen([*command, *address], env=environment))
            connection, _ = listener.accept()
            ends.append(connection)
    answers = []
    for end, number in zip(ends, (3, 4), strict=True):
        end.sendall(b"%d\n" % number)
    for end in ends:
        answers.append(int(end.recv(16)))
        end.close()

    assert answers == [9, 16]
    assert [worker.wait(60) for worker in workers] == [0, 0]


# D2


def test_d2_computing_in_threads_is_advised_to_become_processes(concurrency: Any) -> None:
    """D2: CPU-bound: processes ("CPU密集,多进程").

    The advice comes from what the run asked of the processors. On a Python without a GIL the note is out of date, and
    the advice for the same run is "threads".

    Verdict: imprecise.
    Seen: of 4 computing threads under a GIL it is said that processes fit, without a GIL that threads fit.
    """
    concurrency.watch(lesson_work.count)
    barrier = threading.Barrier(4)
    count = partial(lesson_work.count, 2_000_000)

    in_threads(*[partial(lesson_work.start_together, barrier, count)] * 4)

    advice = words(concurrency.advice())
    assert advice.startswith(f"lesson_work:count: {'processes' if HAS_GIL else 'threads'} fit. 4 calls in 4 threads, ")
    assert " they compute, and " in advice


# D3


class Units:
    """Units that wait until all of them are there, in each way."""

    async def coroutine(self) -> None:
        self._arrive()
        await self._all_here.wait()

    def thread(self) -> None:
        self._barrier.wait(60)

    def _arrive(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_here.set()

    def in_threads(self, many: int) -> None:
        self._barrier = threading.Barrier(many)
        in_threads(*[self.thread] * many)

    def in_coroutines(self, many: int) -> None:
        async def main() -> None:
            self._all_here = asyncio.Event()
            self._missing = many
            await asyncio.gather(*(self.coroutine() for _ in range(many)))

        asyncio.run(main())


@pytest.mark.may_block("that many are started in one step of the loop")
@pytest.mark.parametrize(
    ("way", "many", "fits"),
    [
        pytest.param("thread", 10, "a pool of threads fits", id="few threads"),
        pytest.param("coroutine", 10, "a pool of threads fits", id="few coroutines"),
        pytest.param("thread", 1000, "coroutines fit", id="many threads"),
        pytest.param("coroutine", 1000, "coroutines fit", id="many coroutines"),
        pytest.param("coroutine", 20_000, "processes, threads and coroutines together fit", id="very many coroutines"),
    ],
)
def test_d3_the_more_wait_at_once_the_lighter_they_have_to_be(way: str, many: int, fits: str, concurrency: Any) -> None:
    """D3: I/O-bound on one machine: few → threads, many → coroutines, very many → all three ("多进程+多线程+协程").

    All of them overlap in every way; what differs is the cost. A thread takes tens of kilobytes and a coroutine about
    one, so that the number decides. Where "many" begins no note can say; the advice draws its lines at 100 and 10 000.

    Verdict: true.
    Seen: 10 and 1000 threads, 10, 1000 and 20 000 coroutines, and 20 000 units in all three together each wait at
    once; the advice is threads for 10, coroutines for 1000, all three for 20 000; a coroutine takes less memory than a
    thread, and a thread less than a process.
    """
    concurrency.watch(getattr(Units, way), name=way)
    units = Units()

    if way == "thread":
        units.in_threads(many)
    else:
        units.in_coroutines(many)

    concurrency.assert_overlap(way, at_least=many)
    assert words(concurrency.advice()).startswith(f"{way}: {fits}. {many} calls in {many} ")


PROCESSES, THREADS, EACH = 4, 2, 2500


def loops_in_threads(arrived: Any, may_leave: Any) -> None:
    """Run an event loop with its coroutines in each of some threads of this process."""
    in_threads(*[partial(loop_of_coroutines, arrived, may_leave)] * THREADS)


def loop_of_coroutines(arrived: Any, may_leave: Any) -> None:
    """Run coroutines that wait until those of all processes are there."""

    async def main() -> None:
        here, left = 0, asyncio.Event()

        async def unit() -> None:
            nonlocal here
            here += 1
            await left.wait()

        async def leaves() -> None:
            for _ in range(here):
                arrived.release()
            await asyncio.to_thread(may_leave.wait, 60)
            left.set()

        await asyncio.gather(*(unit() for _ in range(EACH)), leaves())

    asyncio.run(main())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_d3_twenty_thousand_in_processes_threads_and_coroutines(concurrency: Any) -> None:
    """D3, very many: four processes with two threads with 2500 coroutines each, and all 20 000 wait at once.

    Nobody may leave before each of the 20 000 has come, so they are all there at that instant; what the recording
    proves is that the eight loops are.
    """
    concurrency.watch(loop_of_coroutines, name="loop")
    context = multiprocessing.get_context("fork")
    arrived, may_leave = context.Semaphore(0), context.Event()

    processes = [context.Process(target=loops_in_threads, args=(arrived, may_leave)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for _ in range(PROCESSES * THREADS * EACH):
        assert arrived.acquire(timeout=60)
    may_leave.set()
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}

    concurrency.assert_overlap("loop", at_least=PROCESSES * THREADS)
    assert {call.outcome for call in concurrency.spans("loop")} == {"returned"}


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of processes is read from Linux's /proc")
def test_d3_what_a_unit_costs_is_measured_and_drawn(tmp_path: Path) -> None:
    """D3, the reason: measured in this run. `programs/cost_of_units.py` draws the picture in README.md."""
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    cost_of_units = pytest.importorskip("cost_of_units")
    many = {"threads": 200, "coroutines": 2000, "processes": 4, "all three": 2000}

    figures = {way: [cost_of_units.measure(way, number)] for way, number in many.items()}
    cost_of_units.draw(figures, str(tmp_path / "costs.png"))

    memory = {way: points[0]["memory"] for way, points in figures.items()}
    assert memory["coroutines"] < memory["threads"] < memory["processes"]
    assert memory["all three"] < memory["threads"]
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")


# D4


@pytest.mark.must_overlap("lesson_work.wait", at_least=3, at_most=3)
def test_d4_a_pool_caps_how_many_there_are_at_once() -> None:
    """D4: no dynamic scheduling → thread pool; dynamic → create threads by hand ("没有, 线程池", "有,手动创建线程").

    A pool has its size, and whoever comes later waits outside. Work that starts more work, and waits for it, may then
    wait for a place that it holds itself.

    Verdict: true.
    Seen: a pool of 3 has 3 of 10 calls in at once and the next one outside; 10 threads made by hand are all in at once.
    """
    with ThreadPoolExecutor(3) as pool:
        for _ in range(10):
            pool.submit(lesson_work.wait)


@pytest.mark.must_overlap("lesson_work.wait", at_least=10)
def test_d4_threads_made_by_hand_are_as_many_as_one_makes() -> None:
    """D4, by hand: nobody waits outside."""
    in_threads(*[lesson_work.wait] * 10)


def test_d4_work_that_starts_work_starves_in_a_pool_and_not_in_threads(concurrency: Any) -> None:
    """D4, the reason for doing it by hand: the pool's one place is taken by the call that waits for a second one."""

    def outer_in_a_pool():
        with pytest.raises(FutureTimeoutError):
            pool.submit(lesson_work.wait).result(timeout=0.05)

    def outer_by_hand():
        in_threads(lesson_work.wait)

    concurrency.watch(outer_by_hand)
    concurrency.watch(lesson_work.wait)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(outer_in_a_pool).result()
    # It was made, when the one that had handed it in was gone.
    assert concurrency.spans(outer_by_hand) == ()
    assert len(concurrency.spans(lesson_work.wait)) == 1

    in_threads(outer_by_hand)
    concurrency.assert_overlap(outer_by_hand, lesson_work.wait)


# D5


@pytest.mark.must_overlap("lesson_work.produce", "lesson_work.consume")
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_d5_producer_and_consumer_overlap_through_a_queue(kind: str) -> None:
    """D5: tasks communicate through queues ("并发任务之间的通信:队列").

    The queue has one place: the producer has to wait for the consumer and the other way round, and both are in progress
    all the while. The same shape in threads, in processes, in asyncio and, with a channel, in trio.

    Verdict: true.
    Seen: producer and consumer are in progress at once, through queue.Queue, multiprocessing.Queue, asyncio.Queue and a
    trio channel.
    """
    if kind == "threads":
        places: Any = queue.Queue(1)
        in_threads(partial(lesson_work.produce, places), partial(lesson_work.consume, places))
    else:
        context = multiprocessing.get_context()
        places = context.Queue(1)
        in_processes(partial(lesson_work.produce, places), partial(lesson_work.consume, places), context=context)
        places.close()


@pytest.mark.must_not_block
def test_d5_producer_and_consumer_overlap_through_a_queue_asyncio(concurrency: Any) -> None:
    """D5 in asyncio."""

    async def produce(places):
        for item in (1, 2, 3, None):
            await places.put(item)

    async def consume(places):
        total = 0
        while (item := await places.get()) is not None:
            total += item
        return total

    async def main():
        places: asyncio.Queue[int | None] = asyncio.Queue(1)
        return await asyncio.gather(produce(places), consume(places))

    concurrency.watch(produce)
    concurrency.watch(consume)

    assert asyncio.run(main()) == [None, 6]

    concurrency.assert_overlap(produce, consume)


@pytest.mark.must_not_block
def test_d5_producer_and_consumer_overlap_through_a_channel_trio(concurrency: Any) -> None:
    """D5 in trio: a channel is a queue with two ends, and the end of the sender is the last word."""
    trio = pytest.importorskip("trio")
    total = 0

    async def produce(sender):
        async with sender:
            for item in (1, 2, 3):
                await sender.send(item)

    async def consume(receiver):
        nonlocal total
        async for item in receiver:
            total += item

    async def main():
        sender, receiver = trio.open_memory_channel(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce, sender)
            nursery.start_soon(consume, receiver)

    concurrency.watch(produce)
    concurrency.watch(consume)

    trio.run(main)

    assert total == 6
    concurrency.assert_overlap(produce, consume)


# D6

# Without the lock the marker has to fail: `strict` makes a pass an error.
with_and_without_the_lock = pytest.mark.parametrize(
    "locked",
    [
        pytest.param(True, id="locked"),
        pytest.param(False, id="unlocked", marks=pytest.mark.xfail(raises=OverlapError, strict=True)),
    ],
)


@with_and_without_the_lock
@pytest.mark.must_not_overlap("lesson_work.critical")
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_d6_a_lock_keeps_them_apart(kind: str, locked: bool) -> None:
    """D6: tasks synchronise with locks ("并发任务之间的同步:锁").

    `must_not_overlap` gives the other one every chance to get in: a call that is done is held until nobody else can
    come. So it passes because of the lock, and not because the two happened to miss each other.

    Verdict: true.
    Seen: with the lock no two calls are in progress together, without it they are: in threads, in processes, in asyncio
    and in trio.
    """
    if kind == "threads":
        lock: Any = threading.Lock() if locked else nullcontext()
        in_threads(*[partial(lesson_work.take_turns, lock)] * 2)
    else:
        context = multiprocessing.get_context()
        lock = context.Lock() if locked else nullcontext()
        in_processes(*[partial(lesson_work.take_turns, lock)] * 2, context=context)


async def critical_on_a_loop() -> None:
    """Be where only one may be."""


@with_and_without_the_lock
@pytest.mark.must_not_overlap.with_args(critical_on_a_loop)
@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_d6_a_lock_keeps_tasks_apart(library: str, locked: bool) -> None:
    """D6 on an event loop, where no preemption protects whoever awaits in between."""
    module = pytest.importorskip(library)

    async def take_turns(lock):
        if locked:
            async with lock:
                await critical_on_a_loop()
        else:
            await critical_on_a_loop()

    async def main():
        lock = module.Lock()
        if library == "asyncio":
            await asyncio.gather(take_turns(lock), take_turns(lock))
        else:
            async with module.open_nursery() as nursery:
                nursery.start_soon(take_turns, lock)
                nursery.start_soon(take_turns, lock)

    if library == "asyncio":
        asyncio.run(main())
    else:
        module.run(main)
