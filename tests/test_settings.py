"""Options and ini values: what they mean, and what is said where they mean nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._settings import KINDS, KINDS_PAST_THRESHOLD, parse_kinds, parse_seconds

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(("value", "seconds"), [("0.1", 0.1), ("2", 2.0), (0.5, 0.5), (3, 3.0), (" 1 ", 1.0)], ids=str)
def test_seconds_may_be_a_number_or_its_text(value: object, seconds: float) -> None:
    assert parse_seconds(value) == seconds


@pytest.mark.parametrize("value", ["fast", "", "1s", 0, "0", -1, "nan", math.inf, "inf", True, None, []], ids=str)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^expected seconds, such as 0\.1$"):
        parse_seconds(value)


@pytest.mark.parametrize("value", ["", [], ()], ids=repr)
def test_no_kinds_mean_all_with_files_and_imports_past_the_threshold(value: object) -> None:
    assert parse_kinds(value) == (frozenset(KINDS), KINDS_PAST_THRESHOLD)


@pytest.mark.parametrize("value", ["sleep file", "sleep, file", ["sleep", "file"], ("sleep,file",)], ids=repr)
def test_kinds_that_are_asked_for_count_from_the_first_call(value: object) -> None:
    assert parse_kinds(value) == (frozenset({"sleep", "file"}), frozenset())


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=f"^'naps' is not a kind of block: expected some of {' '.join(KINDS)}$"):
        parse_kinds("sleep naps")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        pytest.param(
            ["--blocking=maybe"], "ERROR: --blocking = 'maybe': expected one of off, warn, fail, raise", id="mode"
        ),
        pytest.param(
            ["-o", "concurrency_blocking=maybe"],
            "ERROR: concurrency_blocking in pytest.ini = 'maybe': expected one of off, warn, fail, raise",
            id="ini mode",
        ),
        pytest.param(
            ["-o", "concurrency_block_threshold=fast"],
            "ERROR: concurrency_block_threshold in pytest.ini = 'fast': expected seconds, such as 0.1",
            id="threshold",
        ),
        pytest.param(
            ["-o", "concurrency_blocking_kinds=naps"],
            "ERROR: concurrency_blocking_kinds in pytest.ini: 'naps' is not a kind of block: expected some of *",
            id="kinds",
        ),
        pytest.param(
            ["--concurrency-report=report.txt"],
            "ERROR: --concurrency-report=report.txt: expected a path that ends in *.json*",
            id="report's suffix",
        ),
        pytest.param(
            ["--concurrency-report=nowhere/report.json"],
            "ERROR: --concurrency-report=nowhere/report.json: the folder */nowhere does not exist",
            id="report's folder",
        ),
        pytest.param(
            ["--concurrency-report=folder.json"],
            "ERROR: --concurrency-report=folder.json: that is a folder",
            id="report is a folder",
        ),
    ],
)
def test_a_malformed_setting_ends_the_run_with_one_line(
    args: list[str], text: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makefile(".ini", pytest="[pytest]")
    pytester.mkdir("folder.json")

    result = inner(*args)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([text])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_the_command_line_comes_before_the_ini_file(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makeini("[pytest]\nconcurrency_blocking = raise")
    pytester.makepyfile("import asyncio, time\nasync def main(): time.sleep(0.001)\ndef test_it(): asyncio.run(main())")

    inner("--blocking=off").assert_outcomes(passed=1)
    inner().assert_outcomes(failed=1)


def test_options_are_listed_in_the_help(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    result = inner("--help")

    result.stdout.fnmatch_lines(
        [
            "concurrency (pytest_concurrency):",
            "*--blocking=MODE*",
            "*--concurrency-report=PATH*",
            "*--concurrency-timeline*",
        ]
    )
    result.stdout.fnmatch_lines(
        [
            "*concurrency_blocking (string):*",
            "*concurrency_block_threshold (string):*",
            "*concurrency_blocking_kinds (args):*",
            "*concurrency_allow_blocking (linelist):*",
        ]
    )
