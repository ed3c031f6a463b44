"""`--blocking=warn` warns: it does not change outcomes, unless the user's filters ask for it by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Inner = Callable[..., pytest.RunResult]

# It warns when it is configured, and not of anything that is meant here.
ALONE = ("-p", "no:asyncio")

BLOCKS = """
    import asyncio, pathlib, time

    def test_it():
        async def main():
            time.sleep(0.01)
            pathlib.Path("reached").touch()

        asyncio.run(main())
"""


def test_a_blanket_error_in_the_ini_file_stays_a_warning(pytester: pytest.Pytester, inner: Inner) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error")
    pytester.makepyfile(BLOCKS)

    result = inner(*ALONE)

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*test_*.py:5: BlockingCallWarning: time.sleep*"])


@pytest.mark.parametrize("option", ["error", "e", "error::pytest_concurrency.BlockingCallWarning"])
def test_an_error_on_the_command_line_fails_the_test_when_its_body_has_ended(
    pytester: pytest.Pytester, inner: Inner, option: str
) -> None:
    pytester.makepyfile(BLOCKS)

    result = inner(*ALONE, "-W", option)

    result.assert_outcomes(failed=1)
    assert (pytester.path / "reached").exists()


def test_an_error_for_our_category_in_the_ini_file_fails_the_test(pytester: pytest.Pytester, inner: Inner) -> None:
    pytester.makeini("[pytest]\nfilterwarnings =\n  error\n  error::pytest_concurrency.BlockingCallWarning")
    pytester.makepyfile(BLOCKS)

    result = inner(*ALONE)

    result.assert_outcomes(failed=1)
    assert (pytester.path / "reached").exists()


def test_an_ignored_category_is_not_shown(pytester: pytest.Pytester, inner: Inner) -> None:
    pytester.makeini("[pytest]\nfilterwarnings =\n  error\n  ignore::pytest_concurrency.ConcurrencyWarning")
    pytester.makepyfile(BLOCKS)

    inner(*ALONE).assert_outcomes(passed=1, warnings=0)
