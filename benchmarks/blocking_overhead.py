"""What blocking detection costs: the same work bare and watched, in turns, as the ratio of the best runs.

Run: python benchmarks/blocking_overhead.py [rounds]
You will see a line per loop and kind of work. A peer (blockbuster, aiocop) has a column where it is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS, SWITCHES, MESSAGES, LOCKS = 10, 10_000, 3_000, 200_000


async def _switch_asyncio() -> None:
    async def worker() -> None:
        for _ in range(SWITCHES):
            await asyncio.sleep(0)

    await asyncio.gather(*[worker() for _ in range(TASKS)])


async def _echo_asyncio() -> None:
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


async def _switch_trio() -> None:
    import trio

    async def worker() -> None:
        for _ in range(SWITCHES):
            await trio.sleep(0)

    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(worker)


def _locks_off_the_loop() -> None:
    lock = threading.Lock()
    for _ in range(LOCKS):
        with lock:
            pass


def _sockets_off_the_loop() -> None:
    mine, other = socket.socketpair()
    with mine, other:
        for _ in range(20_000):
            mine.send(b"x")
            other.recv(1)


def _uvloop(work: Callable[[], Any]) -> None:
    import uvloop

    uvloop.run(work())


def _trio(work: Callable[[], Any]) -> None:
    import trio

    trio.run(work)


WORK: list[tuple[str, str, Callable[[], None]]] = [
    ("100 000 switches", "asyncio", lambda: asyncio.run(_switch_asyncio())),
    ("100 000 switches", "uvloop", lambda: _uvloop(_switch_asyncio)),
    ("100 000 switches", "trio", lambda: _trio(_switch_trio)),
    (f"{MESSAGES} echoes", "asyncio", lambda: asyncio.run(_echo_asyncio())),
    (f"{MESSAGES} echoes", "uvloop", lambda: _uvloop(_echo_asyncio)),
    (f"{LOCKS} free locks", "no loop", _locks_off_the_loop),
    ("20 000 messages", "no loop", _sockets_off_the_loop),
]


@contextlib.contextmanager
def _bare() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    from pytest_concurrency._blocking.guard import Guard
    from pytest_concurrency._settings import Blocking

    guard = Guard(Blocking(), print)
    guard.on_block = lambda block: None
    guard.install()
    try:
        yield
    finally:
        guard.remove()


@contextlib.contextmanager
def _blockbuster() -> Iterator[None]:
    from blockbuster import blockbuster_ctx

    with blockbuster_ctx():
        yield


CANDIDATES: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {"bare": _bare, "ours": _ours}
if find_spec("blockbuster"):
    CANDIDATES["blockbuster"] = _blockbuster


def main(rounds: int) -> None:
    names = [name for name in CANDIDATES if name != "bare"]
    print(f"{'work':22}{'loop':10}{'bare, ms':>10}" + "".join(f"{name:>14}" for name in names))
    for label, loop, work in WORK:
        if loop in ("uvloop", "trio") and not find_spec(loop):
            continue
        best = dict.fromkeys(CANDIDATES, float("inf"))
        for _ in range(rounds):
            # In turns: what else the machine does meanwhile falls on all alike.
            for name, candidate in CANDIDATES.items():
                with candidate():
                    began = perf_counter()
                    work()
                    best[name] = min(best[name], perf_counter() - began)
        ratios = "".join(f"{best[name] / best['bare']:14.2f}" for name in names)
        print(f"{label:22}{loop:10}{best['bare'] * 1000:10.1f}{ratios}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
