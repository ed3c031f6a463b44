"""Which threads of this process are at work? A thread that waits for another without an end is not."""

from __future__ import annotations

import os
import platform
import threading
from typing import TYPE_CHECKING

from .._frames import caller_of, current_frames, locals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import FrameType

_PACKAGE = __name__.partition(".")[0]
_WATCHERS = frozenset({_PACKAGE, "pytest_timeout", "execnet"})
_FUTEX = {
    "x86_64": "202",
    "aarch64": "98",
    "riscv64": "98",
    "armv7l": "240",
    "i686": "240",
    "ppc64le": "221",
    "s390x": "238",
}.get(platform.machine())
_PRIVATE = 128
"""Set where no other process can wake the waiter."""
KERNEL_TELLS = _FUTEX is not None and os.access("/proc/self/syscall", os.R_OK)

_POOLS = frozenset({"concurrent.futures.thread", "trio._core._thread_cache"})

resting: list[Callable[[threading.Thread, FrameType], bool]] = []
"""Further ways to know a thread that has no work, for libraries whose workers wait with a time-out."""


def at_work(
    strangers: Collection[int],
    asleep: Collection[int | None],
    *,
    for_ever: bool = False,
    rested: dict[int | None, str] | None = None,
) -> str | None:
    """Return, in words, a thread that may still bring something; None when all of them rest.

    Args:
        strangers: Threads that are left out, by native id; so is the calling one.
        asleep: More of them.
        for_ever: A thread whose wait has a time limit does not rest.
        rested: How often each had run when all of them were last found at rest; kept up to date here.
    """
    seen: list[dict[int | None, str]] = []
    # Three times: between two looks at two threads the one may have woken the other, or started a third, and gone to
    # rest. The last look comes after a pause: a thread that waits for the interpreter's own locks gets to run in it.
    for look in range(3):
        if look == 2:
            _pause()
        turns: dict[int | None, str] = {}
        known = {threading.get_native_id(), *strangers, *asleep}
        for thread in _others():
            if thread.native_id in known:
                continue
            known.add(thread.native_id)
            if _is_ours(thread):
                continue
            turns[thread.native_id] = _turns(thread.native_id)
            if not rests(thread, for_ever=for_ever):
                return f"thread {thread.name} is at work"
        # `threading` has no thread that has just begun, or is about to end and wake somebody, or that it did not start.
        unknown = _tasks() - known
        turns.update({native_id: _turns(native_id) for native_id in unknown})
        parked = {native_id for native_id in unknown if _kernel_says_parked(native_id)}
        if len(unknown - parked) > _ours_outside_threading():
            return "a thread that threading does not know is at work"
        turns = {native_id: turns[native_id] for native_id in turns if native_id not in unknown - parked}
        if not turns:
            return None
        if KERNEL_TELLS and turns == rested:
            # Nobody has run since all rested, and nobody has been woken: there was none who could have.
            return None
        seen.append(turns)
    if not seen[0] == seen[1] == seen[2]:
        return "threads have just been at work"
    if rested is not None:
        rested.clear()
        rested.update(seen[0])
    return None


def _pause() -> None:
    """Leave the processor and the GIL to others for half a millisecond of real time."""
    # Not `time.sleep`, which may be on virtual time itself.
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=0.0005)


def _ours_outside_threading() -> int:
    """Return how many of the threads that only watch `threading` does not know; they never rest."""
    known = {thread.ident for thread in threading.enumerate()}
    return sum(_outermost_module(frame) in _WATCHERS for ident, frame in current_frames().items() if ident not in known)


def _outermost_module(frame: FrameType) -> str:
    while (caller := caller_of(frame)) is not None:
        frame = caller
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _tasks() -> set[int]:
    """Return the native ids of all threads, nothing where the kernel does not tell."""
    return {int(name) for name in os.listdir("/proc/self/task")} if KERNEL_TELLS else set()


def _others() -> list[threading.Thread]:
    own = threading.get_ident()
    return [thread for thread in threading.enumerate() if thread.ident != own]


def _turns(native_id: int | None) -> str:
    """Return how often the kernel has let a thread run, nothing where it does not say."""
    try:
        with open(f"/proc/self/task/{native_id}/schedstat", encoding="ascii") as file:
            return file.read().rpartition(" ")[2]
    except OSError:
        return ""


def strangers() -> frozenset[int]:
    """Return the native ids of the threads that are at work at this moment for somebody else.

    A pool's worker is none, whatever it does now: it may get its next job from the caller.
    """
    busy = (each for each in _others() if not _is_pool_worker(each) and not rests(each))
    outside_python = _tasks() - {each.native_id for each in threading.enumerate()}
    return frozenset(each.native_id for each in busy if each.native_id is not None) | outside_python


def _is_pool_worker(thread: threading.Thread) -> bool:
    module = getattr(getattr(thread, "_target", None), "__module__", None) or type(thread).__module__
    return module in _POOLS or module.startswith("anyio.")


def rests(thread: threading.Thread, *, for_ever: bool = False) -> bool:
    """Tell whether *thread* can only go on when another thread lets it.

    One in `Future.result()` with a time limit rests too, since it works at nothing; not so *for_ever*.
    """
    if thread.ident is None or thread.native_id is None:
        return False
    frame = current_frames().get(thread.ident)
    if frame is None:
        return not thread.is_alive()
    if (not for_ever and _awaits_future(frame)) or any(known(thread, frame) for known in resting):
        return True
    return _kernel_says_parked(thread.native_id) if KERNEL_TELLS else _frame_says_parked(frame)


def _is_ours(thread: threading.Thread) -> bool:
    """Tell whether *thread* only watches: ours, pytest-timeout's, and xdist's, which waits for the next test."""
    work = getattr(thread, "function", None) or getattr(thread, "_target", None)
    modules = (type(thread).__module__, getattr(work, "__module__", None) or "")
    return any(module.partition(".")[0] in _WATCHERS for module in modules)


def _kernel_says_parked(native_id: int) -> bool:
    """Tell whether the thread waits for a lock of this process with no time limit, as the kernel sees it.

    A thread that has been woken shows as running at once, long before it gets to run Python code; one that waits for
    the GIL waits with a time limit.
    """
    try:
        with open(f"/proc/self/task/{native_id}/syscall", encoding="ascii") as file:
            fields = file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    in_lock = len(fields) > 4 and fields[0] == _FUTEX and int(fields[2], 16) & _PRIVATE
    return bool(in_lock) and int(fields[4], 16) == 0


_JOINS = ("join", "_wait_for_tstate_lock")


def _frame_says_parked(frame: FrameType) -> bool:
    """Tell the same from Python's side, where the kernel does not say: less sure of hand-made locks."""
    name, code = frame.f_globals.get("__name__"), frame.f_code.co_name
    if name == "threading" and code == "wait":
        return locals_of(frame).get("timeout") is None and _unnotified(frame)
    if name == "threading" and code in _JOINS:
        local = locals_of(frame)
        return local.get("timeout") in (None, -1) and local["self"].is_alive()
    if name == "concurrent.futures.thread" and code == "_worker":
        return _executor_worker_rests(frame)
    return False


def _executor_worker_rests(frame: FrameType) -> bool:
    # The pool counts its idle workers, and takes one off for a job it accepts; a worker has a weak reference to it.
    executor = locals_of(frame)["executor_reference"]()
    if executor is None:
        return True
    return bool(executor._work_queue.empty() and executor._idle_semaphore._value >= len(executor._threads))


def _awaits_future(frame: FrameType) -> bool:
    """Tell whether the thread is in `Future.result()`, with a time limit or not: it works at nothing."""
    caller = caller_of(frame)
    # The blocking detector's own frames lie around the calls that it hears of.
    while caller is not None and str(caller.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE:
        caller = caller_of(caller)
    return (
        caller is not None
        and caller.f_globals.get("__name__") == "concurrent.futures._base"
        and caller.f_code.co_name in {"result", "exception"}
        and frame.f_globals.get("__name__") == "threading"
        and frame.f_code.co_name == "wait"
        and _unnotified(frame)
    )


def _unnotified(frame: FrameType) -> bool:
    """Tell whether nobody has notified the `Condition.wait` of *frame* yet."""
    local = locals_of(frame)
    return local.get("waiter") is not None and local["waiter"] in getattr(local.get("self"), "_waiters", ())
