"""asyncio and uvloop, as the rows use them."""

from __future__ import annotations

import asyncio
import functools

from choice import BACKEND


def on_loop(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        if BACKEND == "uvloop":
            import uvloop

            return uvloop.run(test(*args, **kwargs))
        return asyncio.run(test(*args, **kwargs))

    return run


sleep = asyncio.sleep


async def sleep_forever() -> None:
    await asyncio.Event().wait()


async def get(address: tuple[str, int], path: str) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
