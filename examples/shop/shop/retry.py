"""How long to wait before asking again. From the days when the shop program had no event loop."""

from __future__ import annotations

import time

ATTEMPTS = 4


def pause_after(attempt: int) -> float:
    """Return how many seconds to wait after the *attempt*-th refusal: twice as long each time."""
    return 0.01 * 2**attempt


def back_off(attempt: int) -> None:
    """Wait before the next attempt."""
    time.sleep(pause_after(attempt))
