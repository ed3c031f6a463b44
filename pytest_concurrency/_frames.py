"""Where every thread stands now."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._originals import RLock, allocate_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

_lock = RLock()
# From before any wrapper: a fork is not to be told of the looks that come before it.
_stat = os.stat


def current_frames() -> dict[int, FrameType]:
    """Return the frame that each thread executes, by the thread's identifier, with all of its callers."""
    if sys.version_info >= (3, 12):
        return sys._current_frames()
    # It makes objects under the interpreter's lock of threads. A collection in the middle of that may hand the GIL to a
    # thread that wants the same lock, and nobody ever moves again (seen on 3.11.7; later versions collect elsewhere).
    with _uncollected():
        found = sys._current_frames()
        # A caller's frame becomes an object when it is asked for. A collection in the middle of that may hand the GIL
        # to the thread that is in it; it goes on, and the new object is hung on memory that is another frame's by now.
        for frame in found.values():
            each: FrameType | None = frame
            while each is not None:
                each = each.f_back
        return found


def locals_of(frame: FrameType) -> Mapping[str, Any]:
    """Return the local variables of a frame that another thread may execute. They are not to be changed."""
    if sys.version_info >= (3, 12):
        return frame.f_locals
    # The same holds for the dictionary that they are copied to.
    with _uncollected():
        return frame.f_locals


@contextmanager
def _uncollected() -> Iterator[None]:
    """Collect no garbage in the `with` block."""
    with _lock:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()


def wait_until_gone(native_id: int) -> None:
    """Wait until a thread that ends is counted no more, for a second at most: a fork is warned of by that count."""
    pause = allocate_lock()
    pause.acquire()
    for _ in range(1000):
        try:
            _stat(f"/proc/self/task/{native_id}")
        except OSError:
            return
        pause.acquire(timeout=0.001)
