"""One counter for the whole process: order without clocks."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

from ._originals import RLock

if TYPE_CHECKING:
    from collections.abc import Callable


def new_counter() -> Callable[[], int]:
    """Return a function that returns a greater number each time, from 1 on, in any thread."""
    # Under a GIL taking the next number is one atomic step in C; without one, 3.13's count is not safe.
    return itertools.count(1).__next__ if _has_gil() else _locked_counter()


def _locked_counter() -> Callable[[], int]:
    # Reentrant: a finalizer may record in the middle of a number being taken.
    lock = RLock()
    count = itertools.count(1)

    def take() -> int:
        with lock:
            return next(count)

    return take


def _has_gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


next_number: Callable[[], int] = new_counter()
"""Return a number greater than every one returned before, in any thread."""
