"""Libraries of a version to come, in which what the plugin needs is gone: it says so, and is in nobody's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARIES = ("trio", "uvloop", "gevent", "anyio", "tornado")
SUITE = """
import asyncio, importlib, threading
import pytest

LIBRARIES = ("trio", "uvloop", "gevent", "anyio", "tornado")

async def fetch():
    await asyncio.sleep(0)

lock = threading.Lock()

def call():
    pass

def one_at_a_time():
    with lock:
        call()

@pytest.mark.parametrize("library", LIBRARIES)
def test_it_can_be_used(library):
    assert importlib.import_module(library).run() == 42

@pytest.mark.must_overlap("test_it.fetch")
def test_overlap_on_asyncio():
    async def main():
        await asyncio.gather(fetch(), fetch())
    asyncio.run(main())

@pytest.mark.virtual_clock
@pytest.mark.must_finish_within(100)
def test_virtual_time_on_asyncio():
    asyncio.run(asyncio.sleep(99))

@pytest.mark.must_not_overlap("test_it.call")
def test_on_a_loop_that_is_not_seen():
    import trio
    trio.run()
    threads = [threading.Thread(target=one_at_a_time) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

@pytest.mark.must_not_leak
def test_leaks():
    import trio
    trio.run()

@pytest.mark.must_not_block
def test_blocking():
    import trio
    trio.run()
"""


@pytest.fixture
def tomorrow(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """Return a function that runs a suite beside libraries of which nothing is left but a function."""
    for library in LIBRARIES:
        folder = pytester.mkpydir(library)
        (folder / "__init__.py").write_text("__version__ = '99'\n\ndef run():\n    return 42\n")
    pytester.makepyfile(test_it=SUITE)
    # Other plugins would import the libraries that are installed.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return inner


def test_what_cannot_be_watched_is_named_and_works(tomorrow: Callable[..., pytest.RunResult]) -> None:
    result = tomorrow("-p", "pytest_concurrency.plugin", "--leaks=warn")

    result.assert_outcomes(passed=7, failed=3, warnings=5)
    result.stdout.fnmatch_lines(
        [
            "inconclusive: no event loop was seen, and trio 99 cannot be watched: ModuleNotFoundError: * 'trio._core'*",
            "@pytest.mark.must_not_leak(): nothing was watched, since leaks are not looked for any more: *trio._core*",
            "@pytest.mark.must_not_block(): no event loop was seen in this test, and trio 99 cannot be watched: *",
        ]
    )
    for library in ("trio", "uvloop", "gevent", "anyio"):
        result.stdout.fnmatch_lines(
            [f"*ConcurrencyWarning: {library} 99 cannot be watched: *Error: *; what runs on it may go unseen.*"]
        )
    result.stdout.fnmatch_lines(["*ConcurrencyWarning: leaks are not looked for any more: *"])
