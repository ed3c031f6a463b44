"""The work that the rows call: `choice` says on which loop, and whether it is a fake or a real request."""

from __future__ import annotations

from choice import BACKEND, FAKE

if BACKEND in ("asyncio", "uvloop"):
    import loop_asyncio as loop
elif BACKEND == "trio":
    import loop_trio as loop
elif BACKEND.startswith("gevent"):
    import loop_gevent as loop
else:
    import loop_anyio as loop

server: tuple[str, int] = ("127.0.0.1", 0)
"""Where the HTTP server of the session listens (see `conftest`)."""
on_loop = loop.on_loop


async def _instant(number: int) -> None:
    pass


async def _sleeping(number: int) -> None:
    await loop.sleep(0.003)


async def _http(number: int) -> None:
    answer = await loop.get(server, f"/{number}")
    assert answer.endswith(f"/{number}".encode())


_WORK = {"instant": _instant, "sleeping": _sleeping, "http": _http}


async def fetch(number: int) -> int:
    await _WORK[FAKE](number)
    return number


async def store(number: int) -> int:
    await _WORK[FAKE](number)
    return number


async def failing(number: int) -> int:
    await _WORK[FAKE](number)
    raise ValueError(f"no {number}")


async def endless() -> None:
    await loop.sleep_forever()


async def recursive(depth: int) -> int:
    await _WORK[FAKE](depth)
    return depth and await recursive(depth - 1)


async def stream(count: int):
    for number in range(count):
        await _WORK[FAKE](number)
        yield number


class Client:
    async def method(self, number: int) -> int:
        await _WORK[FAKE](number)
        return number

    @classmethod
    async def class_method(cls, number: int) -> int:
        await _WORK[FAKE](number)
        return number

    @staticmethod
    async def static_method(number: int) -> int:
        await _WORK[FAKE](number)
        return number
