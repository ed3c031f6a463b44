"""Where every thread stands now.

Up to Python 3.12 the interpreter is not made for looking at the frames of threads that go on meanwhile. It keeps
plain pointers to such a frame while it makes an object or lets go of one. Where that runs Python code (a finalizer,
or what is called back at a garbage collection), another thread may get the GIL and leave the frame, and the
interpreter crashes. So whoever looks at another thread's frames does it by these functions.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from functools import partial
from inspect import CO_OPTIMIZED
from typing import TYPE_CHECKING, Any, TypeVar

from ._originals import RLock, allocate_lock, take_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

_Seen = TypeVar("_Seen")
_LIBRARIES = (os.path.dirname(os.__file__) + os.sep, f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_lock = RLock()
_profiled = False
# From before any wrapper: a fork is not to be told of the looks that come before it.
_stat = os.stat


def current_frames() -> dict[int, FrameType]:
    """Return the frame that each thread executes, by the thread's identifier."""
    if sys.version_info >= (3, 12):
        return sys._current_frames()
    # It makes objects under the interpreter's lock of threads: who wants that meanwhile never moves again.
    return _undisturbed(sys._current_frames)


def outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield *frame* and its callers, innermost first."""
    while frame is not None:
        yield frame
        frame = caller_of(frame)


def caller_of(frame: FrameType) -> FrameType | None:
    """Return the frame that called *frame*, None where there is none."""
    if sys.version_info >= (3, 12):
        return frame.f_back
    # It becomes an object when it is asked for; from 3.12 on, none of that collects garbage.
    return _undisturbed(lambda: frame.f_back)


def frame_of(coroutine: Any) -> FrameType | None:
    """Return the frame of a coroutine or generator that another thread may drive, None where it has ended."""
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        look = partial(getattr, coroutine, name, None)
        frame: FrameType | None = look() if sys.version_info >= (3, 12) else _undisturbed(look)
        if frame is not None:
            return frame
    return None


def locals_of(frame: FrameType) -> Mapping[str, Any]:
    """Return the local variables of a frame that another thread may execute. They are not to be changed."""
    if sys.version_info >= (3, 13):
        return frame.f_locals
    return _undisturbed(lambda: _copied_locals(frame))


def _copied_locals(frame: FrameType) -> Mapping[str, Any]:
    known = frame.f_locals
    if _profiled or not _may_be_emptied(frame):
        return known
    # They were copied into a dictionary that stays with the frame. Emptied, there is nothing in it to be let go of when
    # it is filled the next time, and nothing of the program's lives longer for having been looked at.
    found = dict(known)
    known.clear()
    return found


def _undisturbed(look: Callable[[], _Seen]) -> _Seen:
    """Return what *look* does, while which no garbage is collected."""
    with _lock:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return look()
        finally:
            if was_enabled:
                gc.enable()


def _may_be_emptied(frame: FrameType) -> bool:
    """Tell whether nobody else has the dictionary of a frame's variables: a module's are its own, `locals()` a user's.

    Nor may they be written back from it, as they are after each call of a tracing or profiling function.
    """
    file = frame.f_code.co_filename
    return (
        bool(frame.f_code.co_flags & CO_OPTIMIZED)
        and any(part in file for part in _LIBRARIES)
        and frame.f_trace is None
        and threading.getprofile() is None
    )


def keeps_no_locals() -> bool:
    """Tell whether looking at the variables of a library's frame leaves nothing behind in it."""
    return sys.version_info >= (3, 13) or not _profiled


def about_to_profile() -> None:
    """Say that a profiling function of ours will be in force, from now on at any time."""
    global _profiled  # once and for all
    if not _profiled:
        with _lock:
            _profiled = True


def wait_until_gone(native_id: int) -> None:
    """Wait until a thread that ends is counted no more, for a second at most: a fork is warned of by that count."""
    pause = allocate_lock()
    pause.acquire()
    for _ in range(1000):
        try:
            _stat(f"/proc/self/task/{native_id}")
        except OSError:
            return
        take_within(pause, 0.001)


def _after_fork_in_child() -> None:
    global _lock  # the thread that had it is not there
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
