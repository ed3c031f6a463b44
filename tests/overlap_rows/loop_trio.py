"""trio, as the rows use it."""

from __future__ import annotations

import functools

import trio
from trio import CapacityLimiter, Event, Lock, Semaphore, fail_after, move_on_after, open_nursery, sleep, sleep_forever
from trio.to_thread import run_sync as run_in_thread

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
        return trio.run(functools.partial(test, *args, **kwargs))

    return run


def open_channel(size: float):
    return trio.open_memory_channel(size)


async def read_from(sock) -> bytes:
    return await trio.socket.from_stdlib_socket(sock).recv(1)


async def get(address: tuple[str, int], path: str) -> bytes:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join([piece async for piece in stream])
