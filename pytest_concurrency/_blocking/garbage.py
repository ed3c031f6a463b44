"""Garbage collections on loops' threads: they strike some line, and are not what that line does."""

from __future__ import annotations

import contextlib
import gc
import sys
from threading import get_ident
from time import thread_time
from typing import TYPE_CHECKING, Any

from .lanes import LATE
from .loops import LOOP_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .sampler import Sampler

_WORTH_IT = 0.001
"""Seconds from which on a collection is worth a note."""


@contextlib.contextmanager
def collections_told_apart(sampler: Sampler, safely: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """Take what the interpreter's own collections cost out of the turns of loops, for the length of the `with` block.

    One that the program asks for is its own doing, and its line is the one that asked.
    """

    def heard(phase: str, info: dict[str, Any]) -> None:
        if get_ident() not in LOOP_THREADS:
            return
        lane = sampler.here()
        if lane is None:
            return
        if phase == "start":
            lane.collecting = thread_time()
            return
        begun, lane.collecting = lane.collecting, 0.0
        seconds = thread_time() - begun
        if not begun or seconds < _WORTH_IT:
            return
        frame = sys._getframe(1)
        if "collect" not in frame.f_code.co_names:
            # One pause may strike anybody. A turn with several makes so much that they are its own doing.
            lane.collected = max(lane.collected, seconds)
            lane.marked = True
        elif seconds >= LATE:
            safely(lambda: sampler.see(lane, frame))

    gc.callbacks.append(heard)
    try:
        yield
    finally:
        # Somebody may have put the list back to what it was before us.
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(heard)
