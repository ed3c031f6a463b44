"""What does each thread wait for? From the library function it stands in, and from its line where that is C code."""

from __future__ import annotations

import gc
import re
import selectors
import threading
from typing import TYPE_CHECKING, Any

from .._frames import current_frames, locals_of
from .._places import outward, owner, place_of
from .draft import Draft, Grip, inner_lock, is_in, is_users
from .source import called_at, held_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

# A library function in which a thread waits: the end of its file's path and its name, what that means, and the local
# variables that hold the time limit and the thing that is waited for.
_WAITS = (
    ("threading.py", "join", "join", "timeout", "self"),
    ("threading.py", "_wait_for_tstate_lock", "join", "timeout", "self"),
    ("threading.py", "_join_os_thread", "join", "timeout", "self"),
    ("threading.py", "wait", "event", "timeout", "self"),
    ("threading.py", "__enter__", "lock", "", "self"),
    ("threading.py", "acquire", "semaphore", "timeout", "self"),
    ("queue.py", "get", "get", "timeout", "self"),
    ("queue.py", "put", "put", "timeout", "self"),
    ("queue.py", "join", "join queue", "", "self"),
    ("concurrent/futures/_base.py", "result", "result", "timeout", "self"),
    ("concurrent/futures/_base.py", "exception", "result", "timeout", "self"),
    ("concurrent/futures/_base.py", "wait", "results", "timeout", "fs"),
    ("concurrent/futures/_base.py", "as_completed", "results", "timeout", "pending"),
    ("multiprocessing/process.py", "join", "process", "timeout", "self"),
    ("multiprocessing/queues.py", "get", "get", "timeout", "self"),
    ("multiprocessing/queues.py", "put", "put", "timeout", "self"),
    ("multiprocessing/connection.py", "recv", "io", "", "self"),
    ("multiprocessing/connection.py", "recv_bytes", "io", "", "self"),
    ("multiprocessing/synchronize.py", "__enter__", "lock", "", "self"),
    ("multiprocessing/synchronize.py", "wait", "event", "timeout", "self"),
    ("multiprocessing/pool.py", "get", "result", "timeout", "self"),
    ("multiprocessing/pool.py", "wait", "result", "timeout", "self"),
    ("subprocess.py", "wait", "process", "timeout", "self"),
    ("subprocess.py", "communicate", "process", "timeout", "self"),
    ("socket.py", "accept", "io", "", "self"),
    ("socket.py", "readinto", "io", "", "self"),
    ("socket.py", "create_connection", "io", "timeout", ""),
    ("ssl.py", "read", "io", "", "self"),
    ("selectors.py", "select", "io", "timeout", "self"),
    ("asyncio/base_events.py", "_run_once", "loop", "", "self"),
    ("asyncio/base_events.py", "run_forever", "loop", "", "self"),
    ("trio/_core/_run.py", "unrolled_run", "loop", "", ""),
    ("trio/_core/_io_epoll.py", "get_events", "loop", "", "self"),
    ("trio/_core/_io_kqueue.py", "get_events", "loop", "", "self"),
    ("trio/_core/_io_windows.py", "get_events", "loop", "", "self"),
    ("trio/_core/_thread_cache.py", "_work", "idle", "", ""),
    ("concurrent/futures/thread.py", "_worker", "idle", "", ""),
    ("_backends/_asyncio.py", "run", "idle", "", ""),
    ("trio/_threads.py", "_send_message_to_trio", "turn", "", ""),
    ("trio/_threads.py", "from_thread_run", "turn", "", ""),
    ("execnet/gateway_base.py", "read", "idle", "", ""),
    ("execnet/gateway_base.py", "integrate_as_primary_thread", "idle", "", ""),
)
# A method in C that waits, called on the user's own line.
_METHODS = {"acquire": "lock", "__enter__": "lock", "get": "get", "join": "join"}
_IN_MILLISECONDS = tuple(
    getattr(selectors, name) for name in ("PollSelector", "DevpollSelector") if hasattr(selectors, name)
)
_LOCKS = ("lock", "RLock", "_RLock", "SemLock")


def look(skip: frozenset[int] = frozenset(), own: FrameType | None = None) -> list[Draft]:
    """Return every thread.

    Args:
        skip: Identifiers of threads that are none of the program's.
        own: The frame at which the calling thread was interrupted.
    """
    frames = current_frames()
    threads = {thread.ident: thread for thread in threading.enumerate()}
    if own is not None:
        frames[threading.get_ident()] = own
    found = []
    for ident, frame in frames.items():
        thread = threads.get(ident)
        # One that Python does not know (yet, or any more) is somebody's in C.
        if thread is not None and ident not in skip:
            found.append(_draft(thread, frame))
    return found


def _draft(thread: threading.Thread, frame: FrameType) -> Draft:
    draft = Draft(thread, "thread", thread.name, list(outward(frame)))
    settle(draft, draft.frames)
    draft.bystander = draft.user_frame is None
    return draft


def settle(draft: Draft, frames: list[FrameType]) -> None:
    """Find out what *frames*, which are being executed, innermost first, wait for and hold."""
    for frame in frames:
        if is_users(frame):
            break
        found = _meaning(frame)
        if found is not None:
            # An outer one says more: a future's result is waited for on a condition.
            draft.wait, limit, what = found
            draft.target = locals_of(frame).get(what)
            draft.within = _seconds(locals_of(frame).get(limit), draft.target)
            if draft.wait == "loop":
                break
    if draft.wait == "idle" and job_of(draft) is not None:
        draft.wait = "call"
    if draft.wait == "event" and "Barrier" in type(draft.target).__name__:
        draft.wait = "barrier"
    elif draft.wait == "event" and "Condition" in type(draft.target).__name__:
        draft.wait = "condition"
    if not draft.wait and frames:
        _settle_by_line(draft, frames[0])
    draft.grips += grips(frames)


def _seconds(limit: object, target: object) -> float | None:
    """Return the time limit of a wait for *target*, in seconds."""
    if not isinstance(limit, int | float) or limit < 0:
        return None
    # By the time that it waits, it has made milliseconds of it.
    return limit / 1000 if isinstance(target, _IN_MILLISECONDS) else float(limit)


def _settle_by_line(draft: Draft, frame: FrameType) -> None:
    target, method, text = called_at(frame)
    kind = _METHODS.get(method)
    target = inner_lock(target) if kind == "lock" else target
    if kind == "lock" and type(target).__name__ in _LOCKS:
        if not is_free(target):
            draft.wait, draft.target = "lock", target
    elif kind == "get" and type(target).__name__ == "SimpleQueue":
        draft.wait, draft.target = "get", target
    elif text.startswith(("time.sleep(", "sleep(")):
        draft.wait, draft.note = "timer", text
    elif text.startswith(("os.wait", "waitpid(")):
        draft.wait, draft.target = "process", _child_in(frame)
    elif method in ("run_until_complete", "run_forever"):
        # A loop that is not written in Python.
        draft.wait = "loop"
    elif text and method != "__enter__":
        draft.wait, draft.note = "call", text


def _child_in(frame: FrameType) -> int | None:
    """Return the process that a line with `os.waitpid(pid, 0)` waits for."""
    match = re.search(r"wait\w*\(\s*(\w+)", called_at(frame)[2])
    value = locals_of(frame).get(match[1]) if match is not None else None
    return value if isinstance(value, int) and value > 0 else None


def is_free(lock: Any) -> bool:
    """Tell whether nobody has taken *lock*, as far as it tells."""
    # A reentrant lock has no `locked()` before 3.14; `acquire` of the user's own types is not to be called.
    return "unlocked" in repr(lock) if type(lock).__name__ in _LOCKS else False


def owner_of(lock: Any) -> int | None:
    """Return the identifier of the thread that holds a reentrant lock; None where it does not say."""
    if type(lock).__name__ in ("RLock", "_RLock"):
        match = re.search(r"owner=(\d+)", repr(lock))
        if match is not None and match[1] != "0":
            return int(match[1])
    return None


def grips(frames: Iterable[FrameType]) -> list[Grip]:
    """Return what the user's functions among *frames* hold."""
    found = []
    for frame in frames:
        if is_users(frame):
            place = place_of(frame)
            for value, line, sure in held_in(frame):
                found.append(Grip(value, type(place)(place.file, line, place.function), sure))
    return found


def _meaning(frame: FrameType) -> tuple[str, str, str] | None:
    code = frame.f_code
    if owner(code.co_filename) in ("user", "own"):
        return None
    path = code.co_filename.replace("\\", "/")
    for file, function, kind, limit, what in _WAITS:
        if function == code.co_name and path.endswith(file):
            return kind, limit, what
    return None


# Pools: who does a job, and who could


def job_of(draft: Draft) -> Any:
    """Return the future of the job that a pool's thread does, None where it does none."""
    for frame in draft.frames:
        if is_in(frame, "concurrent/futures/thread.py", "run"):
            # From 3.14 on, a worker's context has a method of that name, too, inside the job's.
            future = getattr(locals_of(frame).get("self"), "future", None)
            if future is not None:
                return future
        if is_in(frame, "_backends/_asyncio.py", "run"):
            return locals_of(frame).get("future")
    return None


def jobs_waiting(draft: Draft) -> list[Any]:
    """Return the futures of the jobs that lie in the queue of a pool's thread."""
    for frame in draft.frames:
        if is_in(frame, "concurrent/futures/thread.py", "_worker"):
            # A queue written in C shows what is in it to the garbage collector only.
            items = gc.get_referents(locals_of(frame).get("work_queue"))
            # Up to 3.12 it keeps them in a list.
            items += [item for each in items if type(each) is list for item in each]
            return [item.future for item in items if type(item).__name__ == "_WorkItem"]
    return []
