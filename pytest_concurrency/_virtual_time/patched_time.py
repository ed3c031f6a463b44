"""The functions of the `time` module on virtual time, for the program under test only.

The standard library's own waiting (locks, queues, executors, sockets) happens in real time and must be measured in it;
so must the test tools.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .timeline import Timeline

_TOOLS = {
    __name__.partition(".")[0],
    "_pytest", "pytest", "pluggy", "xdist", "execnet", "pytest_timeout", "pytest_asyncio", "pytest_trio", "coverage",
    "faulthandler", "unittest", "py",
}  # fmt: skip
_REAL_SLEEPS = _TOOLS | {"subprocess", "multiprocessing", "socketserver", "selectors"}
# Loops and pools measure their waits in real time; a `time.sleep` that they call is one that they were given to call.
_REAL_TIME = _REAL_SLEEPS | {"asyncio", "trio", "anyio", "threading", "queue", "concurrent", "socket", "select"}

_READERS = ("time", "monotonic", "perf_counter")


@contextmanager
def install(timeline: Timeline, origin: int) -> Iterator[None]:
    """Let the clocks of `time` follow *timeline* and `time.sleep` wait for it, in the `with` block.

    *origin* is what `time.monotonic_ns()` showed at the timeline's start. Names that a module has imported from `time`
    follow too; one that was kept elsewhere, as an argument's default is, does not.
    """
    stands = {
        "time": time.time_ns() - timeline.now,
        "monotonic": origin,
        "perf_counter": time.perf_counter_ns() - timeline.now,
    }
    active = [True]
    replaced: dict[int, tuple[Any, Any]] = {}

    def stand_in(name: str, instead: Callable[..., Any], excepted: set[str] = _REAL_TIME) -> None:
        real = getattr(time, name)

        def call(*args: Any) -> Any:
            # A module imported in the test may keep this function for good.
            if not active[0] or _caller() in excepted:
                return real(*args)
            return instead(*args)

        call.__name__ = call.__qualname__ = name
        call.__module__ = "time"
        call.__doc__ = real.__doc__
        replaced[id(real)] = (real, call)

    for name in _READERS:
        stand_in(f"{name}_ns", lambda start=stands[name]: start + timeline.now)
        stand_in(name, lambda start=stands[name]: (start + timeline.now) / 1e9)
    stand_in("sleep", lambda seconds: _sleep(timeline, seconds), _REAL_SLEEPS)

    with ExitStack() as undo:
        undo.callback(active.__setitem__, 0, False)
        for module in list(sys.modules.values()):
            _put_into(module, replaced, undo)
        yield


def _caller() -> str:
    """Return the top-level package of the code that called the stand-in."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).partition(".")[0]


def _put_into(module: Any, replaced: dict[int, tuple[Any, Any]], undo: ExitStack) -> None:
    try:
        if module.__name__.partition(".")[0] in _REAL_TIME:
            return
        names = vars(module)
    except (AttributeError, TypeError):
        return
    for name, value in list(names.items()):
        real, call = replaced.get(id(value), (None, None))
        if real is value and call is not None:
            names[name] = call
            undo.callback(_take_out, names, name, call, real)


def _take_out(names: dict[str, Any], name: str, call: Any, real: Any) -> None:
    if names.get(name) is call:
        names[name] = real


def _sleep(timeline: Timeline, seconds: float) -> None:
    """Wait for *seconds* of virtual time in this thread."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    nanoseconds = round(seconds * 1e9)
    if timeline.runs_here():
        # A loop's own thread: nothing on it can move meanwhile, so it is to be found as the real one is.
        sys.audit("time.sleep", seconds)
        timeline.move(nanoseconds)
        return
    sleeper = _Sleeper()
    sleeper.deadline = timeline.now + nanoseconds
    timeline.join(sleeper)
    try:
        timeline.wait(sleeper, sleeper.poll)
    finally:
        timeline.leave(sleeper)


class _Sleeper:
    """A thread in a patched `time.sleep`."""

    def __init__(self) -> None:
        self.idle = False
        self.deadline: int | None = None
        self.thread: int | None = None
        self._never = threading.Event()

    def running(self) -> bool:
        return self.idle

    def ready(self) -> bool:
        return False

    def here(self) -> bool:
        return True

    def descriptors(self) -> Iterator[int]:
        return iter(())

    def tasks(self) -> Iterator[Any]:
        return iter(())

    def give_up(self, is_of_test: Callable[[Any], bool]) -> None:
        """Do nothing: a sleeper has a timer."""

    def poll(self, limit: float | None) -> bool:
        return self._never.wait(limit)
