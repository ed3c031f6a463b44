"""Nothing is left behind: after each test, everything that was patched is the very same object as before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# What recording touches, as objects whose identity is compared. Libraries that are absent are left out.
WITNESS = '''
"""Says what stands where the recording puts its own things for the length of a test."""

import gc
import importlib
import inspect
import sys
import threading

PLACES = (
    "asyncio.events:Handle._run",
    "asyncio.base_events:BaseEventLoop.create_task",
    "asyncio.base_events:BaseEventLoop.run_in_executor",
    "asyncio.locks:Lock.acquire",
    "asyncio.locks:Lock.release",
    "asyncio.locks:Semaphore.acquire",
    "asyncio.locks:Semaphore.release",
    "asyncio.base_events:BaseEventLoop.__init__",
    "asyncio.base_events:BaseEventLoop.close",
    "asyncio.base_events:BaseEventLoop.__del__",
    "asyncio.base_events:BaseEventLoop.call_exception_handler",
    "asyncio.base_events:BaseEventLoop._asyncgen_firstiter_hook",
    "asyncio.base_events:BaseEventLoop.shutdown_asyncgens",
    "asyncio.base_events:Server.__init__",
    "asyncio.runners:_cancel_all_tasks",
    "asyncio.queues:Queue.get",
    "asyncio.queues:Queue.get_nowait",
    "threading:Thread.start",
    "threading:Thread.run",
    "threading:Thread._bootstrap_inner",
    "subprocess:Popen.__init__",
    "multiprocessing.process:BaseProcess.start",
    "multiprocessing.pool:Pool.__init__",
    "concurrent.futures.thread:ThreadPoolExecutor.__init__",
    "concurrent.futures.process:ProcessPoolExecutor.__init__",
    "warnings:_warn_unawaited_coroutine",
    "concurrent.futures.thread:ThreadPoolExecutor.submit",
    "trio._core._run:setup_runner",
    "trio._core._thread_cache:start_thread_soon",
    "trio._core._run:Runner.spawn_system_task",
    "trio._core._run:Runner.task_exited",
    "trio._core._asyncgens:AsyncGenerators.install_hooks",
    "trio._core._asyncgens:name_asyncgen",
    "trio:Lock.acquire",
    "trio:Lock.release",
    "trio:Semaphore.acquire",
    "trio:CapacityLimiter.acquire_on_behalf_of",
    "trio:MemoryReceiveChannel.receive",
    "uvloop:Loop.create_task",
    "uvloop:Loop.call_soon",
    "uvloop:Loop.call_soon_threadsafe",
    "uvloop:Loop.call_later",
    "uvloop:Loop.call_at",
    "uvloop:Loop.create_connection",
    "uvloop:Loop.run_in_executor",
    "anyio.streams.memory:MemoryObjectReceiveStream.receive",
    "anyio._backends._asyncio:Lock.acquire",
    "anyio._backends._asyncio:Semaphore.acquire",
    "anyio._backends._asyncio:CapacityLimiter.acquire_on_behalf_of",
)

def found():
    seen = {}
    for place in PLACES:
        module_name, _, path = place.partition(":")
        try:
            owner = importlib.import_module(module_name)
        except ImportError:
            continue
        *classes, name = path.split(".")
        for each in classes:
            owner = getattr(owner, each)
        # What hangs on the class itself: an attribute that was inherited must be inherited again.
        seen[place] = vars(owner).get(name, "inherited")
    import shop
    seen["watched function's code"] = shop.fetch.__code__
    seen["watched method's code"] = shop.Client.fetch.__code__
    seen["origin tracking"] = sys.get_coroutine_origin_tracking_depth()
    seen["gc.callbacks"] = list(gc.callbacks)
    seen["meta_path"] = list(sys.meta_path)
    seen["threads"] = {thread for thread in threading.enumerate() if thread.name.startswith("pytest_concurrency")}
    return seen

def changed(before):
    now = found()
    return sorted(place for place in before if not (before[place] is now[place] or before[place] == now[place]))
'''
SHOP = """
async def fetch():
    return 1

class Client:
    async def fetch(self):
        return 1
"""
HEAD = """
import asyncio
import pytest
import shop
import witness

before = witness.found()

@pytest.fixture(scope="module", autouse=True)
def in_the_end():
    yield
    assert witness.changed(before) == []

marks = [
    pytest.mark.must_overlap("shop:fetch"),
    pytest.mark.must_overlap("shop:Client.fetch"),
    pytest.mark.must_not_leak,
]

async def main():
    client = shop.Client()
    await asyncio.gather(shop.fetch(), shop.fetch(), client.fetch(), client.fetch())

def use():
    asyncio.run(main())

class TestThings:
    pytestmark = marks

    def test_first(self):
        # Recording is on: something is different, or this file would prove nothing.
        assert "watched function's code" in witness.changed(before)
        use()

{body}

def test_after_it():
    assert witness.changed(before) == []
    use()
"""


def check(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult], body: str, *args: str, **outcomes: int
) -> None:
    pytester.makepyfile(shop=SHOP, witness=WITNESS, test_it=HEAD.format(body=body))

    result = inner("--blocking=off", *args)

    result.assert_outcomes(**{**outcomes, "passed": 2 + outcomes.get("passed", 0)})


@pytest.mark.parametrize(
    ("body", "outcomes"),
    [
        pytest.param("    def test_it(self): use()", {"passed": 1}, id="a test that passes"),
        pytest.param("    def test_it(self): asyncio.run(shop.fetch())", {"failed": 1}, id="a verdict that fails"),
        pytest.param("    def test_it(self): raise LookupError", {"failed": 1}, id="a body that raises"),
        pytest.param("    def test_it(self): pytest.skip()", {"skipped": 1}, id="a skip"),
        pytest.param("    def test_it(self): pytest.xfail()", {"xfailed": 1}, id="an xfail"),
        pytest.param("    def test_it(self, no_such_fixture): pass", {"errors": 1}, id="a fixture that is missing"),
        pytest.param(
            "    @pytest.fixture\n    def broken(self): raise LookupError\n    def test_it(self, broken): pass",
            {"errors": 1},
            id="a fixture that raises",
        ),
        pytest.param(
            "    @pytest.fixture\n    def broken(self):\n        yield\n        raise LookupError\n"
            "    def test_it(self, broken): use()",
            {"passed": 1, "errors": 1},
            id="a teardown that raises",
        ),
        pytest.param(
            "    @pytest.mark.must_overlap('shop:fetsh')\n    def test_it(self): use()",
            {"errors": 1},
            id="a target misspelt",
        ),
        pytest.param(
            "    @pytest.mark.must_overlap('shop:fetch', at_least=1)\n    def test_it(self): use()",
            {"errors": 1},
            id="a marker misused",
        ),
        pytest.param(
            "    def test_it(self, concurrency):\n        concurrency.watch('shop:fetch', 'again')\n        use()",
            {"passed": 1},
            id="the fixture",
        ),
    ],
)
def test_nothing_is_left_after(
    body: str, outcomes: dict[str, int], pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    check(pytester, inner, body, **outcomes)


def test_nothing_is_left_after_a_test_on_trio(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("trio")
    body = """
    def test_it(self):
        import trio
        assert "trio._core._run:setup_runner" in witness.changed(before)
        async def main():
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(shop.fetch)
                    nursery.start_soon(shop.Client().fetch)
        trio.run(main)
"""

    check(pytester, inner, body, passed=1)


def test_nothing_is_left_after_a_test_on_uvloop(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("uvloop")
    body = """
    def test_it(self):
        import uvloop
        assert "uvloop:Loop.call_soon" in witness.changed(before)
        uvloop.run(main())
"""

    check(pytester, inner, body, passed=1)


def test_nothing_is_put_in_place_for_a_test_that_asks_for_nothing(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        shop=SHOP,
        witness=WITNESS,
        conftest="""
            import sys
            import pytest
            import witness

            before = witness.found()

            @pytest.hookimpl(trylast=True)
            def pytest_configure():
                # A run waits for libraries to be imported, whether or not a test asks for anything.
                before["meta_path"] = list(sys.meta_path)

            @pytest.fixture
            def changed():
                return witness.changed(before)
        """,
        test_it="def test_it(changed):\n    assert changed == []",
    )

    inner("--blocking=off").assert_outcomes(passed=1)


def test_pytest_rewrites_the_tests_but_none_of_our_modules(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
        import sys
        from _pytest.assertion.rewrite import AssertionRewritingHook

        def test_it():
            rewritten = {
                name.partition(".")[0]
                for name, module in tuple(sys.modules.items())
                if isinstance(getattr(module, "__loader__", None), AssertionRewritingHook)
                and name not in ("pytest_concurrency", "pytest_concurrency._unrewritten")
            }
            assert __name__ in rewritten
            assert "pytest_concurrency" not in rewritten
        """
    )

    inner().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ((), {"passed": 4, "warnings": 2}),
        (("--blocking=fail",), {"passed": 2, "failed": 2}),
        (("--blocking=off",), {"passed": 4}),
    ],
)
def test_a_loop_that_nobody_expected_is_watched_from_its_first_test_on(
    pytester: pytest.Pytester,
    inner: Callable[..., pytest.RunResult],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    outcome: dict[str, int],
) -> None:
    # Other plugins bring an event loop library with them.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        test_it="""
        import sys, time

        def test_before(pytestconfig):
            # From 3.14 on, pytest's own imports bring asyncio with them; no loop has run.
            wrapped = pytestconfig.pluginmanager.has_plugin("pytest_concurrency_phases")
            assert wrapped == (pytestconfig.getoption("concurrency_blocking") == "fail")

        def test_first():
            import asyncio
            async def main():
                time.sleep(0.002)
            asyncio.run(main())

        def test_next():
            import asyncio
            async def main():
                time.sleep(0.002)
            asyncio.run(main())

        def test_last():
            pass
        """
    )

    result = inner("-p", "pytest_concurrency.plugin", *options)

    result.assert_outcomes(**outcome)
    if "warnings" in outcome:
        result.stdout.fnmatch_lines(["test_it.py::test_first", "*BlockingCallWarning: time.sleep blocked*"])


def test_a_loop_that_outlives_the_test_is_free_of_the_recording(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        shop=SHOP,
        test_it="""
        import asyncio
        import pytest
        import shop

        @pytest.fixture(scope="module")
        def loop():
            loop = asyncio.new_event_loop()
            yield loop
            loop.close()

        async def main():
            return await asyncio.gather(shop.fetch(), shop.fetch())

        @pytest.mark.must_overlap("shop:fetch")
        def test_first(loop):
            loop.run_until_complete(main())

        def test_second(loop):
            assert loop.run_until_complete(main()) == [1, 1]
            assert not any(asyncio.all_tasks(loop))

        @pytest.mark.must_overlap("shop:fetch")
        def test_third(loop):
            loop.run_until_complete(main())
        """,
    )

    inner("-W", "error", "--blocking=off", "-p", "no:asyncio").assert_outcomes(passed=3)


def test_a_call_that_is_still_held_when_the_test_ends_is_let_go(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        shop=SHOP,
        test_it="""
        import asyncio
        import pytest
        import shop

        @pytest.fixture(scope="module")
        def loop():
            loop = asyncio.new_event_loop()
            yield loop
            loop.close()

        tasks = []

        async def start():
            tasks.append(asyncio.create_task(shop.fetch()))
            await asyncio.sleep(0)

        @pytest.mark.must_overlap("shop:fetch", patience=600)
        def test_first(loop):
            loop.run_until_complete(start())

        def test_second(loop):
            assert loop.run_until_complete(asyncio.wait_for(tasks[0], 10)) == 1
        """,
    )

    result = inner("--blocking=off", "-p", "no:asyncio")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("Only one call was made*")


@pytest.mark.parametrize(
    "marker",
    [
        pytest.param("", id="that asks for nothing"),
        pytest.param("@pytest.mark.must_overlap\n", id="that is recorded"),
        pytest.param("@pytest.mark.must_not_leak\n", id="whose leaks are asked for"),
        pytest.param("@pytest.mark.start_methods('spawn')\n", id="that starts processes"),
        pytest.param("@pytest.mark.virtual_clock\n", id="on virtual time"),
    ],
)
def test_what_another_plugin_raises_around_a_test_is_shown_as_without_us(
    pytester: pytest.Pytester, marker: str
) -> None:
    pytester.makeconftest(
        """
        import pytest

        def refuse(item):
            raise RuntimeError(f"{item.name} is refused")

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(item):
            refuse(item)
        """
    )
    pytester.makepyfile(f"import pytest\n\n{marker}def test_it():\n    pass\n")
    options = ("-q", "--tb=native", "-W", "ignore::pytest.PytestUnknownMarkWarning")
    bare = pytester.runpytest_subprocess(*options, "-p", "no:pytest_concurrency")
    ours = pytester.runpytest_subprocess(*options)
    ours.assert_outcomes(errors=1)

    def shown(result: pytest.RunResult) -> list[str]:
        # How often pluggy's own come up in it is a matter of how many wrappers there are.
        return [line for line in result.outlines if line.startswith("  File ") and "pluggy" not in line]

    assert shown(ours) == shown(bare) != []


def test_without_the_plugin_its_markers_and_options_are_gone(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile("def test_it(): pass")

    result = inner("-p", "no:pytest_concurrency", "--markers")
    assert "must_overlap" not in result.stdout.str()

    result = inner("-p", "no:pytest_concurrency", "--blocking=fail")
    assert result.ret == pytest.ExitCode.USAGE_ERROR

    result = inner("-p", "no:pytest_concurrency", "--strict-markers")
    result.assert_outcomes(passed=1)
