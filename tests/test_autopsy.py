"""What a snapshot sees of tasks, threads and forked children, on every loop."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue, SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._autopsy.snapshot import snapshot
from pytest_concurrency._autopsy.source import name_of
from pytest_concurrency._frames import current_frames
from pytest_concurrency._judge.deadlock import cycle
from pytest_concurrency._places import outward

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pytest_concurrency._hang import Hang, Party

pytestmark = pytest.mark.may_block("looks at everything, in the middle of a loop")


def by_name(hang: Hang) -> dict[str, Party]:
    return {party.name: party for party in hang.parties}


def on(hang: Hang, name: str) -> list[str]:
    return [hang.party(number).name for number in by_name(hang)[name].on]


def circle(hang: Hang) -> set[str]:
    return {party.name for party in cycle(hang)}


class Shop:
    """Things to wait for, as a program has them."""

    def __init__(self) -> None:
        self.a = asyncio.Lock()
        self.locks = {"b": asyncio.Lock()}


def seen(*coroutines: Coroutine[Any, Any, Any], run: Callable[..., Any] = asyncio.run) -> Hang:
    """Return what is seen of tasks when each has come as far as it gets."""

    async def main() -> Hang:
        tasks = [asyncio.ensure_future(each) for each in coroutines]
        for _ in range(20):
            await asyncio.sleep(0)
        looked: asyncio.Future[Hang] = asyncio.get_running_loop().create_future()
        # Outside any task, as a signal that comes while the loop waits.
        asyncio.get_running_loop().call_soon(lambda: looked.set_result(snapshot()))
        hang = await looked
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return hang

    hang: Hang = run(main())
    return hang


def test_holders_of_asyncios_locks_are_found_in_the_suspended_coroutines() -> None:
    shop = Shop()

    async def ab() -> None:
        async with shop.a:
            await asyncio.sleep(0)
            async with shop.locks["b"]:
                pass

    async def ba() -> None:
        async with shop.locks["b"], shop.a:
            pass

    hang = seen(ab(), ba())

    parties = by_name(hang)
    assert circle(hang) == {"ab", "ba"}
    assert (parties["ab"].wait, parties["ab"].what) == ("lock", "Lock `shop.locks['b']`")
    assert (parties["ba"].wait, parties["ba"].what) == ("lock", "Lock `shop.a`")
    assert [(hold.what, hold.sure) for hold in parties["ab"].holds] == [("Lock `shop.a`", True)]
    assert parties["ab"].code == 'async with shop.locks["b"]:'
    assert parties["ab"].holds[0].place is not None
    assert parties["ab"].place is not None
    assert parties["ab"].holds[0].place.line == parties["ab"].place.line - 2


def test_the_same_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop", reason="runs on uvloop")
    lock = asyncio.Lock()

    async def holder() -> None:
        async with lock:
            await asyncio.Event().wait()

    async def waiter() -> None:
        async with lock:
            pass

    hang = seen(holder(), waiter(), run=uvloop.run)

    assert on(hang, "waiter") == ["holder"]
    assert not cycle(hang)


def test_a_lock_taken_by_a_bare_acquire_is_told_by_the_source() -> None:
    lock = asyncio.Lock()

    async def twice() -> None:
        await lock.acquire()
        await lock.acquire()

    async def gave_back() -> None:
        await asyncio.sleep(0)
        other = asyncio.Lock()
        await other.acquire()
        other.release()
        await asyncio.Event().wait()

    hang = seen(twice(), gave_back())

    assert circle(hang) == {"twice"}
    assert [hold.sure for hold in by_name(hang)["twice"].holds] == [False]
    assert not by_name(hang)["gave_back"].holds


def test_a_holder_that_nobody_shows_is_not_guessed() -> None:
    lock = asyncio.Lock()

    async def forgets() -> None:
        await lock.acquire()

    async def waits() -> None:
        async with lock:
            pass

    party = by_name(seen(forgets(), waits()))["waits"]

    assert (party.wait, party.on) == ("lock", ())


def test_each_thing_that_a_task_waits_for_is_named() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    event, condition, semaphore = asyncio.Event(), asyncio.Condition(), asyncio.Semaphore(0)
    child: list[asyncio.Task[Any]] = []

    async def gets() -> None:
        await asyncio.Queue[int]().get()

    async def puts() -> None:
        await queue.put(1)
        await queue.put(2)

    async def joins() -> None:
        await queue.join()

    async def sets() -> None:
        await event.wait()

    async def notified() -> None:
        async with condition:
            await condition.wait()

    async def limited() -> None:
        async with semaphore:
            pass

    async def sleeps() -> None:
        await asyncio.sleep(1000)

    async def future() -> None:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await answer

    async def awaits() -> None:
        child.append(asyncio.create_task(sleeps(), name="named"))
        await child[0]

    async def gathers() -> None:
        await asyncio.gather(asyncio.create_task(sets(), name="set 2"), asyncio.create_task(gets(), name="get 2"))

    async def shields() -> None:
        await asyncio.shield(child[0])

    async def either() -> None:
        await asyncio.wait(child, return_when=asyncio.FIRST_COMPLETED)

    async def times_out() -> None:
        await asyncio.wait_for(event.wait(), 1000)

    async def groups() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sets(), name="set 3")

    async def limit() -> None:
        async with asyncio.timeout(1000):
            await event.wait()

    hang = seen(
        gets(), puts(), joins(), sets(), notified(), limited(), sleeps(), future(), awaits(), gathers(), shields(),
        either(), times_out(), groups(), limit(),
    )  # fmt: skip

    parties = by_name(hang)
    waits = {name: (party.wait, party.what) for name, party in parties.items()}
    assert waits["gets"][0] == "get"
    assert waits["gets"][1].startswith("Queue")
    assert waits["puts"] == ("put", "Queue `queue`")
    assert waits["joins"] == ("join queue", "Queue `queue`")
    assert waits["sets"] == ("event", "Event `event`")
    assert waits["notified"] == ("condition", "Condition `condition`")
    assert waits["limited"] == ("semaphore", "Semaphore `semaphore`")
    assert (parties["sleeps"].wait, parties["sleeps"].note) == ("timer", "1000 s")
    assert waits["future"] == ("future", "Future `answer`")
    assert on(hang, "awaits") == ["named"]
    assert on(hang, "gathers") == ["set 2", "get 2"]
    assert on(hang, "shields") == on(hang, "either") == ["named"]
    assert (parties["either"].any_of, parties["awaits"].any_of) == (True, False)
    assert on(hang, "groups") == ["set 3"]
    for name in ("times_out", "limit"):
        assert parties[name].within is not None
        assert 900 < parties[name].within <= 1000


def test_two_of_one_name_are_told_apart() -> None:
    async def waits() -> None:
        event = asyncio.Event()
        await event.wait()

    hang = seen(waits(), waits())

    assert {party.what for party in hang.parties if party.wait == "event"} == {"Event `event`", "Event `event` (2)"}
    assert len({party.name for party in hang.parties}) == len(hang.parties)


def test_a_loop_that_is_kept_by_a_call_that_needs_it_is_a_circle() -> None:
    hangs: list[Hang] = []

    async def answer() -> int:
        return 1

    async def asks() -> None:
        loop = asyncio.get_running_loop()
        future = asyncio.run_coroutine_threadsafe(answer(), loop)
        watching(future, hangs)
        assert future.result() == 2

    asyncio.run(asks())

    assert circle(hangs[0]) == {"asks", "MainThread"}
    assert by_name(hangs[0])["asks"].note == "not begun: its event loop stands still"


def watching(future: Future[int], hangs: list[Hang]) -> None:
    """Look at this thread when it waits for *future*, and then give it a result."""
    here = threading.get_ident()

    def look() -> None:
        # Until it stands where it waits.
        while not any(frame.f_code.co_name == "result" for frame in outward(current_frames()[here])):
            pass
        hangs.append(snapshot_in_which(circle))
        future.set_result(2)

    threading.Thread(target=look, name="watch").start()


def test_jobs_that_wait_for_jobs_of_their_own_pool_are_a_circle() -> None:
    both = threading.Barrier(3)
    inner: list[Future[int]] = []

    with ThreadPoolExecutor(2, thread_name_prefix="pool") as pool:

        def outer() -> int:
            both.wait()
            future = pool.submit(int, "1")
            inner.append(future)
            # It ends by itself, for this test only.
            return future.result()

        jobs = [pool.submit(outer) for _ in range(2)]
        both.wait()
        standing("result", 2)
        hang = snapshot_in_which(cycle)
        for future in tuple(inner):
            future.set_result(1)
        assert [job.result() for job in jobs] == [1, 1]

    assert circle(hang) <= {"pool_0", "pool_1"}
    assert cycle(hang)
    assert by_name(hang)["pool_0"].note == "not begun: all 2 threads of its pool are busy"


def standing(function: str, count: int) -> None:
    """Return when *count* other threads are inside a function of that name."""
    while (
        sum(any(each.f_code.co_name == function for each in outward(frame)) for frame in current_frames().values())
        < count
    ):
        pass


def snapshot_in_which(holds: Callable[[Hang], object]) -> Hang:
    """Return a look of which *holds* is true, the last where there is none.

    A thread that has called what waits may be on its way into the wait.
    """
    for _ in range(10_000):
        hang = snapshot()
        if holds(hang):
            break
    return hang


@contextlib.contextmanager
def threads(*functions: Callable[[], object]) -> Iterator[None]:
    """Run each function in a thread of its name, until the block has ended; each has to end then."""
    running = [threading.Thread(target=each, name=each.__name__, daemon=True) for each in functions]
    for thread in running:
        thread.start()
    yield
    for thread in running:
        thread.join()


def test_threads_that_want_each_others_locks_are_a_circle() -> None:
    a, b = threading.Lock(), threading.RLock()
    both = threading.Barrier(2)

    def one() -> None:
        # It is given back for it, so that this test ends.
        with contextlib.suppress(RuntimeError), a:
            both.wait()
            wants_b()

    def wants_b() -> None:
        with b:
            pass

    def two() -> None:
        with b:
            both.wait()
            wants_a()

    def wants_a() -> None:
        with a:
            pass

    with threads(one, two):
        standing("wants_a", 1)
        standing("wants_b", 1)
        hang = snapshot_in_which(circle)
        a.release()

    parties = by_name(hang)
    assert circle(hang) == {"one", "two"}
    assert (parties["two"].wait, parties["two"].what) == ("lock", "Lock `a`")
    assert (parties["one"].wait, parties["one"].what) == ("lock", "RLock `b`")
    assert [hold.what for hold in parties["one"].holds] == ["Lock `a`"]


@pytest.mark.skipif(not hasattr(selectors, "PollSelector"), reason="this system has no poll()")
def test_the_time_limit_of_a_selector_is_in_seconds() -> None:
    mine, other = socket.socketpair()

    def selects() -> None:
        with selectors.PollSelector() as selector:
            selector.register(mine, selectors.EVENT_READ)
            selector.select(1000)

    with mine, other, threads(selects):
        standing("select", 1)
        # On its way into the wait it makes milliseconds of it.
        hang = snapshot_in_which(lambda hang: by_name(hang)["selects"].within == 1000.0)
        other.send(b"x")

    assert (by_name(hang)["selects"].wait, by_name(hang)["selects"].within) == ("io", 1000.0)


def test_each_thing_that_a_thread_waits_for_is_named() -> None:
    queue: Queue[int] = Queue()
    simple: SimpleQueue[int] = SimpleQueue()
    event, done = threading.Event(), threading.Event()

    def gets() -> None:
        queue.get()

    def gets_simply() -> None:
        simple.get()

    def waits() -> None:
        event.wait()

    def ends() -> None:
        done.wait()

    with threads(ends):
        other = next(each for each in threading.enumerate() if each.name == "ends")

        def joins() -> None:
            other.join()

        with threads(gets, gets_simply, waits, joins):
            standing("gets", 1)
            standing("gets_simply", 1)
            standing("waits", 1)
            standing("join", 1)
            names = ("gets", "gets_simply", "waits", "joins", "ends")
            hang = snapshot_in_which(lambda hang: all(by_name(hang)[name].wait for name in names))
            parties = by_name(hang)
            queue.put(1)
            simple.put(1)
            event.set()
            done.set()

    waits_for = {name: (party.wait, party.what) for name, party in parties.items()}
    assert waits_for["gets"] == ("get", "Queue `queue`")
    assert waits_for["gets_simply"] == ("get", "Queue `simple`")
    assert waits_for["waits"] == ("event", "Event `event`")
    assert waits_for["joins"][0] == "join"
    assert on(hang, "joins") == ["ends"]


def seen_on_trio(*functions: Callable[[], Coroutine[Any, Any, Any]]) -> Hang:
    trio = pytest.importorskip("trio", reason="runs on trio")
    testing = pytest.importorskip("trio.testing", reason="runs on trio")

    async def main() -> Hang:
        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)
            await testing.wait_all_tasks_blocked()
            hang = snapshot()
            nursery.cancel_scope.cancel()
        return hang

    hang: Hang = trio.run(main)
    return hang


def test_trios_tasks_are_seen_with_what_they_hold() -> None:
    trio = pytest.importorskip("trio", reason="runs on trio")
    locks = trio.Lock(), trio.Lock()
    a, b = locks
    condition = trio.Condition()

    async def ab() -> None:
        async with a:
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            async with b:
                pass

    async def ba() -> None:
        async with b:
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            async with a:
                pass

    async def gets() -> None:
        _, receive = trio.open_memory_channel(0)
        await receive.receive()

    async def notified() -> None:
        async with condition:
            await condition.wait()

    async def parent() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeps)

    async def sleeps() -> None:
        with trio.move_on_after(1000):
            await trio.sleep_forever()

    hang = seen_on_trio(ab, ba, gets, notified, parent)

    parties = by_name(hang)
    assert circle(hang) == {"ab", "ba"}
    assert [hold.what for hold in parties["ab"].holds] == ["Lock `a`"]
    assert parties["gets"].wait == "get"
    assert (parties["notified"].wait, parties["notified"].what) == ("condition", "Condition `condition`")
    assert on(hang, "parent") == ["sleeps"]
    assert parties["sleeps"].within is not None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyios_locks_are_seen_on_either_loop(backend: str) -> None:
    anyio = pytest.importorskip("anyio", reason="runs on anyio")
    pytest.importorskip(backend, reason="the backend")
    hangs: list[Hang] = []

    async def main() -> None:
        a, b = anyio.Lock(), anyio.Lock()

        async def ab() -> None:
            async with a:
                await anyio.wait_all_tasks_blocked()
                async with b:
                    pass

        async def ba() -> None:
            async with b:
                await anyio.wait_all_tasks_blocked()
                async with a:
                    pass

        async with anyio.create_task_group() as group:
            group.start_soon(ab)
            group.start_soon(ba)
            # On asyncio, a task that waits until all are blocked sleeps meanwhile, and counts as blocked itself.
            while not (a.statistics().tasks_waiting and b.statistics().tasks_waiting):
                await anyio.wait_all_tasks_blocked()
            hangs.append(snapshot())
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)

    assert circle(hangs[0]) == {"ab", "ba"}
    assert by_name(hangs[0])["ab"].what == "Lock `b`"
    assert [hold.what for hold in by_name(hangs[0])["ab"].holds] == ["Lock `a`"]


def test_nothing_of_the_users_is_called() -> None:
    class Touchy:
        def __repr__(self) -> str:
            raise AssertionError

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        def __hash__(self) -> int:
            raise AssertionError

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        @property
        def __class__(self) -> type:  # type: ignore[override]
            raise AssertionError

        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *exc: object) -> None:
            pass

    event = asyncio.Event()

    async def waits() -> None:
        touchy = Touchy()
        async with touchy:
            await event.wait()

    assert not seen(waits()).lost
    assert name_of(event, [sys._getframe()]) == "event"
