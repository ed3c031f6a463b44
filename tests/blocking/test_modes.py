"""What happens to a test that blocks: off, warn, fail, raise, and the two markers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]

HEAD = """
import asyncio, time, pytest
from pytest_concurrency import allow_blocking

async def fetch():
    time.sleep(0.001)
    return 1

"""
PLAIN = f"{HEAD}\ndef test_it():\n    assert asyncio.run(fetch()) == 1\n"
SWALLOWED = f"""{HEAD}
async def careless():
    try:
        await fetch()
    except Exception:
        pass

def test_it():
    asyncio.run(careless())
"""


def test_off(suite: Suite) -> None:
    suite(PLAIN, "--blocking=off").assert_outcomes(passed=1)


def test_warn_is_the_default_and_comes_once_for_each_place(suite: Suite) -> None:
    code = f"{HEAD}\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n):\n    asyncio.run(fetch())"

    result = suite(code)

    result.assert_outcomes(passed=3, warnings=3)
    result.stdout.fnmatch_lines(["test_it.py::test_it[[]2]", "*: time.sleep blocked the asyncio event loop in fetch"])


def test_a_warning_as_an_error_fails_the_test_at_its_end(suite: Suite) -> None:
    code = f"{HEAD}\ndef test_it():\n    assert asyncio.run(fetch()) == 1\n    print('reached the end')"

    result = suite(code, "-W", "error::pytest_concurrency.BlockingCallWarning", "-rA")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["time.sleep blocked the asyncio event loop in fetch", "reached the end"])
    result.stdout.no_fnmatch_line("*_blocking_run.py*")


def test_fail(suite: Suite) -> None:
    result = suite(PLAIN, "--blocking=fail")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ test_it _*",
            "time.sleep blocked the event loop for * ms at test_it.py:5",
            "  time.sleep (sleep, * ms)",
            "    at test_it.py:5 in fetch",
            "    instead: asyncio.sleep(...)",
            "FAILED test_it.py::test_it - time.sleep blocked the event loop*",
        ]
    )
    result.stdout.no_fnmatch_line("*_blocking_run.py*")


def test_raise_stops_the_call_and_ends_the_traceback_at_the_users_line(suite: Suite) -> None:
    result = suite(f"{HEAD}\ndef test_it():\n    asyncio.run(fetch())\n    print('not reached')", "--blocking=raise")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">   *time.sleep(0.001)",
            "E   *BlockingCallError: time.sleep (0.001 s) would block the asyncio event loop; use asyncio.sleep(...)",
            "test_it.py:5: BlockingCallError",
        ]
    )
    result.stdout.no_fnmatch_line("*_blocking*.py*")
    result.stdout.no_fnmatch_line("*not reached*")


@pytest.mark.parametrize("mode", ["fail", "raise"])
def test_what_the_code_under_test_swallows_fails_the_test_all_the_same(suite: Suite, mode: str) -> None:
    result = suite(SWALLOWED, f"--blocking={mode}")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["time.sleep blocked the event loop*"])


@pytest.mark.parametrize("mode", ["fail", "raise"])
def test_the_bodys_own_exception_is_not_judged_over(suite: Suite, mode: str) -> None:
    code = SWALLOWED + "    assert 0, 'the real reason'\n"

    result = suite(code, f"--blocking={mode}")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*the real reason*", "*Captured blocking call*", "time.sleep blocked the event loop*"]
    )


def test_an_import_is_not_interrupted(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(lazy="import time\ntime.sleep(0.001)\nDONE = True")
    code = """
import asyncio

async def fetch():
    import lazy
    assert lazy.DONE

def test_it():
    asyncio.run(fetch())
"""

    result = suite(code, "--blocking=raise")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["time.sleep blocked the event loop * at lazy.py:2"])


def test_must_not_block_fails_whatever_the_mode(suite: Suite) -> None:
    code = PLAIN.replace("def test_it", "@pytest.mark.must_not_block\ndef test_it")

    for mode in ("off", "warn"):
        suite(code, f"--blocking={mode}").assert_outcomes(failed=1)


def test_must_not_block_without_a_loop_proves_nothing(suite: Suite) -> None:
    result = suite(f"{HEAD}\n@pytest.mark.must_not_block\ndef test_it():\n    pass\n")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*must_not_block(): no event loop ran in this test,*"])


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        ("kinds=['lock']", "passed"),
        ("kinds='sleep lock'", "failed"),
        ("allow=['test_it:fetch']", "passed"),
        ("allow='time.sleep@test_it.py'", "passed"),
        ("allow=['elsewhere']", "failed"),
    ],
)
def test_arguments_of_must_not_block(suite: Suite, arguments: str, outcome: str) -> None:
    code = PLAIN.replace("def test_it", f"@pytest.mark.must_not_block({arguments})\ndef test_it")

    suite(code).assert_outcomes(**{outcome: 1})


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("must_not_block(threshold='x')", "threshold='x': expected seconds, such as 0.1"),
        ("must_not_block(kinds='sleeep')", "'sleeep' is not a kind of block: expected some of sleep lock*"),
        ("must_not_block(kinds=3)", "kinds=3: expected names of kinds, such as ('sleep', 'lock')"),
        ("must_not_block(allow='a b')", "'a b' does not say who may block: expected package.module*"),
        ("must_not_block(limit=3)", "got an unexpected keyword argument 'limit'"),
        ("may_block()", "missing a required argument: 'reason'"),
        ("may_block('')", "expected the reason why it may, such as may_block('reads its fixtures from disk')"),
    ],
)
def test_a_marker_with_wrong_arguments_is_an_error_of_that_test(suite: Suite, marker: str, words: str) -> None:
    result = suite(
        PLAIN.replace("def test_it", f"@pytest.mark.{marker}\ndef test_it") + "\ndef test_other():\n    pass\n"
    )

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"@pytest.mark.{marker.partition('(')[0]}*: {words}"])


def test_may_block_exempts_a_test_and_the_nearest_marker_wins(suite: Suite) -> None:
    code = f"""{HEAD}
pytestmark = pytest.mark.must_not_block

@pytest.mark.may_block("measures it")
def test_exempt():
    asyncio.run(fetch())

def test_bound():
    asyncio.run(fetch())
"""

    result = suite(code, "--blocking=raise")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_bound*"])


def test_allow_blocking_lets_one_place_off(suite: Suite) -> None:
    code = f"""{HEAD}
async def main():
    with allow_blocking("once, at the start"):
        await fetch()
def test_it():
    asyncio.run(main())
"""

    suite(code, "--blocking=raise").assert_outcomes(passed=1)


@pytest.mark.parametrize("rule", ["test_it", "test_it:fetch", "test_*.py", "time.sleep@test_it"])
def test_the_ini_lets_off(suite: Suite, rule: str) -> None:
    suite(PLAIN, "--blocking=raise", "-o", f"concurrency_allow_blocking={rule}").assert_outcomes(passed=1)


def test_a_malformed_line_of_the_ini_is_a_usage_error(suite: Suite) -> None:
    result = suite(PLAIN, "-o", "concurrency_allow_blocking=a b")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: concurrency_allow_blocking: 'a b' does not say who may block: expected *"])


def test_a_fixtures_block_is_the_tests(suite: Suite) -> None:
    code = f"{HEAD}\n@pytest.fixture\ndef data():\n    asyncio.run(fetch())\ndef test_it(data):\n    pass\n"

    suite(code).assert_outcomes(passed=1, warnings=1)
    suite(code, "--blocking=fail").assert_outcomes(failed=1)


def test_a_block_in_teardown(suite: Suite) -> None:
    code = f"{HEAD}\n@pytest.fixture\ndef data():\n    yield\n    asyncio.run(fetch())\ndef test_it(data):\n    pass\n"

    suite(code).assert_outcomes(passed=1, warnings=1)
    suite(code, "--blocking=fail").assert_outcomes(passed=1, errors=1)


def test_nothing_is_left_behind(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
import atexit, subprocess, threading, time

def look():
    import asyncio
    for function in (time.sleep, threading.Condition.wait, threading.Thread.join, subprocess.Popen.wait,
                     asyncio.BaseEventLoop.run_forever):
        assert not hasattr(function, "__wrapped__"), function
        assert "pytest_concurrency" not in getattr(function, "__module__", ""), function
    print("nothing left")

atexit.register(look)
"""
    )

    suite(PLAIN).stdout.fnmatch_lines(["nothing left"])


def test_without_the_plugin_there_is_nothing(suite: Suite) -> None:
    result = suite("import asyncio, time\ndef test_it():\n    assert not hasattr(time.sleep, '__wrapped__')",
                   "-p", "no:pytest_concurrency")  # fmt: skip

    result.assert_outcomes(passed=1)


def test_a_run_inside_a_run_has_its_own_guard(suite: Suite) -> None:
    code = f"""{HEAD}
pytest_plugins = ["pytester"]

def test_inner(pytester):
    pytester.makepyfile('''
import asyncio, time
async def main():
    time.sleep(0.001)
def test_it():
    asyncio.run(main())
''')
    pytester.runpytest_inprocess("--blocking=fail").assert_outcomes(failed=1)
    pytester.runpytest_inprocess("--blocking=off").assert_outcomes(passed=1)

def test_outer_again():
    asyncio.run(fetch())
"""

    result = suite(code)

    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*: time.sleep blocked the asyncio event loop in fetch"])


def test_a_short_block_decides_nothing_and_is_there_to_be_seen(suite: Callable[..., pytest.RunResult]) -> None:
    result = suite(
        """
        import asyncio
        import json
        import pathlib

        import pytest

        import pytest_concurrency

        @pytest.fixture
        def opened(tmp_path):
            (tmp_path / "f").write_text("some text")
            with open(tmp_path / "f") as file:
                yield file

        def read(file):
            async def main():
                file.read()

            asyncio.run(main())

        def test_fixture(concurrency, opened):
            read(opened)
            concurrency.assert_no_blocks()
            assert [(block.kind, block.call, block.place.line) for block in concurrency.blocks] == [
                ("file", "io.TextIOWrapper.read", 17)
            ]

        def test_record(opened):
            with pytest_concurrency.record() as concurrency:
                read(opened)
            assert [block.call for block in concurrency.blocks] == ["io.TextIOWrapper.read"]

        @pytest.mark.must_not_block(kinds="file")
        def test_asked_for(opened):
            read(opened)

        @pytest.mark.must_not_block()
        def test_not_asked_for(opened):
            read(opened)
        """,
        "--concurrency-report=report.json",
    )

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        ["*io.TextIOWrapper.read blocked the event loop for less than 0.1 ms at test_it.py:17*"]
    )
    tests = json.loads(Path("report.json").read_text(encoding="utf-8"))["tests"]
    assert [len(test["blocks"]) for test in tests] == [1, 0, 1, 1]
