"""Each kind of leak is found, and nothing is where things are ended."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Left


def asyncio_suite(run: str) -> str:
    return f"""
import asyncio
import pytest
{run}
kept = []

async def worker():
    await asyncio.Event().wait()

async def pages():
    yield 1
    yield 2
{ASYNCIO_TESTS}
"""


ASYNCIO_TESTS = """
def test_pending():
    async def main():
        asyncio.create_task(worker())
        await asyncio.sleep(0)
    run(main())

def test_many_pending():
    async def main():
        for _ in range(3):
            kept.append(asyncio.create_task(worker()))
        await asyncio.sleep(0)
    run(main())

def test_never_began():
    async def main():
        asyncio.create_task(worker())
    run(main())

def test_awaited():
    async def main():
        task = asyncio.create_task(asyncio.sleep(0))
        await asyncio.gather(task, asyncio.to_thread(int), asyncio.sleep(0))
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
    run(main())

def test_cancelled_and_awaited():
    async def main():
        task = asyncio.create_task(worker())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    run(main())

def test_cancelled_at_the_end():
    async def main():
        task = asyncio.create_task(worker())
        await asyncio.sleep(0)
        task.cancel()
    run(main())

def test_cancelled_before_its_first_step():
    async def main():
        task = asyncio.create_task(worker())
        task.cancel()
        await asyncio.wait([task])
    run(main())

def test_exception():
    async def fail():
        raise LookupError("no such shop")
    async def main():
        asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    run(main())

def test_exception_that_is_retrieved():
    async def fail():
        raise LookupError("no such shop")
    async def main():
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        assert task.exception()
    run(main())

def test_never_awaited():
    async def main():
        worker()
    run(main())

def test_generator_dropped():
    async def main():
        async for _ in pages():
            break
    run(main())

def test_generator_held():
    async def main():
        kept.append(pages())
        await anext(kept[-1])
    run(main())

def test_generator_closed():
    from contextlib import aclosing
    async def main():
        async with aclosing(pages()) as closing:
            async for _ in closing:
                break
        assert [page async for page in pages()] == [1, 2]
    run(main())

def test_asend_never_awaited():
    async def main():
        pages().asend(None)
    run(main())

def test_loop_never_closed():
    kept.append(new_event_loop())

def test_loop_dropped():
    new_event_loop()

def test_loop_closed():
    new_event_loop().close()

def test_pending_when_its_loop_is_closed():
    loop = new_event_loop()
    kept.append(loop.create_task(worker()))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

def test_body_raises():
    async def main():
        kept.append(asyncio.create_task(worker()))
        raise LookupError("its own")
    with pytest.raises(LookupError):
        run(main())

def test_after_it():
    run(asyncio.sleep(0))
"""
FOUND = {
    "test_pending": "task Task-N (worker), started at test_it.py:L",
    "test_many_pending": "3 tasks; first of all task Task-N, started at test_it.py:L",
    "test_never_began": "task Task-N (worker), started at test_it.py:L",
    "test_cancelled_before_its_first_step": "coroutine worker, made at test_it.py:L",
    "test_exception": "exception that nobody retrieved of Task-N, task started at test_it.py:L",
    "test_never_awaited": "coroutine worker, made at test_it.py:L",
    "test_generator_dropped": "async generator pages, begun at test_it.py:L",
    "test_generator_held": "async generator pages, begun at test_it.py:L",
    "test_asend_never_awaited": "coroutine pages.asend(), athrow() or anext(), made at test_it.py:L",
    "test_loop_never_closed": "event loop Loop, made at test_it.py:L",
    "test_loop_dropped": "event loop Loop, made at test_it.py:L",
    "test_pending_when_its_loop_is_closed": "task Task-N (worker), started at test_it.py:L",
    "test_body_raises": "task Task-N (worker), started at test_it.py:L",
}


def plain(found: dict[str, str]) -> dict[str, str]:
    """Return *found* without what differs from run to run."""
    lines = {}
    for name, line in found.items():
        line = re.sub(r"Task-\d+", "Task-N", re.sub(r"\.py:\d+", ".py:L", line))
        lines[name] = re.sub(r"\w+EventLoop", "Loop", re.sub(r"pid \d+", "pid P", line))
    return lines


@pytest.mark.parametrize(
    ("library", "run"),
    [
        pytest.param("asyncio", "run, new_event_loop = asyncio.run, asyncio.new_event_loop", id="asyncio"),
        pytest.param("uvloop", "from uvloop import run, new_event_loop", id="uvloop"),
    ],
)
def test_on_asyncios_loops(library: str, run: str, left: Left) -> None:
    pytest.importorskip(library)

    assert plain(left(asyncio_suite(run))) == FOUND


def test_eager_tasks(left: Left) -> None:
    if sys.version_info < (3, 12):
        pytest.skip("there are none before 3.12")
    found = left(
        """
        import asyncio

        async def worker():
            await asyncio.Event().wait()

        def test_pending():
            async def main():
                asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
                asyncio.create_task(worker())
            asyncio.run(main())

        def test_made_by_hand():
            async def main():
                asyncio.Task(worker(), loop=asyncio.get_running_loop(), eager_start=True)
            asyncio.run(main())

        def test_done():
            async def main():
                asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
                await asyncio.create_task(asyncio.sleep(0))
            asyncio.run(main())
        """
    )

    assert plain(found) == {
        "test_pending": "task Task-N (worker), started at test_it.py:L",
        "test_made_by_hand": "task Task-N (worker), started at test_it.py:L",
    }


def test_sockets(left: Left) -> None:
    found = left(
        """
        import asyncio

        kept = []

        async def talk(*, closes):
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            kept.append((server, reader, writer))
            if closes:
                writer.close()
                server.close()

        def test_left_open():
            asyncio.run(talk(closes=False))

        def test_closed():
            asyncio.run(talk(closes=True))
        """
    )

    assert found.keys() == {"test_left_open"}
    assert found["test_left_open"].startswith("2 sockets; first of all socket listening at 127.0.0.1:")
    assert found["test_left_open"].endswith("opened at test_it.py:6")


TRIO = """
import pytest
import trio

kept = []

async def worker():
    await trio.sleep_forever()

async def pages():
    yield 1
    yield 2

def test_system_task():
    async def main():
        trio.lowlevel.spawn_system_task(worker)
        await trio.testing.wait_all_tasks_blocked()
    trio.run(main)

def test_system_task_that_ends():
    async def main():
        trio.lowlevel.spawn_system_task(trio.lowlevel.checkpoint)
        await trio.testing.wait_all_tasks_blocked()
    trio.run(main)

def test_never_awaited():
    async def main():
        worker()
    trio.run(main)

def test_generator_dropped():
    async def main():
        async for _ in pages():
            break
    trio.run(main)

def test_generator_held():
    async def main():
        kept.append(pages())
        await anext(kept[-1])
    trio.run(main)

def test_generator_ended():
    async def main():
        assert [page async for page in pages()] == [1, 2]
    trio.run(main)

def test_asend_never_awaited():
    async def main():
        pages().asend(None)
    trio.run(main)

def test_a_nursery_and_a_worker_thread():
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
            await trio.to_thread.run_sync(int)
    trio.run(main)

def test_cancelled():
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker)
            nursery.cancel_scope.cancel()
    trio.run(main)

def test_a_thread_that_is_abandoned():
    import threading
    event = threading.Event()
    kept.append(event)
    async def main():
        with trio.move_on_after(0.01):
            await trio.to_thread.run_sync(event.wait, abandon_on_cancel=True)
    trio.run(main)

def test_after_it():
    kept[-1].set()
"""


def test_on_trio(left: Left) -> None:
    pytest.importorskip("trio")

    found = plain(left("import trio.testing\n" + TRIO))

    assert found.pop("test_a_thread_that_is_abandoned").startswith("thread ")
    assert found == {
        "test_system_task": "task test_it.worker (worker, a system task), started at test_it.py:L",
        "test_never_awaited": "coroutine worker, made at test_it.py:L",
        "test_generator_dropped": "async generator pages, begun at test_it.py:L",
        "test_generator_held": "async generator pages, begun at test_it.py:L",
        "test_asend_never_awaited": "coroutine pages.asend(), athrow() or anext(), made at test_it.py:L",
    }


def test_on_anyio(left: Left) -> None:
    pytest.importorskip("anyio")
    pytest.importorskip("trio")
    found = left(
        """
        import anyio
        import anyio.from_thread
        import asyncio
        import pytest

        @pytest.fixture(params=["asyncio", "trio"])
        def backend(request):
            return request.param

        async def pages():
            yield 1

        def test_clean(backend):
            async def main():
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 0)
                    group.start_soon(anyio.sleep_forever)
                    await anyio.to_thread.run_sync(int)
                    group.cancel_scope.cancel()
            anyio.run(main, backend=backend)

        def test_portal(backend):
            with anyio.from_thread.start_blocking_portal(backend) as portal:
                portal.call(anyio.sleep, 0)

        def test_generator(backend):
            async def main():
                async for _ in pages():
                    break
            anyio.run(main, backend=backend)

        def test_task():
            async def main():
                asyncio.create_task(anyio.sleep_forever())
            anyio.run(main)
        """
    )

    assert plain(found) == {
        "test_generator[asyncio]": "async generator pages, begun at test_it.py:L",
        "test_generator[trio]": "async generator pages, begun at test_it.py:L",
        "test_task": "task Task-N (sleep_forever), started at test_it.py:L",
    }


def test_threads_and_pools(left: Left) -> None:
    found = left(
        """
        import concurrent.futures
        import multiprocessing.pool
        import threading
        import time

        kept = []
        event = threading.Event()

        def test_thread():
            kept.append(threading.Thread(target=event.wait))
            kept[-1].start()

        def test_thread_of_a_thread():
            thread = threading.Thread(target=test_thread)
            thread.start()
            thread.join()

        def test_joined():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

        def test_about_to_end():
            # It ends within the time that it is given.
            threading.Thread(target=time.sleep, args=(0.02,)).start()

        def test_executor():
            kept.append(concurrent.futures.ThreadPoolExecutor(2))
            kept[-1].submit(int).result()

        def test_executor_that_never_worked():
            kept.append(concurrent.futures.ThreadPoolExecutor(2))

        def test_executor_that_is_shut_down():
            with concurrent.futures.ThreadPoolExecutor(2) as executor:
                executor.submit(int).result()

        def test_executor_that_is_dropped():
            concurrent.futures.ThreadPoolExecutor(2).submit(int).result()

        def test_executor_that_is_shut_down_while_it_works():
            executor = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="busy")
            executor.submit(event.wait)
            executor.shutdown(wait=False)

        def test_thread_pool():
            kept.append(multiprocessing.pool.ThreadPool(1))

        def test_thread_pool_that_is_closed():
            with multiprocessing.pool.ThreadPool(1) as pool:
                pool.map(int, [1])

        def test_let_go():
            event.set()
        """
    )

    assert plain(found) == {
        "test_thread": "thread Thread-1 (wait) (Event.wait), started at test_it.py:L",
        "test_thread_of_a_thread": "thread Thread-3 (wait) (Event.wait), started at test_it.py:L",
        "test_executor": "executor ThreadPoolExecutor, made at test_it.py:L",
        "test_executor_that_is_shut_down_while_it_works": "thread busy_0 (_worker), started at test_it.py:L",
        "test_thread_pool": "executor ThreadPool, made at test_it.py:L",
    }


PROCESSES = """
import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import time

kept = []

def forever():
    time.sleep(60)

def end():
    for process in kept:
        process.kill()
        process.wait() if hasattr(process, "wait") else process.join()
    kept.clear()

def started(*command):
    kept.append(subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE))
    return kept[-1]

def test_subprocess():
    started("input()")

def test_end_it():
    end()

def test_zombie():
    # Its output ends when it does.
    started("print(1)").stdout.read()
    os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)

def test_it_is_still_there_to_be_waited_for():
    assert kept[-1].wait() == 0
    kept.clear()

def test_waited_for():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_process():
    kept.append(multiprocessing.Process(target=forever))
    kept[-1].start()

def test_end_it_too():
    end()

def test_joined():
    process = multiprocessing.Process(target=int)
    process.start()
    process.join()

def test_pool_of_processes():
    global pool
    pool = multiprocessing.Pool(1)

def test_end_the_pool():
    pool.terminate()
    pool.join()

def test_executor_of_processes():
    global executor
    executor = concurrent.futures.ProcessPoolExecutor(1)
    executor.submit(int).result()

def test_end_the_executor():
    executor.shutdown()

def test_executor_that_is_shut_down():
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        executor.submit(int).result()
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_processes(method: str, left: Left) -> None:
    found = plain(
        left(f"import multiprocessing\nmultiprocessing.set_start_method({method!r}, force=True)\n" + PROCESSES)
    )

    assert found.pop("test_subprocess").startswith("process pid P (")
    assert found.pop("test_zombie").startswith("process pid P (")
    assert re.fullmatch(
        r"process \w*Process-\d+, pid P \(forever\), started at test_it.py:L", found.pop("test_process")
    )
    assert found == {
        "test_pool_of_processes": "executor Pool, made at test_it.py:L",
        "test_executor_of_processes": "executor ProcessPoolExecutor, made at test_it.py:L",
    }
