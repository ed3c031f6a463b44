"""Coroutines behind a web server: the claims T1 and T2 of the notes, with a real Tornado server on loopback.

Run it with `pytest examples/test_tornado.py`. You will see five requests in one handler at once on a single thread,
the same handler serve them one after the other because of one synchronous line, and Tornado's older coroutines, which
are written with `yield`, do as the new ones do.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

pytest.importorskip("tornado", reason="these examples need Tornado")

from tornado import gen, httpclient, httpserver, netutil, web

from pytest_concurrency import OverlapError

REQUESTS = 5
blocks_on_purpose = pytest.mark.filterwarnings("ignore::pytest_concurrency.BlockingCallWarning")


async def ask_all(handler: type[web.RequestHandler]) -> list[str]:
    """Serve with *handler*, send it all requests at once, and return the answers."""
    (listener,) = netutil.bind_sockets(0, "127.0.0.1")
    server = httpserver.HTTPServer(web.Application([("/", handler)]))
    server.add_socket(listener)
    client = httpclient.AsyncHTTPClient(force_instance=True, defaults={"request_timeout": 60})
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    try:
        answers = await asyncio.gather(*(client.fetch(url) for _ in range(REQUESTS)))
        return [answer.body.decode() for answer in answers]
    finally:
        client.close()
        server.stop()
        await server.close_all_connections()


class Party:
    """Lets nobody go on before so many have come: the answer that all are waiting for."""

    def __init__(self, many: int) -> None:
        self.missing = many
        self.all_here = asyncio.Event()

    async def wait(self) -> None:
        self.missing -= 1
        if not self.missing:
            self.all_here.set()
        await self.all_here.wait()


# T1


@pytest.mark.must_not_block
def test_t1_requests_to_a_handler_that_awaits_overlap(concurrency: Any) -> None:
    """T1: Tornado serves high concurrency with coroutines ("Tornado是一个Web开发框架,内部使用协程提供高并发").

    A request whose handler awaits leaves the one thread to the others. It does so by itself only where the handler has
    nothing synchronous in it: Tornado has no thread per request that would hide a `time.sleep`.

    Verdict: imprecise.
    Seen: 5 requests to a handler that awaits are in it at once; with time.sleep in it they are served one after the
    other, and each sleep is reported.
    """

    class Awaits(web.RequestHandler):
        async def get(self) -> None:
            await party.wait()
            self.write("ok")

    async def main():
        nonlocal party
        party = Party(REQUESTS)
        return await ask_all(Awaits)

    party: Any = None
    concurrency.watch(Awaits.get, name="get")

    assert asyncio.run(main()) == ["ok"] * REQUESTS

    concurrency.assert_overlap("get", at_least=REQUESTS)


@blocks_on_purpose
def test_t1_time_sleep_in_the_handler_makes_it_serve_one_after_the_other(concurrency: Any) -> None:
    """T1, the limit: one synchronous line, and high concurrency is gone."""

    class Sleeps(web.RequestHandler):
        async def get(self) -> None:
            time.sleep(0.02)
            self.write("ok")

    concurrency.watch(Sleeps.get, name="get")

    assert asyncio.run(ask_all(Sleeps)) == ["ok"] * REQUESTS

    concurrency.assert_no_overlap("get")
    with pytest.raises(OverlapError, match=r"time\.sleep blocked the event loop"):
        concurrency.assert_overlap("get")
    blocks = [block for block in concurrency.blocks if block.call == "time.sleep"]
    assert len(blocks) == REQUESTS
    assert {block.place.file for block in blocks} == {__file__}


# T2


@pytest.mark.must_not_block
@pytest.mark.parametrize("style", ["async def", "gen.coroutine"])
def test_t2_a_coroutine_with_yield_does_as_one_with_async(style: str, concurrency: Any) -> None:
    """T2: Tornado offers coroutine versions of functions ("Tornado提供了各种协程版的函数"), made with `yield`.

    `gen.coroutine` is how they were written before Python had `await`. It still works; `async def` is what Tornado's
    own guide recommends now.

    Verdict: true.
    Seen: 5 requests are in the handler at once in both styles, with the same answers, and nothing blocks.
    """

    class WithAsync(web.RequestHandler):
        async def get(self) -> None:
            with concurrency.span("get"):
                await party.wait()
                await gen.sleep(0)
            self.write("ok")

    class WithYield(web.RequestHandler):
        @gen.coroutine
        def get(self) -> Any:
            with concurrency.span("get"):
                yield party.wait()
                yield gen.sleep(0)
            self.write("ok")

    async def main():
        nonlocal party
        party = Party(REQUESTS)
        return await ask_all(WithAsync if style == "async def" else WithYield)

    party: Any = None

    assert asyncio.run(main()) == ["ok"] * REQUESTS

    concurrency.assert_overlap("get", at_least=REQUESTS)
