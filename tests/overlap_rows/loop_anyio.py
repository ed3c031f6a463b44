"""anyio on asyncio and on trio, under trio's names."""

from __future__ import annotations

import functools

import anyio
from anyio import (
    CapacityLimiter,
    Event,
    Lock,
    Semaphore,
    fail_after,
    move_on_after,
    sleep,
    sleep_forever,
)
from anyio import create_task_group as open_nursery
from anyio.to_thread import run_sync as run_in_thread
from choice import BACKEND

__all__ = [
    "CapacityLimiter",
    "Event",
    "Lock",
    "Semaphore",
    "fail_after",
    "get",
    "move_on_after",
    "on_loop",
    "open_channel",
    "open_nursery",
    "read_from",
    "run_in_thread",
    "sleep",
    "sleep_forever",
]


def on_loop(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        return anyio.run(functools.partial(test, *args, **kwargs), backend=BACKEND.rpartition("-")[2])

    return run


def open_channel(size: float):
    return anyio.create_memory_object_stream(size)


async def read_from(sock) -> bytes:
    async with await anyio.abc.SocketStream.from_socket(sock) as stream:
        return await stream.receive(1)


async def get(address: tuple[str, int], path: str) -> bytes:
    async with await anyio.connect_tcp(*address) as stream:
        await stream.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join([piece async for piece in stream])
