"""A blocking call is found, with its line, however the loop is run that it blocks."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = """
from time import sleep
import asyncio, unittest, pytest

async def fetch():
    sleep(0.001)  # the line
"""

RUNNERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "asyncio.run": ("asyncio", "def test_it():\n    asyncio.run(fetch())", ()),
    "run_until_complete": (
        "asyncio",
        "def test_it():\n    loop = asyncio.new_event_loop()\n    loop.run_until_complete(fetch())\n    loop.close()",
        (),
    ),
    "debug mode": ("asyncio", "def test_it():\n    asyncio.run(fetch(), debug=True)", ()),
    "IsolatedAsyncioTestCase": (
        "asyncio",
        "class TestIt(unittest.IsolatedAsyncioTestCase):\n    async def test_it(self):\n        await fetch()",
        (),
    ),
    "asyncSetUp": (
        "asyncio",
        "class TestIt(unittest.IsolatedAsyncioTestCase):\n    async def asyncSetUp(self):\n        await fetch()\n"
        "    def test_it(self):\n        pass",
        (),
    ),
    "a loop in a thread": (
        "asyncio",
        "import threading\ndef test_it():\n    thread = threading.Thread(target=asyncio.run, args=(fetch(),))\n"
        "    thread.start()\n    thread.join()",
        (),
    ),
    "call_soon": (
        "asyncio",
        "async def main():\n    asyncio.get_running_loop().call_soon(lambda: sleep(0.001))  # the line\n"
        "    await asyncio.sleep(0.01)\ndef test_it():\n    asyncio.run(main())",
        (),
    ),
    "a background task": (
        "asyncio",
        "async def main():\n    task = asyncio.create_task(fetch())\n    await asyncio.sleep(0.01)\n"
        "def test_it():\n    asyncio.run(main())",
        (),
    ),
    "an async generator": (
        "asyncio",
        "async def numbers():\n    await fetch()\n    yield 1\nasync def main():\n    async for n in numbers():\n"
        "        pass\ndef test_it():\n    asyncio.run(main())",
        (),
    ),
    "uvloop.run": ("uvloop", "import uvloop\ndef test_it():\n    uvloop.run(fetch())", ("uvloop",)),
    "trio.run": ("trio", "import trio\ndef test_it():\n    trio.run(fetch)", ("trio",)),
    "trio guest mode": (
        "trio",
        """
import trio
def test_it():
    async def host():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        trio.lowlevel.start_guest_run(fetch, run_sync_soon_threadsafe=loop.call_soon_threadsafe,
                                      done_callback=lambda outcome: done.set())
        await done.wait()
    asyncio.run(host())
""",
        ("trio",),
    ),
    "anyio.run on asyncio": ("asyncio", "import anyio\ndef test_it():\n    anyio.run(fetch)", ("anyio",)),
    "anyio.run on trio": (
        "trio",
        "import anyio\ndef test_it():\n    anyio.run(fetch, backend='trio')",
        ("anyio", "trio"),
    ),
    "a portal": (
        "asyncio",
        "from anyio.from_thread import start_blocking_portal\ndef test_it():\n"
        "    with start_blocking_portal() as portal:\n        portal.call(fetch)",
        ("anyio",),
    ),
    "pytest-asyncio": ("asyncio", "@pytest.mark.asyncio\nasync def test_it():\n    await fetch()", ("pytest_asyncio",)),
    "pytest-asyncio's fixture": (
        "asyncio",
        "import pytest_asyncio\n@pytest_asyncio.fixture\nasync def data():\n    await fetch()\n"
        "@pytest.mark.asyncio\nasync def test_it(data):\n    pass",
        ("pytest_asyncio",),
    ),
    "pytest-asyncio's fixture, torn down": (
        "asyncio",
        "import pytest_asyncio\n@pytest_asyncio.fixture\nasync def data():\n    yield\n    await fetch()\n"
        "@pytest.mark.asyncio\nasync def test_it(data):\n    pass",
        ("pytest_asyncio",),
    ),
    "anyio's plugin on asyncio": (
        "asyncio",
        "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        "@pytest.mark.anyio\nasync def test_it():\n    await fetch()",
        ("anyio",),
    ),
    "anyio's plugin on uvloop": (
        "uvloop",
        "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio', {'use_uvloop': True}\n"
        "@pytest.mark.anyio\nasync def test_it():\n    await fetch()",
        ("anyio", "uvloop"),
    ),
    "anyio's plugin on trio": (
        "trio",
        "@pytest.fixture\ndef anyio_backend():\n    return 'trio'\n"
        "@pytest.mark.anyio\nasync def test_it():\n    await fetch()",
        ("anyio", "trio"),
    ),
    "pytest-trio": ("trio", "@pytest.mark.trio\nasync def test_it():\n    await fetch()", ("pytest_trio",)),
    "Starlette's TestClient": (
        "asyncio",
        """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

async def home(request):
    await fetch()
    return PlainTextResponse("hello")

def test_it():
    assert TestClient(Starlette(routes=[Route("/", home)])).get("/").text == "hello"
""",
        ("starlette", "httpx", "anyio"),
    ),
}


@pytest.mark.parametrize("name", RUNNERS)
def test_the_call_is_found_with_its_line(name: str, suite: Callable[..., pytest.RunResult]) -> None:
    backend, code, needs = RUNNERS[name]
    for module in needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    code = HEAD + code
    line = next(number for number, text in enumerate(code.strip().splitlines(), 1) if "# the line" in text)
    if name == "call_soon":
        line = max(number for number, text in enumerate(code.strip().splitlines(), 1) if "# the line" in text)

    result = suite(code, "-W", "ignore", "-W", "default::pytest_concurrency.BlockingCallWarning")

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            f"*test_it.py:{line}: BlockingCallWarning: time.sleep blocked the {backend} event loop in *",
            f"*at test_it.py:{line} in *",
            "*instead: *.sleep(...)",
        ]
    )
