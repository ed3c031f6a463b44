"""An allow rule that lets nothing off any more is named at the end of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
    import asyncio, time

    async def main():
        time.sleep(0.001)

    def test_one():
        asyncio.run(main())

    def test_two():
        pass
"""
RULES = "concurrency_allow_blocking =\n    test_it:main\n    test_it:moved_away\n"


@pytest.fixture
def run(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> Callable[..., pytest.RunResult]:
    def run(*args: str, rules: str = RULES, program: str = PROGRAM) -> pytest.RunResult:
        pytester.makefile(".ini", pytest=f"[pytest]\n{rules}")
        pytester.makepyfile(test_it=program)
        return inner(*args)

    return run


def test_a_rule_that_nothing_needs_is_named(run: Callable[..., pytest.RunResult]) -> None:
    result = run("--blocking=fail")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*= allowed to block =*",
            "concurrency_allow_blocking: 1 rule let nothing off in this run.",
            "If all tests ran, take it out; if the code has moved, correct it:",
            "  test_it:moved_away",
        ]
    )
    result.stdout.no_fnmatch_line("  test_it:main")


def test_several_are_counted(run: Callable[..., pytest.RunResult]) -> None:
    result = run(rules="concurrency_allow_blocking =\n    one.module\n    another.module\n    test_it\n")

    result.stdout.fnmatch_lines(
        [
            "concurrency_allow_blocking: 2 rules let nothing off in this run.",
            "If all tests ran, take them out; if the code has moved, correct them:",
            "  one.module",
            "  another.module",
        ],
        consecutive=True,
    )


def test_rules_that_are_needed_are_not_worth_a_word(run: Callable[..., pytest.RunResult]) -> None:
    run(rules="concurrency_allow_blocking = test_it").stdout.no_fnmatch_line("*let nothing off*")


@pytest.mark.parametrize("args", [("-k", "two"), ("test_it.py::test_two",), ("--blocking=off",)])
def test_a_run_of_some_tests_says_nothing(run: Callable[..., pytest.RunResult], args: tuple[str, ...]) -> None:
    result = run(*args)

    assert result.ret == 0
    result.stdout.no_fnmatch_line("*let nothing off*")


def test_a_run_without_a_loop_says_nothing(run: Callable[..., pytest.RunResult]) -> None:
    result = run(program="def test_one(): pass")

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*let nothing off*")


def test_what_one_worker_needed_is_needed(run: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("xdist")
    result = run("-n2")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["concurrency_allow_blocking: 1 rule let nothing off in this run."])
