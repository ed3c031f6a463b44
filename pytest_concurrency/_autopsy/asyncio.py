"""What does each asyncio task wait for? From its future and its coroutines: on any loop, thread and version."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from asyncio import tasks
from typing import TYPE_CHECKING, Any

from .._frames import frame_of, locals_of
from .._places import outward
from .._record.awaiting import frames_of, suspension
from .draft import Draft, Grip, coroutine_name, is_in, is_users
from .source import entered_by, held_in
from .threads import settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from .._record.awaiting import Suspension

_TASK_TYPES = (asyncio.Task, tasks._PyTask)  # type: ignore[attr-defined]  # the pure Python one, where both exist
_KINDS = {"event": "event", "queue": "get", "future": "future", "task": "task"}


def look(threads: list[Draft]) -> list[Draft]:
    """Return every task that has not ended, of every loop that runs.

    Args:
        threads: The threads: the one that runs a task gives it its wait.
    """
    pending = [task for task in _all_tasks() if not task.done() and task.get_loop().is_running()]
    by_loop: dict[Any, list[Draft]] = {}
    found = []
    for task in pending:
        draft = _draft(task)
        found.append(draft)
        by_loop.setdefault(task.get_loop(), []).append(draft)
    for loop, drafts in by_loop.items():
        thread = next((each for each in threads if _thread_id(loop) == getattr(each.key, "ident", None)), None)
        if thread is not None:
            _tie(loop, drafts, thread)
    return found


def _all_tasks() -> list[Any]:
    """Return all tasks: no list of asyncio's own has those of other threads, and eager ones, on every version."""
    loops = [each for each in gc.get_objects() if issubclass(type(each), asyncio.AbstractEventLoop)]
    found = {id(each): each for each in gc.get_objects() if issubclass(type(each), _TASK_TYPES)}
    for loop in loops:
        if not loop.is_closed():
            found.update((id(task), task) for task in asyncio.all_tasks(loop))
    return sorted(found.values(), key=_age)


def _age(task: Any) -> tuple[int, str]:
    """Sort tasks as they were made, where their names tell."""
    number = task.get_name().rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, task.get_name())


def _thread_id(loop: Any) -> int | None:
    thread: int | None = getattr(loop, "_thread_id", None)
    return thread or _uvloops_thread(loop)


def _uvloops_thread(loop: Any) -> int | None:
    """Return the thread of a loop that does not tell: the one among whose frames somebody runs it."""
    for thread in threading.enumerate():
        if thread.ident is not None and _runs(loop, thread.ident):
            return thread.ident
    return None


def _runs(loop: Any, ident: int) -> bool:
    from .._frames import current_frames, locals_of

    for frame in outward(current_frames().get(ident)):
        if frame.f_code.co_name in ("run", "run_until_complete", "run_forever", "_run_until_complete_and_close"):
            for value in locals_of(frame).values():
                if value is loop or getattr(value, "_loop", None) is loop:
                    return True
    return False


def _draft(task: Any) -> Draft:
    coroutine = task.get_coro()
    suspended = suspension(coroutine) if coroutine is not None else None
    draft = Draft(task, "task", _name(task, coroutine))
    if suspended is None:
        draft.wait = "turn"
        return draft
    pairs = frames_of(coroutine)
    draft.frames = [frame for _, frame in reversed(pairs)]
    draft.bystander = draft.user_frame is None
    waiter = getattr(task, "_fut_waiter", None)
    if waiter is None or waiter.done():
        draft.wait = "turn"
    else:
        _settle(draft, waiter, suspended)
    draft.grips = _grips(pairs, draft)
    return draft


def _name(task: Any, coroutine: Any) -> str:
    """Return the name that somebody gave a task, or else that of its coroutine."""
    name: str = task.get_name()
    own = coroutine_name(coroutine)
    # anyio names a task by its whole function.
    is_made_up = re.fullmatch(r"Task-\d+", name) or name.endswith((f".{own}", "._call_func"))
    return (own if is_made_up else "") or name


def _settle(draft: Draft, waiter: Any, suspended: Suspension) -> None:
    frame = suspended.frame
    draft.target = suspended.resource
    draft.wait = _KINDS.get(suspended.kind, suspended.kind)
    leaves = list(_leaves(waiter))
    awaited = [future for future in leaves if isinstance(future, _TASK_TYPES)]
    if suspended.kind == "event" and "Condition" in type(draft.target).__name__:
        draft.wait = "condition"
    elif suspended.kind == "event" and "Barrier" in type(draft.target).__name__:
        draft.wait = "barrier"
    elif suspended.kind == "queue" and frame is not None:
        draft.wait = {"put": "put", "send": "put", "join": "join queue"}.get(frame.f_code.co_name, "get")
    elif suspended.kind == "timer" and frame is not None:
        draft.note = _seconds(locals_of(frame).get("delay"))
    elif awaited:
        draft.wait, draft.on, draft.target = "task", list(awaited), None
    elif suspended.kind == "task" and frame is not None:
        draft.on, draft.any_of, draft.within = _awaited_in(frame)
        draft.target = None
        inner = locals_of(frame).get("fut")
        if not draft.on and asyncio.iscoroutine(inner):
            # Since 3.12 `wait_for` awaits a coroutine in the task itself.
            within, found = draft.within, suspension(inner)
            _settle(draft, waiter, found)
            draft.within = within
    elif suspended.kind == "future":
        draft.target = leaves[0] if len(leaves) == 1 else None
    job = next((found for future in leaves if (found := source_of(future)) is not None), None)
    if job is None and suspended.kind == "worker":
        # anyio's own worker threads carry the future itself.
        job = waiter
    if job is not None:
        draft.wait, draft.target = "worker", job


def _seconds(delay: Any) -> str:
    return f"{delay:g} s" if isinstance(delay, int | float) else ""


def _leaves(future: Any) -> Iterator[Any]:
    """Yield what *future* stands for: itself, or the futures that it gathers or shields and that are not done."""
    children = getattr(future, "_children", None)
    if children is not None:
        for child in children:
            if not child.done():
                yield from _leaves(child)
        return
    inner = _shielded(future)
    if inner is not None:
        yield from _leaves(inner)
    else:
        yield future


def _shielded(future: Any) -> Any:
    for callback in _callbacks(future):
        if callback.__name__ == "_outer_done_callback":
            return _variables(callback).get("inner")
    return None


def source_of(future: Any) -> Any:
    """Return the thread's or the process's future behind one of asyncio's (`asyncio.wrap_future`), None for others."""
    for callback in _callbacks(future):
        if callback.__name__ == "_call_check_cancel":
            return next((each for each in _variables(callback).values() if _is_threads(each)), None)
    return None


def feeds(task: Any, future: Any) -> bool:
    """Tell whether *task* brings the result of *future*, which belongs to a thread (`run_coroutine_threadsafe`)."""
    for callback in _callbacks(task):
        if callback.__name__ == "_call_set_state" and any(each is future for each in _variables(callback).values()):
            return True
    # anyio's portals hand it to the task that does the call.
    return any(
        locals_of(frame).get("future") is future for _, frame in frames_of(task.get_coro()) if not is_users(frame)
    )


def is_queued(loop: Any, future: Any) -> bool:
    """Tell whether what is to bring the result of *future* lies with *loop*, which has not begun with it."""
    for handle in tuple(getattr(loop, "_ready", ())):
        callback = getattr(handle, "_callback", None)
        values = [*_variables(callback).values(), *(getattr(handle, "_args", None) or ())]
        if any(each is future for each in values):
            return True
    return False


def _callbacks(future: Any) -> list[Any]:
    found = (entry[0] for entry in (getattr(future, "_callbacks", None) or ()))
    return [callback for callback in found if hasattr(callback, "__name__")]


def _variables(callback: Any) -> dict[str, Any]:
    """Return what a function took along from the one around it, by name."""
    values = {}
    names = getattr(getattr(callback, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(callback, "__closure__", None) or (), strict=False):
        try:
            values[name] = cell.cell_contents
        except ValueError:
            continue
    return values


def _is_threads(value: Any) -> bool:
    return type(value).__module__.startswith("concurrent.futures")


def _awaited_in(frame: FrameType) -> tuple[list[object], bool, float | None]:
    """Return the tasks that a library function waits for, whether one is enough, and its time limit in seconds."""
    variables = locals_of(frame)
    owner = variables.get("self")
    candidates: list[Any] = [
        variables.get("fut"),
        *(variables.get("fs") or ()),
        *(getattr(owner, "_tasks", None) or ()),
    ]
    limit = variables.get("timeout")
    return (
        [task for task in candidates if isinstance(task, _TASK_TYPES) and not task.done()],
        variables.get("return_when") == asyncio.FIRST_COMPLETED,
        float(limit) if isinstance(limit, int | float) else None,
    )


def _grips(pairs: list[tuple[Any, FrameType]], draft: Draft) -> list[Grip]:
    """Return what the coroutines of a suspended task have entered, and what they took without that."""
    from .._places import place_of

    found: list[Grip] = []
    for coroutine, frame in pairs:
        if not is_users(frame):
            continue
        place = place_of(frame)
        read = held_in(frame)
        for value in entered_by(coroutine):
            limit = _time_limit(value, draft.key)
            if limit is not None:
                draft.within = limit if draft.within is None else min(limit, draft.within)
                continue
            line = next((taken.line for taken in read if taken.value is value), None)
            found.append(Grip(value, type(place)(place.file, line, place.function) if line else None, True))
        for value, line, sure in read:
            if not sure:
                found.append(Grip(value, type(place)(place.file, line, place.function), False))
    return found


def _time_limit(entered: Any, task: Any) -> float | None:
    """Return in how many seconds a time-out or a cancel scope, which *task* has entered, ends its wait."""
    now = task.get_loop().time()
    # Its type is asked, not itself: it may be anything of the user's.
    if issubclass(type(entered), asyncio.Timeout):
        when = entered.when()
        return max(0.0, when - now) if when is not None else None
    if type(entered).__name__ in ("CancelScope", "FailAfterContextManager"):
        deadline = getattr(entered, "deadline", float("inf"))
        return max(0.0, deadline - now) if deadline < float("inf") else None
    return None


def _tie(loop: Any, drafts: list[Draft], thread: Draft) -> None:
    """Tie the tasks of a loop to the thread that runs it."""
    current = asyncio.current_task(loop)
    running = next((draft for draft in drafts if draft.key is current), None)
    if running is not None and current is not None and thread.wait != "loop":
        stack = _down_to(frame_of(current.get_coro()), thread.frames)
        running.frames, running.grips = stack, []
        running.wait = running.note = ""
        running.target, running.on = None, []
        settle(running, stack)
        running.bystander = running.user_frame is None
        thread.wait, thread.target, thread.on, thread.note = "runs", None, [running.key], ""
        thread.grips, thread.within = [], None
    if thread.wait == "loop":
        thread.on = _run_for(thread.frames, {id(draft.key) for draft in drafts})
    for draft in drafts:
        if draft is running:
            continue
        if draft.wait in ("turn", "timer", "io", "future", "worker") and running is not None:
            draft.wait, draft.on = "turn", [thread.key]
        elif draft.wait == "turn":
            # Its loop is about to run it.
            draft.wait = ""


def _run_for(frames: list[FrameType], tasks: set[int]) -> list[object]:
    """Return the task for whose end a thread runs a loop, where it does."""
    for frame in frames:
        if frame.f_code.co_name in ("run_until_complete", "run"):
            for value in locals_of(frame).values():
                if id(value) in tasks:
                    return [value]
    return []


def _down_to(root: FrameType | None, frames: list[FrameType]) -> list[FrameType]:
    """Return the frames of a task that runs, without those of its loop and of who runs that."""
    for number, frame in enumerate(frames):
        if frame is root:
            return frames[: number + 1]
        if is_in(frame, "asyncio/events.py", "_run"):
            return frames[:number]
    return frames


def loop_of(task: Any) -> Any:
    """Return the loop of one of asyncio's tasks, None for anything else."""
    return task.get_loop() if isinstance(task, _TASK_TYPES) else None
