"""The exceptions and warnings that users see."""

from __future__ import annotations

from typing import final

import pytest


class ConcurrencyError(AssertionError):
    """An expectation about concurrency did not hold."""

    __module__ = "pytest_concurrency"


@final
class OverlapError(ConcurrencyError):
    """Calls did not overlap that should have, or overlapped that must not."""

    __module__ = "pytest_concurrency"


@final
class ParallelismError(ConcurrencyError):
    """Work did not execute at the same time."""

    __module__ = "pytest_concurrency"


@final
class BlockingError(ConcurrencyError):
    """Something blocked an event loop."""

    __module__ = "pytest_concurrency"


@final
class LeakError(ConcurrencyError):
    """Something was started and left behind."""

    __module__ = "pytest_concurrency"


@final
class DeadlineError(ConcurrencyError):
    """The test body took too long."""

    __module__ = "pytest_concurrency"


@final
class DeadlockError(ConcurrencyError):
    """Nobody in the test could go on any more."""

    __module__ = "pytest_concurrency"


@final
class BlockingCallError(RuntimeError):
    """Raised by `--blocking=raise` at a call that would have blocked an event loop, in its place."""

    __module__ = "pytest_concurrency"


class ConcurrencyWarning(pytest.PytestWarning):
    """Something about concurrency that the user should know."""

    __module__ = "pytest_concurrency"


@final
class BlockingCallWarning(ConcurrencyWarning):
    """A call blocked an event loop."""

    __module__ = "pytest_concurrency"


@final
class LeakWarning(ConcurrencyWarning):
    """A test left something behind."""

    __module__ = "pytest_concurrency"
