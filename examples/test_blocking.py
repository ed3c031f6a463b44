"""Blocking inside async code: the claims B1 to B6 of the notes, on asyncio, trio and anyio.

Run it with `pytest examples/test_blocking.py`. You will see that `time.sleep` keeps coroutines from overlapping and is
reported with its line, that `await` alone makes nothing concurrent, that `gather` and a nursery do, that five things
have an async twin for this very reason, and what a synchronous HTTP client does to an event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import runpy
import socket
import threading
import time
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency import OverlapError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

NOTES = Path(__file__).parent / "notes"

SECOND = 0.05
"""What the notes' `time.sleep(1)` takes here: a blocked loop cannot be hurried by a virtual clock."""

# These tests block the loop on purpose, to see that it is noticed.
blocks_on_purpose = pytest.mark.filterwarnings("ignore::pytest_concurrency.BlockingCallWarning")
both = pytest.mark.parametrize("library", ["asyncio", "trio"])


def run(library: str, main: Callable[[], Awaitable[object]]) -> None:
    """Run the notes' `main()` on one of the two libraries."""
    if library == "asyncio":
        asyncio.run(main())  # type: ignore[arg-type]
    else:
        pytest.importorskip("trio").run(main)


def lines_of(function: Callable[..., object], text: str) -> list[tuple[str, int]]:
    """Return file and line of each line of *function* that has *text* in it."""
    lines, first = inspect.getsourcelines(function)
    return [(__file__, number) for number, line in enumerate(lines, first) if text in line.partition("#")[0]]


def never_awaited(concurrency: Any) -> list[tuple[str, int]]:
    """Return file and line at which each coroutine was made that nobody awaited."""
    return [(leak.place.file, leak.place.line) for leak in concurrency.leaks if leak.kind == "coroutine"]


# B1


@both
@blocks_on_purpose
def test_b1_two_coroutines_with_time_sleep_block_the_loop_one_after_the_other(library: str, concurrency: Any) -> None:
    """B1: two coroutines with `time.sleep(1)` take 2 s ("耗时2s").

    They never overlap, and both calls are reported, each with its file and line. A second is 0.05 s here.

    Verdict: true.
    Seen: the two never overlap, and two time.sleep are reported, each with its file and line; as printed, the program
    ends in an AttributeError before anything has slept.
    """

    async def f1():
        time.sleep(SECOND)  # 这是线程阻塞的代码  整个线程会停住一秒
        print("f1:done")

    async def f2():
        time.sleep(SECOND)  # 这是线程阻塞的代码
        print("f2:done")

    async def main():
        await f1()
        await f2()

    concurrency.watch(f1)
    concurrency.watch(f2)

    run(library, main)

    concurrency.assert_no_overlap(f1, f2)
    assert [block.call for block in concurrency.blocks] == ["time.sleep", "time.sleep"]
    found = [(block.place.file, block.place.line) for block in concurrency.blocks]
    assert found == lines_of(f1, "time.sleep") + lines_of(f2, "time.sleep")


@blocks_on_purpose
def test_b1_gather_does_not_help_where_the_coroutines_block_asyncio(concurrency: Any) -> None:
    """B1, the reason: it is the blocked thread that makes it 2 s, not the two `await`s in a row.

    `gather` starts both coroutines as tasks, and still the first keeps the second from running at all.
    """

    async def f1():
        time.sleep(SECOND)

    async def f2():
        time.sleep(SECOND)

    async def main():
        await asyncio.gather(f1(), f2())

    concurrency.watch(f1)
    concurrency.watch(f2)

    asyncio.run(main())

    with pytest.raises(OverlapError):
        concurrency.assert_overlap(f1, f2)
    assert len(concurrency.blocks) == 2


@blocks_on_purpose
def test_b1_a_nursery_does_not_help_where_the_coroutines_block_trio(concurrency: Any) -> None:
    """B1, the reason, in trio."""
    trio = pytest.importorskip("trio")

    async def f1():
        time.sleep(SECOND)

    async def f2():
        time.sleep(SECOND)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(f1)
            nursery.start_soon(f2)

    concurrency.watch(f1)
    concurrency.watch(f2)

    trio.run(main)

    with pytest.raises(OverlapError):
        concurrency.assert_overlap(f1, f2)
    assert len(concurrency.blocks) == 2


PRINTED = """\
import asyncio
import time

async def f1():
    time.sleep(0.05)  # line 5
    print("f1:done")

async def f2():
    time.sleep(0.05)  # line 9
    print("f2:done")

async def main():
    await f1();
    await f2();
"""


def test_b1_the_report_names_file_and_line(pytester: pytest.Pytester) -> None:
    """B1, what a reader sees: a suite that runs with `--blocking=fail` fails, and is told where."""
    pytester.makepyfile(test_notes=PRINTED + "\ndef test_main():\n    asyncio.run(main())\n")

    result = pytester.runpytest_subprocess("--blocking=fail")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*time.sleep*"])
    result.stdout.fnmatch_lines(["*test_notes.py:5*"])
    result.stdout.fnmatch_lines(["*test_notes.py:9*"])


def test_b1_as_printed_the_program_takes_its_own_time_module_away() -> None:
    """B1, a slip in the notes: `time = time.time()` at module level replaces the module, so `time.sleep` is gone.

    As printed, the program ends in an `AttributeError` before anything has slept.
    """
    with pytest.raises(AttributeError, match="'float' object has no attribute 'sleep'"):
        runpy.run_path(str(NOTES / "time_sleep.py"), run_name="__main__")


@pytest.mark.virtual_clock(patch_time=True)
@blocks_on_purpose
def test_b1_the_notes_program_with_the_slip_mended(concurrency: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """B1, `notes/time_sleep_right.py`, run as the script that it is, on a clock that nobody waits for."""
    runpy.run_path(str(NOTES / "time_sleep_right.py"), run_name="__main__")

    assert capsys.readouterr().out == "f1:done\nf2:done\n耗时2.00 \n"


# B2


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b2_asyncio_sleep_awaited_one_after_the_other_takes_2_s_asyncio(concurrency: Any, virtual_clock: Any) -> None:
    """B2: with `asyncio.sleep`, awaited one after the other, it still takes 2 s ("依然2s,依旧不是并行运行的").

    Nothing blocks any more, and nothing overlaps either. So it is for the program that is meant; the one that is
    printed forgets an `await` in `f2` and takes 1 s.

    Verdict: imprecise.
    Seen: the meant program takes exactly 2 s, without overlap and without a block; the printed one takes exactly 1 s,
    and f2's sleep is reported as never awaited.
    """

    async def f1():
        await asyncio.sleep(1)  # 这是非阻塞的协程 ,类似于yeild
        print("f1:done")

    async def f2():
        await asyncio.sleep(1)  # 非阻塞的协程 ,类似于yeild
        print("f2:done")

    async def main():
        await f1()  # 等待协程结束
        await f2()

    concurrency.watch(f1)
    concurrency.watch(f2)

    asyncio.run(main())

    assert virtual_clock.elapsed == 2
    concurrency.assert_no_overlap(f1, f2)
    with pytest.raises(OverlapError, match="one after the other"):
        concurrency.assert_overlap(f1, f2)


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b2_sleep_awaited_one_after_the_other_takes_2_s_trio(concurrency: Any, virtual_clock: Any) -> None:
    """B2 in trio."""
    trio = pytest.importorskip("trio")

    async def f1():
        await trio.sleep(1)
        print("f1:done")

    async def f2():
        await trio.sleep(1)
        print("f2:done")

    async def main():
        await f1()
        await f2()

    concurrency.watch(f1)
    concurrency.watch(f2)

    trio.run(main)

    assert virtual_clock.elapsed == 2
    concurrency.assert_no_overlap(f1, f2)
    with pytest.raises(OverlapError, match="one after the other"):
        concurrency.assert_overlap(f1, f2)


@pytest.mark.virtual_clock
def test_b2_as_printed_f2_forgets_its_await_and_it_takes_1_s_asyncio(
    concurrency: Any, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """B2, a slip in the notes: `f2` forgets its `await`, so its sleep never runs, and the program takes 1 s, not 2.

    Python says so itself when it throws the coroutine away, but not where it was made; the report of leaks does.
    """

    async def f1():
        await asyncio.sleep(1)  # 这是非阻塞的协程 ,类似于yeild
        print("f1:done")

    async def f2():
        asyncio.sleep(1)  # 非阻塞的协程 ,类似于yeild
        print("f2:done")

    async def main():
        await f1()  # 等待协程结束
        await f2()

    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        asyncio.run(main())

    assert virtual_clock.elapsed == 1
    assert capsys.readouterr().out == "f1:done\nf2:done\n"
    assert never_awaited(concurrency) == lines_of(f2, "asyncio.sleep(1)")


@pytest.mark.virtual_clock
def test_b2_as_printed_f2_forgets_its_await_and_it_takes_1_s_trio(concurrency: Any, virtual_clock: Any) -> None:
    """B2, the slip, in trio."""
    trio = pytest.importorskip("trio")

    async def f1():
        await trio.sleep(1)

    async def f2():
        trio.sleep(1)

    async def main():
        await f1()
        await f2()

    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        trio.run(main)

    assert virtual_clock.elapsed == 1
    assert never_awaited(concurrency) == lines_of(f2, "trio.sleep(1)")


@pytest.mark.virtual_clock(patch_time=True)
def test_b2_the_notes_program_with_the_slips_mended(capsys: pytest.CaptureFixture[str]) -> None:
    """B2, `notes/asyncio_sleep_right.py`, run as the script that it is."""
    runpy.run_path(str(NOTES / "asyncio_sleep_right.py"), run_name="__main__")

    assert capsys.readouterr().out == "f1:done\nf2:done\n耗时2.00 \n"


# B3


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
@pytest.mark.must_not_block
def test_b3_with_gather_it_takes_1_s_asyncio(concurrency: Any, virtual_clock: Any) -> None:
    """B3: with `gather` it takes 1 s and is now concurrent ("修改后,耗时1s,是并发操作").

    In the printed program `f2` still forgets its `await`, so that 1 s proves nothing there: it took 1 s before, too.

    Verdict: true.
    Seen: f1 and f2 overlap, exactly 1 s, and nothing blocks; so in a trio nursery.
    """

    async def f1():
        await asyncio.sleep(1)
        print("f1:done")

    async def f2():
        await asyncio.sleep(1)
        print("f2:done")

    async def main():
        await asyncio.gather(f1(), f2())

    concurrency.watch(f1)
    concurrency.watch(f2)

    asyncio.run(main())

    assert virtual_clock.elapsed == 1
    concurrency.assert_overlap(f1, f2)


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
@pytest.mark.must_not_block
def test_b3_in_a_nursery_it_takes_1_s_trio(concurrency: Any, virtual_clock: Any) -> None:
    """B3 in trio, where a nursery takes the place of `gather`."""
    trio = pytest.importorskip("trio")

    async def f1():
        await trio.sleep(1)
        print("f1:done")

    async def f2():
        await trio.sleep(1)
        print("f2:done")

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(f1)
            nursery.start_soon(f2)

    concurrency.watch(f1)
    concurrency.watch(f2)

    trio.run(main)

    assert virtual_clock.elapsed == 1
    concurrency.assert_overlap(f1, f2)


@pytest.mark.virtual_clock(patch_time=True)
def test_b3_the_notes_program_with_the_slips_mended(capsys: pytest.CaptureFixture[str]) -> None:
    """B3, `notes/gather_right.py`, run as the script that it is."""
    runpy.run_path(str(NOTES / "gather_right.py"), run_name="__main__")

    assert capsys.readouterr().out == "f1:done\nf2:done\n耗时1.00 \n"


@pytest.mark.virtual_clock
@pytest.mark.parametrize("name", ["asyncio_sleep.py", "gather.py"])
def test_b3_as_printed_it_takes_1_s_with_and_without_gather(
    name: str, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """B3, the slip: since `f2` never sleeps, the printed program cannot tell what `gather` is good for.

    And it does not get to print its time: `time = time.time()` has taken the module away.
    """
    with (
        pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"),
        pytest.raises(AttributeError, match="'float' object has no attribute 'time'"),
    ):
        runpy.run_path(str(NOTES / name), run_name="__main__")

    assert sorted(capsys.readouterr().out.split()) == ["f1:done", "f2:done"]
    assert virtual_clock.elapsed == 1


# B4

MANY = 10


def polite_crowd(checkpoint: Callable[[], Awaitable[object]], nap: Callable[[], Any]) -> tuple[Any, Any, list[str]]:
    """Return a coroutine function that gives way all the time, one that naps once, and the log they write."""
    log: list[str] = []

    async def polite():
        for _ in range(3):
            await checkpoint()
            log.append("polite")

    async def sleeper():
        log.append("falls asleep")
        if (awaitable := nap()) is not None:
            await awaitable
        log.append("wakes up")

    return polite, sleeper, log


def during_the_nap(log: list[str]) -> int:
    return log.index("wakes up") - log.index("falls asleep") - 1


def block() -> None:
    time.sleep(SECOND)


@blocks_on_purpose
def test_b4_one_time_sleep_stops_every_other_task_asyncio(concurrency: Any) -> None:
    """B4: one synchronous place makes the whole program synchronous ("如果有一处代码写成了同步,则整个代码都同步").

    Not one of the well-behaved tasks gets on while that one sleeps. "The whole" goes a little far: they are held up for
    as long as the call takes, and are concurrent before and after it.

    Verdict: imprecise.
    Seen: none of 20 tasks takes a step during one time.sleep, and at least 10 of them overlap before and after it;
    during an awaited sleep all of 10 get on.
    """
    polite, sleeper, log = polite_crowd(lambda: asyncio.sleep(0), block)

    async def main():
        await asyncio.gather(*(polite() for _ in range(MANY)), sleeper(), *(polite() for _ in range(MANY)))

    concurrency.watch(polite)
    asyncio.run(main())

    assert during_the_nap(log) == 0
    assert log.count("polite") == 2 * MANY * 3
    assert [block.call for block in concurrency.blocks] == ["time.sleep"]
    concurrency.assert_overlap(polite, at_least=MANY)


@blocks_on_purpose
def test_b4_one_time_sleep_stops_every_other_task_trio(concurrency: Any) -> None:
    """B4 in trio."""
    trio = pytest.importorskip("trio")
    polite, sleeper, log = polite_crowd(trio.lowlevel.checkpoint, block)

    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(polite)
            nursery.start_soon(sleeper)
            for _ in range(MANY):
                nursery.start_soon(polite)

    concurrency.watch(polite)
    trio.run(main)

    assert during_the_nap(log) == 0
    assert log.count("polite") == 2 * MANY * 3
    assert [block.call for block in concurrency.blocks] == ["time.sleep"]
    concurrency.assert_overlap(polite, at_least=MANY)


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b4_an_awaited_sleep_stops_nobody_asyncio() -> None:
    """B4, the other side: the same sleeper among ten others, and all their work falls into its sleep."""
    polite, sleeper, log = polite_crowd(lambda: asyncio.sleep(0), lambda: asyncio.sleep(1))

    async def main():
        await asyncio.gather(sleeper(), *(polite() for _ in range(MANY)))

    asyncio.run(main())

    assert during_the_nap(log) == MANY * 3


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b4_an_awaited_sleep_stops_nobody_trio() -> None:
    """B4, the other side, in trio: at least two thirds of it do, since trio starts tasks in no fixed order."""
    trio = pytest.importorskip("trio")
    polite, sleeper, log = polite_crowd(trio.lowlevel.checkpoint, lambda: trio.sleep(1))

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper)
            for _ in range(MANY):
                nursery.start_soon(polite)

    trio.run(main)

    assert during_the_nap(log) >= MANY * 2


# B5

everywhere = pytest.mark.parametrize("where", ["asyncio", "trio", "anyio on asyncio", "anyio on trio"])
AT_MOST = 0.02
"""Seconds that a synchronous call waits here for what does not come."""


def acquire_a_lock() -> None:
    lock = threading.Lock()
    with lock:
        # Written in C, it does not tell of itself: it is seen by whoever looks now and then, and needs to last.
        lock.acquire(timeout=10 * AT_MOST)


def sleep_a_little() -> None:
    time.sleep(AT_MOST)


def iterate() -> None:
    def rows() -> Iterator[int]:
        for row in range(2):
            time.sleep(AT_MOST)
            yield row

    for _ in rows():
        pass


def get_from_a_queue() -> None:
    with pytest.raises(queue.Empty):
        queue.Queue[int]().get(timeout=AT_MOST)


def read_from_the_network() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(AT_MOST)
        with pytest.raises(TimeoutError):
            here.recv(1)


SYNC = [
    pytest.param(acquire_a_lock, ["lock"], id="threading.Lock"),
    pytest.param(sleep_a_little, ["sleep"], id="time.sleep"),
    pytest.param(iterate, ["sleep", "sleep"], id="for"),
    pytest.param(get_from_a_queue, ["queue"], id="queue.Queue"),
    pytest.param(read_from_the_network, ["socket"], id="socket"),
]


def short_name(block: Any) -> str:
    """Return the name of the function that blocked."""
    return block.place.function.rpartition(".")[2]


def run_on(where: str, main: Callable[[], Awaitable[object]]) -> None:
    """Run `main()` on a library: asyncio and trio by their own `run`, and by anyio's."""
    library, _, backend = where.partition(" on ")
    if library == "anyio":
        pytest.importorskip(backend)
        pytest.importorskip("anyio").run(main, backend=backend)
    else:
        run(library, main)


@everywhere
@blocks_on_purpose
@pytest.mark.parametrize(("call", "kinds"), SYNC)
def test_b5_a_synchronous_resource_blocks_the_loop(
    call: Callable[[], None], kinds: list[str], where: str, concurrency: Any
) -> None:
    """B5: locks, sleep, iteration, queues, network requests need async resources ("都需要用异步资源").

    Each has to wait for something, and a synchronous one takes the whole loop along. To be exact, it is the *waiting*
    that blocks: a lock that is free, or a queue that has something, keeps nobody.

    Verdict: true.
    Seen: a threading.Lock, time.sleep, a blocking iterator, a queue.Queue and a socket are each reported, with their
    kind and line; their five async twins are clean, on asyncio, trio and anyio.
    """

    async def main():
        call()

    run_on(where, main)

    assert [block.kind for block in concurrency.blocks] == kinds
    assert {block.place.file for block in concurrency.blocks} == {__file__}
    assert {short_name(block) for block in concurrency.blocks} == {"rows" if call is iterate else call.__name__}


class Twins:
    """The async twins of one library. asyncio, trio and anyio call most of them alike."""

    def __init__(self, where: str) -> None:
        self.library = where.partition(" ")[0]
        self.module: Any = pytest.importorskip(self.library)

    async def together(self, *parts: Callable[[], Awaitable[object]]) -> None:
        if self.library == "asyncio":
            await asyncio.gather(*(part() for part in parts))
            return
        make = self.module.open_nursery if self.library == "trio" else self.module.create_task_group
        async with make() as group:
            for part in parts:
                group.start_soon(part)

    def lock(self, may_go_on: Any) -> tuple[Callable[[], Awaitable[object]], ...]:
        lock, is_taken = self.module.Lock(), self.module.Event()

        async def holds():
            async with lock:
                is_taken.set()
                await may_go_on.wait()

        async def waits():
            await is_taken.wait()
            async with lock:
                pass

        return waits, holds

    def sleep(self, may_go_on: Any) -> tuple[Callable[[], Awaitable[object]], ...]:
        async def waits():
            while not may_go_on.is_set():
                await self.module.sleep(AT_MOST)

        return (waits,)

    def iteration(self, may_go_on: Any) -> tuple[Callable[[], Awaitable[object]], ...]:
        async def rows() -> AsyncIterator[int]:
            for row in range(2):
                await may_go_on.wait()
                yield row

        async def waits():
            async for _ in rows():
                pass

        return (waits,)

    def queue(self, may_go_on: Any) -> tuple[Callable[[], Awaitable[object]], ...]:
        if self.library == "asyncio":
            channel: Any = asyncio.Queue()
            put, get = channel.put, channel.get
        else:
            make = (
                self.module.open_memory_channel if self.library == "trio" else self.module.create_memory_object_stream
            )
            sender, receiver = make(1)
            put, get = sender.send, receiver.receive

        async def waits():
            assert await get() == 1

        async def gives():
            await may_go_on.wait()
            await put(1)
            if self.library != "asyncio":
                sender.close()
                receiver.close()

        return waits, gives

    def network(self, may_go_on: Any) -> tuple[Callable[[], Awaitable[object]], ...]:
        async def waits():
            async with getattr(self, f"_peer_on_{self.library}")(may_go_on) as receive:
                assert await receive() == b"x"

        return (waits,)

    @asynccontextmanager
    async def _peer_on_asyncio(self, may_go_on: Any) -> AsyncIterator[Any]:
        async def answer(_: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
            await may_go_on.wait()
            to_client.write(b"x")
            to_client.close()
            await to_client.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield lambda: reader.read(1)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    @asynccontextmanager
    async def _peer_on_trio(self, may_go_on: Any) -> AsyncIterator[Any]:
        trio = self.module

        async def answer(stream: Any) -> None:
            await may_go_on.wait()
            await stream.send_all(b"x")

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, answer, [listener])
            async with await trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
                yield lambda: stream.receive_some(1)
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def _peer_on_anyio(self, may_go_on: Any) -> AsyncIterator[Any]:
        anyio = self.module

        async def answer(stream: Any) -> None:
            async with stream:
                await may_go_on.wait()
                await stream.send(b"x")

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, answer)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                yield lambda: stream.receive(1)
            group.cancel_scope.cancel()


@everywhere
@pytest.mark.must_not_block
@pytest.mark.parametrize("resource", ["lock", "sleep", "iteration", "queue", "network"])
def test_b5_its_async_twin_leaves_the_loop_to_others(resource: str, where: str, concurrency: Any) -> None:
    """B5, the other side: whoever waits for the twin can be helped by another task, for the loop is free."""
    order: list[str] = []

    async def main():
        twins = Twins(where)
        may_go_on = twins.module.Event()
        waits, *others = getattr(twins, resource)(may_go_on)

        async def waiting():
            with concurrency.span("waits"):
                await waits()
            order.append("has waited")

        async def helping():
            with concurrency.span("helps"):
                await twins.module.sleep(0)
                order.append("helps")
                may_go_on.set()

        await twins.together(waiting, helping, *others)

    run_on(where, main)

    assert order == ["helps", "has waited"]
    concurrency.assert_no_blocks()


# B6

REQUESTS = 5


@contextmanager
def http_server(at_once: int = 1) -> Iterator[str]:
    """Serve on loopback, from threads of its own; nobody is answered before so many have asked at once."""
    everybody = threading.Barrier(at_once)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            everybody.wait(60)
            # The way there and back, in a network that is larger than one machine.
            time.sleep(AT_MOST)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@both
@blocks_on_purpose
def test_b6_a_synchronous_client_blocks_the_loop(library: str, concurrency: Any) -> None:
    """B6: many third-party modules are synchronous; pick async ones ("我们需要确定是“异步”的第三方库", aio-libs).

    Against a real HTTP server: nothing in the call's look tells which sort it is, but what it does to the loop does.

    Verdict: true.
    Seen: 5 requests by a synchronous client never overlap and are reported as blocking the loop; 5 by aiohttp and 5 by
    httpx.AsyncClient are all in progress at once, and nothing blocks.
    """

    async def fetch(url):
        with urllib.request.urlopen(url) as response:
            assert response.read() == b"ok"

    async def main():
        if library == "asyncio":
            await asyncio.gather(*(fetch(url) for _ in range(REQUESTS)))
        else:
            async with pytest.importorskip("trio").open_nursery() as nursery:
                for _ in range(REQUESTS):
                    nursery.start_soon(fetch, url)

    concurrency.watch(fetch)

    with http_server() as url:
        run(library, main)

    assert len(concurrency.spans(fetch)) == REQUESTS
    concurrency.assert_no_overlap(fetch)
    # What a client reads of files at its first use is a glance, and is there to be seen too.
    assert {block.kind for block in concurrency.blocks} - {"file"} == {"socket"}
    assert {short_name(block) for block in concurrency.blocks} == {"fetch"}


@pytest.mark.must_not_block
def test_b6_aiohttp_overlaps_its_requests(concurrency: Any) -> None:
    """B6, an async client of aio-libs: the server answers nobody until all five have asked."""
    aiohttp = pytest.importorskip("aiohttp")

    async def fetch(session, url):
        async with session.get(url) as response:
            assert await response.read() == b"ok"

    async def main():
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(fetch(session, url) for _ in range(REQUESTS)))

    concurrency.watch(fetch)

    with http_server(at_once=REQUESTS) as url:
        asyncio.run(main())

    concurrency.assert_overlap(fetch, at_least=REQUESTS)


@both
@pytest.mark.must_not_block
def test_b6_httpx_overlaps_its_requests(library: str, concurrency: Any) -> None:
    """B6, an async client that runs on asyncio and on trio."""
    httpx = pytest.importorskip("httpx")

    async def fetch(client, url):
        response = await client.get(url)
        assert response.content == b"ok"

    async def main():
        async with client:
            if library == "asyncio":
                await asyncio.gather(*(fetch(client, url) for _ in range(REQUESTS)))
            else:
                async with pytest.importorskip("trio").open_nursery() as nursery:
                    for _ in range(REQUESTS):
                        nursery.start_soon(fetch, client, url)

    concurrency.watch(fetch)
    # Made here, since making one reads certificates from a file; no certificate is needed.
    client = httpx.AsyncClient(verify=False)

    with http_server(at_once=REQUESTS) as url:
        run(library, main)

    concurrency.assert_overlap(fetch, at_least=REQUESTS)
