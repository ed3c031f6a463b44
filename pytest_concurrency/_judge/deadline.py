"""How long did the test's body take, without what the machine did to it? Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._trace import Duration


def judged(duration: Duration) -> float:
    """Return the seconds that count: computing and waiting, without the time in which others were served."""
    return max(0.0, duration.wall - (duration.queued or 0.0) - stolen(duration))


def stolen(duration: Duration) -> float:
    """Return how many of the seconds that a hypervisor stole hit the test: by its share of the machine's work."""
    if duration.busy <= 0:
        return 0.0
    share = min(1.0, duration.cpu / duration.busy)
    # What was stolen counts as computed in the test's own clock, so it cannot be more than that.
    return min(duration.cpu, duration.stolen * share)
