"""When a leak is said, and of whom: bodies, fixtures of every scope, two tests in a row, workers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Left

THREADS = """
import threading
import pytest

event = threading.Event()

def start():
    thread = threading.Thread(target=event.wait, name="waits")
    thread.start()
    return thread

class Server:
    def __init__(self):
        self.threads = []

    def handle(self):
        self.threads.append(start())

    def stop(self):
        event.set()
        for thread in self.threads:
            thread.join()
        event.clear()
"""


def test_whose_it_is(left: Left) -> None:
    found = left(
        THREADS
        + """
@pytest.fixture
def server():
    server = Server()
    server.handle()
    yield server
    server.stop()

@pytest.fixture(scope="module")
def shared():
    server = Server()
    server.handle()
    yield server
    server.stop()

@pytest.fixture(scope="class")
def careless():
    start()
    yield

@pytest.fixture
def leaks_itself():
    start()

def test_first_leaks():
    start()

def test_second_does_not():
    pass

def test_fixture_ends_its_own(server):
    pass

def test_fixture_ends_what_the_test_started(server):
    server.handle()

def test_fixture_ends_nothing_of_this(server, tmp_path):
    threading.Thread(target=threading.Event().wait, daemon=True).start()

def test_shared_lives_on(shared):
    pass

def test_shared_holds_it(shared):
    shared.handle()

def test_fixture_leaks(leaks_itself):
    pass

class TestClass:
    def test_one(self, careless):
        pass

    def test_two(self, careless):
        pass

def test_own_failure():
    start()
    raise LookupError

def test_skipped():
    start()
    pytest.skip()

@pytest.mark.may_leak("the next one ends it")
def test_may():
    start()

@pytest.mark.must_not_leak(allow=["wait*"])
def test_allowed():
    start()

@pytest.mark.xfail(strict=True)
def test_expected():
    start()

@pytest.fixture(scope="module", autouse=True)
def end():
    yield
    event.set()
"""
    )
    here = "thread waits (Event.wait), started at test_it.py:8"

    assert found.pop("test_fixture_ends_nothing_of_this").startswith("teardown: thread Thread-")
    # `test_own_failure` fails with its own exception, and leaks in silence.
    assert found == {
        "test_first_leaks": here,
        "test_fixture_leaks": f"teardown: {here}",
        "TestClass.test_two": f"teardown: {here}",
    }


RUN = """
import asyncio
import pytest

async def worker():
    await asyncio.Event().wait()
"""


def test_nothing_is_said_unless_it_is_asked_for(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        RUN
        + """
async def main():
    asyncio.create_task(worker())
    await asyncio.sleep(0)

def test_plain():
    asyncio.run(main())

@pytest.mark.must_not_leak
def test_marked():
    asyncio.run(main())

def test_asks(concurrency):
    asyncio.run(main())
    assert [leak.kind for leak in concurrency.leaks] == ["task"]
    with pytest.raises(AssertionError, match=r"^left behind: task Task-\\d+ \\(worker\\), started at "):
        concurrency.assert_no_leaks()

def test_asks_in_the_middle(concurrency):
    async def main():
        task = asyncio.create_task(worker())
        await asyncio.sleep(0)
        assert [leak.what for leak in concurrency.leaks] == ["worker"]
        task.cancel()
        await asyncio.wait([task])
        concurrency.assert_no_leaks()
    asyncio.run(main())
    concurrency.assert_no_leaks()
"""
    )

    result = inner("--blocking=off")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        ["left behind: task Task-* (worker), started at *", "FAILED *::test_marked - left beh*"]
    )
    inner("-p", "no:pytest_concurrency", "-k", "plain or marked").assert_outcomes(passed=2)


def test_a_warning_at_the_line_that_made_it(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        RUN
        + """
def test_it():
    async def main():
        asyncio.create_task(worker())
    asyncio.run(main())
"""
    )
    pytester.makeini("[pytest]\nconcurrency_leaks = warn\n")

    result = inner("--blocking=off")

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*:9: LeakWarning: task worker left behind: still pending when its event loop ended, and*",
            "    started at *:9 in main",
            "    instead: await it, or cancel it and await that*",
        ]
    )
    inner("--blocking=off", "--leaks=off").assert_outcomes(passed=1, warnings=0)


def test_workers_and_the_report(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        RUN
        + """
@pytest.fixture
def late():
    yield

@pytest.mark.parametrize("number", range(2))
def test_leaks(number):
    async def main():
        asyncio.create_task(worker())
        await asyncio.sleep(0)
    asyncio.run(main())

@pytest.mark.must_not_leak
def test_late(late):
    loop = asyncio.new_event_loop()
    globals()["kept"] = loop

def test_clean():
    asyncio.run(asyncio.sleep(0))
"""
    )

    result = inner("--leaks=fail", "--blocking=off", "-n2", "--concurrency-report=report.json")

    result.assert_outcomes(passed=2, failed=2, errors=1)
    tests = json.loads((pytester.path / "report.json").read_text())["tests"]
    leaks = {re.sub(r".*::", "", test["nodeid"]): test["leaks"] for test in tests}
    task = {"kind": "task", "file": "test_workers_and_the_report.py", "line": 14}
    assert [{**leak, "name": ""} for leak in leaks["test_leaks[0]"] + leaks["test_leaks[1]"]] == [
        {**task, "name": ""}
    ] * 2
    assert [leak["kind"] for leak in leaks["test_late"]] == ["loop"]
    assert leaks["test_clean"] == []
    verdicts = {test["nodeid"]: test["expectations"] for test in tests}
    (late,) = verdicts["test_workers_and_the_report.py::test_late"]
    assert (late["marker"], late["held"]) == ("must_not_leak", False)
    assert late["message"].startswith("left behind: event loop ")


@pytest.mark.parametrize(
    ("args", "ini", "message"),
    [
        (["--leaks=loud"], "", "--leaks = 'loud': expected one of off, warn, fail"),
        ([], "concurrency_leaks = loud", "concurrency_leaks in tox.ini = 'loud': expected one of off, warn, fail"),
        (
            [],
            "concurrency_allow_leaks = a b:c",
            "concurrency_allow_leaks: 'a b:c' does not say what may be left behind",
        ),
    ],
)
def test_a_setting_that_is_none(
    args: list[str], ini: str, message: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makefile(".ini", tox=f"[pytest]\n{ini}\n")

    result = inner(*args)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(message in line for line in result.errlines)


def test_a_marker_misused(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.may_leak
        def test_no_reason(): pass

        @pytest.mark.must_not_leak(allow=[1])
        def test_no_text(): pass

        @pytest.mark.must_not_leak(allow="a b:c")
        def test_no_rule(): pass
        """
    )

    result = inner("--blocking=off")

    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.may_leak(): missing a required argument: 'reason'",
            "@pytest.mark.must_not_leak(allow=[[]1[]]): allow=[[]1[]]: expected texts such as*",
            "@pytest.mark.must_not_leak(allow='a b:c'): 'a b:c' does not say what may be left behind: expected a*",
        ]
    )


def test_a_mistake_of_ours_ends_the_watching_and_not_the_test(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        THREADS
        + """
from pytest_concurrency._leaks import threads

@pytest.fixture
def broken(monkeypatch):
    monkeypatch.setattr(threads, "makers_of", None)

def test_it(broken):
    start()

def test_after_it():
    start()
    event.set()

@pytest.mark.must_not_leak
def test_marked():
    pass
"""
    )

    result = inner("--leaks=fail", "--blocking=off")

    result.assert_outcomes(passed=2, failed=1, warnings=1)
    problem = "leaks are not looked for any more: TypeError: 'NoneType' object is not callable"
    result.stdout.fnmatch_lines(
        [
            f"@pytest.mark.must_not_leak(): nothing was watched, since {problem}",
            f"*: ConcurrencyWarning: {problem}",
        ]
    )


def test_outside_pytest(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = run_python(
        """
import asyncio, warnings
import pytest_concurrency
before = warnings._warn_unawaited_coroutine

async def main():
    asyncio.create_task(asyncio.Event().wait())

with pytest_concurrency.record() as concurrency:
    asyncio.run(main())
try:
    concurrency.assert_no_leaks()
except pytest_concurrency.LeakError as error:
    print(str(error).splitlines()[0].partition(" (")[0][:23])
assert warnings._warn_unawaited_coroutine is before
"""
    )

    assert (result.stdout, result.stderr) == ("left behind: task Task-\n", "")


def test_arguments_of_a_test_may_have_any_name(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("anyio", reason="its plugin hands them on by name")
    pytester.makepyfile(
        """
import pytest

@pytest.mark.anyio
@pytest.mark.parametrize(("func", "runner", "original", "args", "kwargs"), [(1, 2, 3, 4, 5)])
async def test_it(func, runner, original, args, kwargs):
    assert (func, runner, original, args, kwargs) == (1, 2, 3, 4, 5)
"""
    )

    result = inner("--leaks=fail")

    assert result.ret == 0, result.outlines
