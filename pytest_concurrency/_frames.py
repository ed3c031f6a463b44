"""Where every thread stands now."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from ._originals import RLock

if TYPE_CHECKING:
    from types import FrameType

_lock = RLock()


def current_frames() -> dict[int, FrameType]:
    """Return the frame that each thread executes, by the thread's identifier."""
    if sys.version_info >= (3, 12):
        return sys._current_frames()
    # It makes objects under the interpreter's lock of threads. A collection in the middle of that may hand the GIL to a
    # thread that wants the same lock, and nobody ever moves again (seen on 3.11.7; later versions collect elsewhere).
    with _lock:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames()
        finally:
            if was_enabled:
                gc.enable()
