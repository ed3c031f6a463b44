"""The plugin records and judges under every runner that a project may bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SHOP = """
async def fetch(number):
    return number
"""
ASYNCIO = """
import asyncio
import pytest
from shop import fetch

async def together():
    assert await asyncio.gather(fetch(1), fetch(2)) == [1, 2]

async def in_turn():
    for number in range(2):
        await fetch(number)
"""
TRIO = """
import pytest
import trio
from shop import fetch

async def together():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch, 1)
        nursery.start_soon(fetch, 2)

async def in_turn():
    for number in range(2):
        await fetch(number)
"""
ANYIO = """
import anyio
import pytest
from shop import fetch

async def together():
    async with anyio.create_task_group() as group:
        group.start_soon(fetch, 1)
        group.start_soon(fetch, 2)

async def in_turn():
    for number in range(2):
        await fetch(number)
"""
# Each way of running a coroutine function from a plain test.
PLAIN = """
@pytest.mark.must_overlap("shop:fetch")
def test_together():
    {run}

@pytest.mark.must_overlap("shop:fetch")
def test_in_turn():
    {run_in_turn}
"""
ASYNC = """
{mark}
@pytest.mark.must_overlap("shop:fetch")
async def test_together({arguments}):
    await together()

{mark}
@pytest.mark.must_overlap("shop:fetch")
async def test_in_turn({arguments}):
    await in_turn()
"""


def check(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult], source: str, *args: str) -> None:
    """Fail unless `test_together` passes and `test_in_turn` fails with its cause."""
    pytester.makepyfile(shop=SHOP, test_it=source)

    result = inner("--strict-markers", *args)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ *test_in_turn* _*",
            "expected 2 calls of shop:fetch at once, saw at most 1",
            "*Awaited one after the other: test_it.py:* in in_turn*",
            "FAILED test_it.py::*test_in_turn* - expected 2 c*",
        ]
    )


def plain(library: str, run: str) -> str:
    return library + PLAIN.format(run=run.format("together"), run_in_turn=run.format("in_turn"))


@pytest.mark.parametrize(
    "run",
    [
        pytest.param("asyncio.run({}())", id="run"),
        pytest.param("asyncio.run({}(), debug=True)", id="debug"),
        pytest.param("with asyncio.Runner() as runner: runner.run({}())", id="runner"),
        pytest.param("loop = asyncio.new_event_loop(); loop.run_until_complete({}()); loop.close()", id="loop"),
    ],
)
def test_asyncio_in_a_plain_test(run: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    check(pytester, inner, plain(ASYNCIO, run))


def test_a_loop_in_another_thread(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    run = "thread = threading.Thread(target=asyncio.run, args=({}(),)); thread.start(); thread.join()"

    check(pytester, inner, plain("import threading\n" + ASYNCIO, run))


def test_uvloop_in_a_plain_test(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("uvloop")

    check(pytester, inner, plain("import uvloop\n" + ASYNCIO, "uvloop.run({}())"))


def test_uvloop_that_is_imported_in_the_test(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("uvloop")

    check(pytester, inner, plain(ASYNCIO, "import uvloop; uvloop.run({}())"))


def test_trio_in_a_plain_test(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("trio")

    check(pytester, inner, plain(TRIO, "trio.run({})"))


def test_trio_as_the_guest_of_asyncio(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("trio")
    host = """
import asyncio

def run_as_guest(function):
    async def host():
        done = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            function,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=done.set_result,
        )
        (await done).unwrap()
    asyncio.run(host())
"""

    check(pytester, inner, plain(TRIO + host, "run_as_guest({})"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_in_a_plain_test(backend: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("anyio")
    pytest.importorskip(backend)

    check(pytester, inner, plain(ANYIO, f"anyio.run({{}}, backend={backend!r})"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyios_blocking_portal(
    backend: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("anyio")
    pytest.importorskip(backend)
    run = f"with anyio.from_thread.start_blocking_portal({backend!r}) as portal: portal.call({{}})"

    check(pytester, inner, plain("import anyio.from_thread\n" + ANYIO, run))


def test_isolated_asyncio_test_case(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    case = """
import unittest

class TestCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        await asyncio.sleep(0)

    @pytest.mark.must_overlap("shop:fetch")
    async def test_together(self):
        await together()

    @pytest.mark.must_overlap("shop:fetch")
    async def test_in_turn(self):
        await in_turn()
"""

    check(pytester, inner, ASYNCIO + case)


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_pytest_asyncio(scope: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("pytest_asyncio")
    mark = f"@pytest.mark.asyncio(loop_scope={scope!r})"

    check(pytester, inner, ASYNCIO + ASYNC.format(mark=mark, arguments=""), "-p", "no:anyio")


def test_pytest_asyncio_in_auto_mode(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("pytest_asyncio")

    check(pytester, inner, ASYNCIO + ASYNC.format(mark="", arguments=""), "--asyncio-mode=auto")


@pytest.mark.parametrize(
    ("backend", "needs"),
    [
        pytest.param("'asyncio'", "asyncio", id="asyncio"),
        pytest.param("('asyncio', {'use_uvloop': True})", "uvloop", id="uvloop"),
        pytest.param("'trio'", "trio", id="trio"),
    ],
)
def test_anyios_own_plugin(
    backend: str, needs: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("anyio")
    pytest.importorskip(needs)
    fixture = f"""
@pytest.fixture
def anyio_backend():
    return {backend}
"""

    check(pytester, inner, ANYIO + fixture + ASYNC.format(mark="@pytest.mark.anyio", arguments=""))


def test_pytest_trio(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("pytest_trio")

    check(pytester, inner, TRIO + ASYNC.format(mark="@pytest.mark.trio", arguments=""))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_starlettes_test_client(
    backend: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("httpx")
    pytest.importorskip(backend)
    application = f"""
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

def client(function):
    async def endpoint(request):
        await function()
        return PlainTextResponse("done")
    return TestClient(Starlette(routes=[Route("/", endpoint)]), backend={backend!r})
"""

    check(
        pytester,
        inner,
        plain(ANYIO + application, "assert client({}).get('/').text == 'done'"),
        # What the client's own dependencies say about each other is not our affair.
        "-W",
        "ignore",
    )


def test_fixtures_and_the_runners_own_tasks_are_no_strands_of_the_test(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def server():
            tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(2)]
            yield
            for task in tasks:
                task.cancel()

        @pytest.mark.asyncio
        @pytest.mark.must_overlap
        async def test_it(server):
            await asyncio.sleep(0)
        """
    )

    result = inner()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("The test started no task, thread or process:*")
