"""Programs that look as if they blocked, and do not. Plain functions, and coroutine functions for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextlib
import json
import linecache
import logging
import os
import queue
import select
import socket
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__)


def sleep_of_nothing() -> None:
    time.sleep(0)


def free_lock() -> None:
    lock = threading.Lock()
    with lock:
        pass
    assert lock.acquire()
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0)


def free_reentrant_lock_and_condition() -> None:
    with threading.RLock(), threading.Condition():
        pass


def event_that_is_set() -> None:
    event = threading.Event()
    event.set()
    assert event.wait(5)


def semaphore_with_permits() -> None:
    semaphore = threading.Semaphore(2)
    with semaphore, semaphore:
        assert not semaphore.acquire(blocking=False)
        assert not semaphore.acquire(timeout=0)


def queue_with_an_item() -> None:
    waiting: queue.Queue[int] = queue.Queue()
    waiting.put(1)
    assert waiting.get() == 1
    with contextlib.suppress(queue.Empty):
        waiting.get_nowait()
    with contextlib.suppress(queue.Empty):
        waiting.get(block=False)


def simple_queue_with_an_item() -> None:
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    waiting.put(1)
    assert waiting.get() == 1


def future_that_is_done() -> None:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    future.set_result(1)
    assert future.result() == 1
    concurrent.futures.wait([future])
    list(concurrent.futures.as_completed([future]))


def thread_that_has_ended() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    while thread.is_alive():
        pass
    thread.join()


def thread_started() -> None:
    stop = threading.Event()
    threading.Thread(target=stop.wait, daemon=True).start()
    stop.set()


def job_submitted() -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(int)
    pool.shutdown(wait=False)


def non_blocking_socket() -> None:
    mine, other = socket.socketpair()
    with mine, other:
        mine.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            mine.recv(1)
        mine.send(b"x")


def socket_with_data() -> None:
    mine, other = socket.socketpair()
    with mine, other:
        other.send(b"x")
        assert mine.recv(1) == b"x"


def non_blocking_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(server.getsockname())


def datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        sock.sendto(b"x", ("127.0.0.1", 9)) if sys.platform == "win32" else sock.send(b"x")


def select_that_does_not_wait() -> None:
    mine, other = socket.socketpair()
    with mine, other:
        select.select([mine], [], [], 0)
        select.select([], [mine], [], 5)


def numeric_address() -> None:
    socket.getaddrinfo("127.0.0.1", 80)
    socket.getaddrinfo("::1", 80)
    socket.getaddrinfo(None, 80)


def log_record() -> None:
    logging.getLogger("corpus").warning("a line %s", "of a log")


def log_to_a_file() -> None:
    handler = logging.FileHandler(os.devnull)
    logging.getLogger("corpus.file").addHandler(handler)
    logging.getLogger("corpus.file").error("a line")
    logging.getLogger("corpus.file").removeHandler(handler)
    handler.close()


def formatted_traceback() -> None:
    linecache.clearcache()
    try:
        raise ValueError("x")
    except ValueError:
        traceback.format_exc()


def warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("something", UserWarning, stacklevel=1)


def printed() -> None:
    sys.stdout.write("something\n")


def devices() -> None:
    os.urandom(8)
    with open(os.devnull) as file:
        file.read()


def import_of_what_is_there() -> None:
    import json as again

    assert again is json


def short_computation() -> None:
    sum(range(1000))


def paths_only() -> None:
    os.path.abspath("x")
    os.path.join("a", "b")
    assert HERE.with_suffix(".txt").name
    assert Path("a") / "b"


def process_that_has_ended() -> None:
    import subprocess

    from pytest_concurrency import allow_blocking

    with allow_blocking("starts it"):
        process = subprocess.Popen(["true"])
        process.wait()
    process.wait()
    process.poll()


async def sleep_awaited() -> None:
    await asyncio.sleep(0.02)


async def thread_awaited() -> None:
    await asyncio.to_thread(time.sleep, 0.15)


async def thread_that_computes() -> None:
    def compute() -> None:
        end = time.thread_time() + 0.15
        while time.thread_time() < end:
            pass

    await asyncio.to_thread(compute)


async def executor_awaited() -> None:
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        await loop.run_in_executor(pool, time.sleep, 0.02)
        await asyncio.sleep(0.01)


async def subprocess_awaited() -> None:
    process = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
    await process.communicate()


async def shell_awaited() -> None:
    process = await asyncio.create_subprocess_shell("true")
    await process.wait()


async def streams() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    server.close()
    await server.wait_closed()


async def name_looked_up_by_the_loop() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def many_short_steps() -> None:
    async def step() -> None:
        for _ in range(300):
            pass

    # Making them is one step: few enough for it to be short on a slow machine too.
    await asyncio.gather(*[step() for _ in range(1000)])


async def locks_of_asyncio() -> None:
    lock = asyncio.Lock()
    async with lock:
        await asyncio.sleep(0)


async def queue_of_asyncio() -> None:
    waiting: asyncio.Queue[int] = asyncio.Queue()
    asyncio.get_running_loop().call_later(0.02, waiting.put_nowait, 1)
    await waiting.get()


async def timeout_of_asyncio() -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await asyncio.sleep(5)
