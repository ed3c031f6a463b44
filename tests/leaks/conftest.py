"""Runs many small tests in one pytest, and compares for each what it left behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


class Left(Protocol):
    """Runs a file of tests and returns, for each that left something, the first line about it."""

    def __call__(self, source: str, *args: str) -> dict[str, str]: ...


@pytest.fixture
def left(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> Left:
    """Return a function that runs a file of tests and returns, for each that left something, the first line about it.

    A line that was found at the test's teardown begins with `teardown: `.
    """

    def run(source: str, *args: str) -> dict[str, str]:
        pytester.makepyfile(test_it=source)
        result = inner("--leaks=fail", "--blocking=off", "-W", "ignore", "-q", "-rN", *args)
        found: dict[str, str] = {}
        name = ""
        for line in result.outlines:
            heading = re.match(r"_+ (ERROR at teardown of )?(\S+) _+$", line)
            if heading:
                name, phase = heading[2], "teardown: " if heading[1] else ""
            elif line.startswith("left behind: ") and name:
                found[name] = phase + line.removeprefix("left behind: ")
                name = ""
            elif line.startswith("INTERNALERROR"):
                pytest.fail("\n".join(result.outlines))
        assert "error" not in result.errlines, result.errlines
        return found

    return run
