"""Know whether your code runs concurrently: pytest markers and fixtures that prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _unrewritten as _unrewritten
from ._errors import BlockingCallError as BlockingCallError
from ._errors import BlockingCallWarning as BlockingCallWarning
from ._errors import BlockingError as BlockingError
from ._errors import ConcurrencyError as ConcurrencyError
from ._errors import ConcurrencyWarning as ConcurrencyWarning
from ._errors import DeadlineError as DeadlineError
from ._errors import DeadlockError as DeadlockError
from ._errors import LeakError as LeakError
from ._errors import LeakWarning as LeakWarning
from ._errors import OverlapError as OverlapError
from ._errors import ParallelismError as ParallelismError

if TYPE_CHECKING:
    from ._blocking.policy import allow_blocking as allow_blocking
    from ._concurrency import Concurrency as Concurrency
    from ._concurrency import RecordedSpan as RecordedSpan
    from ._concurrency import record as record

# Loaded when asked for: a suite that uses none of it must not pay for it at start-up.
_LAZY = {
    "Concurrency": "_concurrency",
    "RecordedSpan": "_concurrency",
    "allow_blocking": "_blocking.policy",
    "record": "_concurrency",
}

__all__ = [
    "BlockingCallError",
    "BlockingCallWarning",
    "BlockingError",
    "Concurrency",
    "ConcurrencyError",
    "ConcurrencyWarning",
    "DeadlineError",
    "DeadlockError",
    "LeakError",
    "LeakWarning",
    "OverlapError",
    "ParallelismError",
    "RecordedSpan",
    "allow_blocking",
    "record",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
