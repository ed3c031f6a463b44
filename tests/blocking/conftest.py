"""What the tests of the detector share: runs that are not held up by other plugins' warnings."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS = ("pytest_asyncio", "anyio", "pytest_trio", "trio", "uvloop", "starlette", "httpx")


def has(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


@pytest.fixture
def suite(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> Callable[..., pytest.RunResult]:
    """Return a function that runs one test file in a process of its own."""
    settings = ["[pytest]"]
    if has("pytest_asyncio"):
        settings.append("asyncio_default_fixture_loop_scope = function")
    pytester.makefile(".ini", pytest="\n".join(settings))

    def run(code: str, *args: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=code)
        return inner(*args)

    return run
