"""Virtual time under servers and their test clients, over real connections on loopback."""

from __future__ import annotations

from typing import Any

import pytest

SUITE = """
import asyncio
import pytest

pytestmark = pytest.mark.virtual_clock

def test_starlette(virtual_clock):
    pytest.importorskip("httpx")
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    async def slow(request):
        await asyncio.sleep(30)
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", slow)])
    assert TestClient(app).get("/").text == "done"
    with TestClient(app) as client:
        assert client.get("/").text == "done"
        assert client.get("/").text == "done"
    assert virtual_clock.elapsed == 90

@pytest.mark.virtual_clock(patch_time=True)  # tornado reads `time.time`
def test_tornado(virtual_clock):
    pytest.importorskip("tornado")
    from tornado.testing import AsyncTestCase, gen_test
    from tornado import gen

    class Case(AsyncTestCase):
        async def runTest(self): ...
        @gen_test(timeout=100)
        def test_gen(self):
            yield gen.sleep(30)
        @gen_test(timeout=100)
        async def test_native(self):
            await asyncio.sleep(30)

    import unittest
    for name in ("test_gen", "test_native"):
        result = unittest.TestResult()
        Case(name).run(result)
        assert result.wasSuccessful(), result.errors
    assert virtual_clock.elapsed == 60

def test_tornado_server(virtual_clock):
    pytest.importorskip("tornado")
    from tornado import httpclient, web
    class Slow(web.RequestHandler):
        async def get(self):
            await asyncio.sleep(10)
            self.write("done")
    async def main():
        server = web.Application([("/", Slow)]).listen(0, "127.0.0.1")
        port = list(server._sockets.values())[0].getsockname()[1]
        client = httpclient.AsyncHTTPClient()
        got = await asyncio.gather(*(client.fetch(f"http://127.0.0.1:{port}/") for _ in range(3)))
        assert {each.body for each in got} == {b"done"}
        server.stop()
    asyncio.run(main())
    assert virtual_clock.elapsed == 10

def test_aiohttp(virtual_clock):
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    async def slow(request):
        await asyncio.sleep(10)
        return web.Response(text="done")

    async def main():
        app = web.Application()
        app.router.add_get("/", slow)
        async with TestClient(TestServer(app)) as client:
            async def get():
                async with client.get("/", timeout=aiohttp.ClientTimeout(total=11)) as answer:
                    return await answer.text()
            assert await asyncio.gather(get(), get(), get()) == ["done"] * 3
            return virtual_clock.elapsed
    assert asyncio.run(main()) == 10
"""


def test_requests_take_the_virtual_time_of_their_handlers(inner: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)

    result = inner("-W", "ignore")

    outcomes = result.parseoutcomes()
    if not outcomes.get("passed"):
        pytest.skip("neither starlette, tornado nor aiohttp is installed")
    assert outcomes.keys() <= {"passed", "skipped"}
