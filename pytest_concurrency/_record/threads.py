"""Which other threads could still bring something in? Judged by where their Python code stands."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from .._frames import caller_of, current_frames, locals_of
from .._places import outward, owner, place_elsewhere, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

# Where a thread waits for work, a connection or the end of something, and does nothing by itself:
# the end of the file's path, and the function that is executing there.
_AT_REST = (
    ("concurrent/futures/thread.py", "_worker"),
    ("trio/_core/_thread_cache.py", "_work"),
    ("socketserver.py", "serve_forever"),
    ("socket.py", "accept"),
    ("socket.py", "readinto"),
    ("threading.py", "join"),
    ("threading.py", "_wait_for_tstate_lock"),
    ("execnet/gateway_base.py", "read"),
)
# Where a thread waits with a time-out of its own, if the local of that name is not None.
_TIMED = (
    ("threading.py", "wait", "timeout"),
    ("asyncio/base_events.py", "_run_once", "timeout"),
    ("selectors.py", "select", "timeout"),
)


# Where a thread of a pool of processes waits for a job. Not a server's: who might connect is nobody's to know.
_SERVES = (
    ("multiprocessing/pool.py", "_wait_for_updates"),
    ("multiprocessing/pool.py", "_handle_results"),
    ("concurrent/futures/process.py", "wait_result_broken_or_wakeup"),
)
# Where a pool's thread takes in what its processes have done, or waits for their end: the end of the file's path, the
# function, and what that still owes.
_RESULTS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("multiprocessing/pool.py", "_handle_results", lambda local: local["cache"]),
    ("concurrent/futures/process.py", "join_executor_internals", lambda local: True),
    ("concurrent/futures/process.py", "_join_executor_internals", lambda local: True),
    ("concurrent/futures/process.py", "run", lambda local: local["self"].pending_work_items),
)


def awaits_a_process(frame: FrameType) -> bool:
    """Tell whether a thread of a pool, however old, is about to bring in a result or to end: somebody waits for it."""
    for each in outward(frame):
        path, name = each.f_code.co_filename.replace("\\", "/"), each.f_code.co_name
        for file, function, owed in _RESULTS:
            if name == function and path.endswith(file):
                try:
                    return bool(owed(locals_of(each)))
                except (KeyError, AttributeError):
                    return True
    return False


def is_at_rest(frame: FrameType) -> bool:
    """Tell whether a thread serves a pool of processes that has nothing to do."""
    for each in outward(frame):
        path, name = each.f_code.co_filename.replace("\\", "/"), each.f_code.co_name
        if owner(path) == "user":
            return False
        if any(name == function and path.endswith(file) for file, function in _SERVES):
            return not awaits_a_process(frame)
    return False


def moving_threads(known: frozenset[int], *, exclude: int) -> Iterator[str]:
    """Yield, in words, each thread that could still act by itself.

    Args:
        known: Threads that were there before the test: they count only while they execute the user's own code.
        exclude: The thread that asks.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    idle: Counter[Any] = Counter()
    for ident, frame in current_frames().items():
        if ident == exclude or ident not in names:
            continue
        if _is_at_rest(frame):
            idle[_pool_of(frame)] += 1
            continue
        if ident in known and owner(frame.f_code.co_filename) != "user" and not awaits_a_process(frame):
            continue
        where = place_elsewhere(frame) or place_of(frame)
        yield f"thread {names[ident]!r} at {where.file}:{where.line} in {where.function}"

    for pool, workers in idle.items():
        if pool is not None and _idle(pool, workers) < workers:
            yield "a worker thread that has been given a job"


def _pool_of(frame: FrameType) -> Any:
    """Return the executor for which a thread waits for a job, None where it waits for something else."""
    while owner(frame.f_code.co_filename) == "own" and (caller := caller_of(frame)) is not None:
        frame = caller
    reference = locals_of(frame).get("executor_reference") if frame.f_code.co_name == "_worker" else None
    return reference() if reference is not None else None


def _idle(pool: Any, workers: int) -> int:
    """Return how many of its workers *pool* itself takes for idle.

    It counts one less from the moment in which it accepts a job, long before the worker is awake to begin with it.
    """
    count = getattr(getattr(pool, "_idle_semaphore", None), "_value", workers)
    return int(count)


def is_loop_at_rest(frame: FrameType) -> bool:
    """Tell whether *frame* waits in the place of an asyncio loop that has nothing to do and no timer."""
    code = frame.f_code
    return code.co_name == "_wait" and code.co_filename.replace("\\", "/").endswith("_autopsy/asyncio_quiet.py")


def _is_at_rest(frame: FrameType) -> bool:
    depth, each = 0, frame
    # Two or three library frames may lie around the one that tells: a selector inside a loop, a lock inside a queue.
    while each is not None and depth < 4:
        path, function = each.f_code.co_filename.replace("\\", "/"), each.f_code.co_name
        if is_loop_at_rest(each):
            return True
        if owner(each.f_code.co_filename) == "own":
            # The blocking detector's frames lie around the calls that it hears of.
            each = caller_of(each)  # type: ignore[assignment]  # the loop's test takes care of None
            continue
        if owner(each.f_code.co_filename) == "user":
            return False
        if any(path.endswith(file) and function == name for file, name in _AT_REST):
            return True
        for file, name, local in _TIMED:
            if path.endswith(file) and function == name and file != "selectors.py":
                return locals_of(each).get(local) is None
        each, depth = caller_of(each), depth + 1  # type: ignore[assignment]  # the loop's test takes care of None
    path, function = frame.f_code.co_filename.replace("\\", "/"), frame.f_code.co_name
    return path.endswith("selectors.py") and function == "select" and locals_of(frame).get("timeout") is None
