"""What blocking detection costs: the same work bare and watched, in turns, beside other detectors.

Run: python benchmarks/blocking_overhead.py [--rounds 15] [--only WORD]
in an environment with this plugin, pytest-asyncio, uvloop and trio, and with blockbuster, aiocop and pyleak, each of
which has a column where it is installed. You will see a line for each kind of work: the bare run in milliseconds, and
what each detector makes of it as a ratio, by CPU time, the median over all rounds. Each detector works in a process of
its own, since not all of them can be taken out again; in each round every process does the same work once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Main = Callable[[], Any]
    """A coroutine function without arguments."""

TASKS, SWITCHES, MESSAGES, TESTS = 10, 10_000, 3_000, 500


async def switch_asyncio() -> None:
    async def worker() -> None:
        for _ in range(SWITCHES):
            await asyncio.sleep(0)

    await asyncio.gather(*[worker() for _ in range(TASKS)])


async def switch_trio() -> None:
    import trio

    async def worker() -> None:
        for _ in range(SWITCHES):
            await trio.sleep(0)

    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(worker)


async def gather_asyncio() -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return number

    for _ in range(20):
        await asyncio.gather(*[work(number) for number in range(1000)])


async def gather_trio() -> None:
    import trio

    for _ in range(10):
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(trio.sleep, 0)


async def echo_asyncio() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    for _ in range(MESSAGES):
        writer.write(b"hello\n")
        await reader.readline()
    writer.close()
    await writer.wait_closed()
    server.close()


async def echo_trio() -> None:
    import trio

    async def serve(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        stream = await trio.open_tcp_stream(*listeners[0].socket.getsockname()[:2])
        for _ in range(MESSAGES // 3):
            await stream.send_all(b"hello\n")
            await stream.receive_some()
        nursery.cancel_scope.cancel()


def locks() -> None:
    lock = threading.Lock()
    for _ in range(200_000):
        with lock:
            pass


def queues() -> None:
    waiting: queue.Queue[int] = queue.Queue()
    for number in range(20_000):
        waiting.put(number)
        waiting.get()


def messages() -> None:
    mine, other = socket.socketpair()
    with mine, other:
        for _ in range(20_000):
            mine.send(b"x")
            other.recv(1)


def files() -> None:
    for _ in range(2_000):
        with open(__file__, "rb") as file:
            file.read()
        Path(__file__).exists()


WORK: dict[str, tuple[str, Callable[[], Any]]] = {
    "200 000 free locks, no loop": ("", locks),
    "20 000 items of a queue, no loop": ("", queues),
    "20 000 messages, no loop": ("", messages),
    "2000 files read, no loop": ("", files),
    "100 000 switches, asyncio": ("asyncio", switch_asyncio),
    "100 000 switches, uvloop": ("uvloop", switch_asyncio),
    "100 000 switches, trio": ("trio", switch_trio),
    "gather of 1000, 20 times, asyncio": ("asyncio", gather_asyncio),
    "gather of 1000, 20 times, uvloop": ("uvloop", gather_asyncio),
    "nursery of 1000, 10 times, trio": ("trio", gather_trio),
    "3000 echoes, asyncio": ("asyncio", echo_asyncio),
    "3000 echoes, uvloop": ("uvloop", echo_asyncio),
    "1000 echoes, trio": ("trio", echo_trio),
    # Again, where a loop has run in the process.
    "20 000 messages, after a loop": ("", messages),
}
SUITE = f"{TESTS} async tests of pytest-asyncio"
DETECTORS = ("ours", "blockbuster", "aiocop", "pyleak", "asyncio debug")
BY_CONFTEST = {
    "blockbuster": """
import pytest
from blockbuster import blockbuster_ctx

@pytest.fixture(autouse=True)
def blockbuster():
    with blockbuster_ctx() as found:
        yield found
""",
    "aiocop": """
import aiocop, pytest

aiocop.patch_audit_functions()
aiocop.start_blocking_io_detection()
aiocop.detect_slow_tasks(on_slow_task=lambda event: None)

@pytest.fixture(autouse=True)
async def watch():
    aiocop.activate()
    yield
    aiocop.deactivate()
""",
    "pyleak": """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.no_leaks(tasks=False, threads=False, blocking=True))
""",
}


@contextlib.contextmanager
def watched(detector: str) -> Iterator[None]:
    if detector == "ours":
        from pytest_concurrency._blocking.guard import Guard
        from pytest_concurrency._settings import Blocking

        guard = Guard(Blocking(mode="fail"), print)
        guard.on_block = lambda block: None
        guard.install()
        yield
        guard.remove()
    elif detector == "blockbuster":
        from blockbuster import blockbuster_ctx

        with blockbuster_ctx():
            yield
    elif detector == "aiocop":
        import aiocop

        aiocop.patch_audit_functions()
        aiocop.start_blocking_io_detection()
        aiocop.detect_slow_tasks(on_slow_task=lambda event: None)
        yield
    else:
        yield


def run(detector: str, loop: str, work: Main) -> None:
    main = work
    if detector == "pyleak":
        from pyleak import no_event_loop_blocking

        async def main() -> None:
            async with no_event_loop_blocking():
                await work()

    if detector == "aiocop" and loop in ("asyncio", "uvloop"):
        import aiocop

        async def main() -> None:
            # Patches the loop that runs.
            aiocop.activate()
            try:
                await work()
            finally:
                aiocop.deactivate()

    if loop == "asyncio":
        asyncio.run(main(), debug=detector == "asyncio debug" or None)
    elif loop == "uvloop":
        import uvloop

        uvloop.run(main(), debug=detector == "asyncio debug" or None)
    elif loop == "trio":
        import trio

        trio.run(main)
    else:
        work()


def serve(detector: str) -> None:
    """Do the works that are asked for on standard input, and answer with the CPU seconds of each."""
    import logging

    logging.disable()
    with watched(detector):
        for line in sys.stdin:
            loop, work = WORK[line.strip()]
            begun = time.process_time()
            run(detector, loop, work)
            sys.stdout.write(f"{time.process_time() - begun}\n")
            sys.stdout.flush()


class Worker:
    """A process with one detector in it."""

    def __init__(self, detector: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", detector],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def do(self, work: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{work}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        # Some detector does not stand this work.
        return float(answer) if answer else float("nan")

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


class Suite:
    """Runs of pytest over the same tests."""

    def __init__(self, folder: Path, detector: str) -> None:
        self._folder = folder / detector.replace(" ", "_")
        self._folder.mkdir()
        (self._folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
        (self._folder / "conftest.py").write_text(BY_CONFTEST.get(detector, ""))
        tests = f"""
import asyncio, pytest

async def work(number):
    await asyncio.sleep(0)
    return number

@pytest.mark.parametrize("number", range({TESTS}))
async def test_it(number):
    assert await asyncio.gather(work(1), work(2), work(3)) == [1, 2, 3]
"""
        (self._folder / "test_it.py").write_text(tests)
        mode = {"ours, warn": ["--blocking=warn"], "ours, fail": ["--blocking=fail"]}
        options = mode.get(detector, ["-p", "no:pytest_concurrency"])
        self._command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        self._environment = os.environ | ({"PYTHONASYNCIODEBUG": "1"} if detector == "asyncio debug" else {})

    def do(self) -> float:
        process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        return usage.ru_utime + usage.ru_stime if status == 0 else float("nan")


def ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """Each run against the bare run of its own round."""
    return {
        name: statistics.median(own / bare for own, bare in zip(each, times["bare"], strict=True))
        for name, each in times.items()
        if name != "bare"
    }


def main(rounds: int, only: str) -> None:
    detectors = [each for each in DETECTORS if each in ("ours", "asyncio debug") or find_spec(each)]
    print(f"Python {sys.version.split()[0]}, {rounds} rounds, CPU time as a ratio to the bare run\n")
    print(f"{'':36}{'bare, ms':>9}" + "".join(f"{each:>14}" for each in detectors))
    workers = {each: Worker(each) for each in ("bare", *detectors)}
    try:
        for work, (loop, _) in WORK.items():
            if only not in work or (loop in ("uvloop", "trio") and not find_spec(loop)):
                continue
            # Debug mode is one of asyncio's loops.
            taking_part = [each for each in workers if each != "asyncio debug" or loop in ("asyncio", "uvloop")]
            taking_part = [each for each in taking_part if loop or each != "pyleak"]
            times: dict[str, list[float]] = {each: [] for each in taking_part}
            for turn in range(rounds + 1):
                for each in taking_part if turn % 2 else reversed(taking_part):
                    seconds = workers[each].do(work)
                    if turn:  # the first time imports
                        times[each].append(seconds)
            found = ratios(times)
            row = "".join(f"{found[each]:14.2f}" if each in found else f"{'':14}" for each in detectors)
            print(f"{work:36}{min(times['bare']) * 1000:9.1f}{row}", flush=True)
    finally:
        for worker in workers.values():
            worker.end()
    if only in SUITE and find_spec("pytest_asyncio"):
        suites(rounds, [each for each in detectors if each != "ours"])


def suites(rounds: int, peers: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        runs = {each: Suite(Path(name), each) for each in ("bare", "ours, warn", "ours, fail", *peers)}
        times: dict[str, list[float]] = {each: [] for each in runs}
        for turn in range(max(2, rounds // 2) + 1):
            for each in runs if turn % 2 else reversed(runs):
                seconds = runs[each].do()
                if turn:
                    times[each].append(seconds)
        print(f"\n{SUITE}, {min(times['bare']) * 1000:.0f} ms:")
        for each, ratio in ratios(times).items():
            print(f"  {each:16}{ratio:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="Only works whose name contains this")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
    else:
        main(given.rounds, given.only)
