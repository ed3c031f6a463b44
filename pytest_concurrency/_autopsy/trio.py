"""What does each trio task wait for? In `trio.run` and in guest mode, in any thread."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from trio._core import _run

from .._frames import frame_of, locals_of
from .._places import place_of
from .._record.awaiting import frames_of, suspension
from .draft import Draft, Grip, coroutine_name, is_in, is_users
from .source import entered_by, held_in
from .threads import settle

if TYPE_CHECKING:
    from types import FrameType

_KINDS = {"queue": "get", "future": "future"}
_INFINITY = float("inf")


def look(threads: list[Draft]) -> list[Draft]:
    """Return every task of every run.

    Args:
        threads: The threads: the one that runs a task gives it its wait.
    """
    found = []
    for runner in gc.get_objects():
        if issubclass(type(runner), _run.Runner):
            found += _tasks_of(runner, threads)
    return found


def _tasks_of(runner: Any, threads: list[Draft]) -> list[Draft]:
    thread = next((each for each in threads if any(_is_run(frame, runner) for frame in each.frames)), None)
    # A guest is nowhere on the stack between two of its turns. Any other that is not there has crashed.
    if thread is None and not (runner.is_guest and runner.main_task_outcome is None):
        return []
    tasks = sorted(runner.tasks, key=lambda task: task._counter)
    drafts = [_draft(task, runner) for task in tasks if not _is_trios_own(task, runner)]
    if thread is not None:
        _tie(runner, drafts, thread)
    return drafts


def _is_trios_own(task: Any, runner: Any) -> bool:
    """Tell whether a task waits for nothing that the program does."""
    if task is runner.init_task:
        return True
    code = getattr(task.coro, "cr_code", None)
    return (
        task is not runner.main_task
        and task.parent_nursery in runner.init_task.child_nurseries
        and (code is None or "/trio/" in code.co_filename.replace("\\", "/"))
    )


def _is_run(frame: FrameType, runner: Any) -> bool:
    # In guest mode another thread waits for events, and the host's calls `guest_tick` when there are some.
    return is_in(frame, "trio/_core/_run.py", "run", "guest_tick", "get_events") and (
        locals_of(frame).get("runner") is runner or getattr(locals_of(frame).get("self"), "runner", None) is runner
    )


def _draft(task: Any, runner: Any) -> Draft:
    draft = Draft(task, "task", coroutine_name(task.coro) or task.name)
    found = suspension(task.coro)
    pairs = frames_of(task.coro)
    draft.frames = [frame for _, frame in reversed(pairs)]
    draft.bystander = draft.user_frame is None
    if getattr(task, "_abort_func", True) is None:
        draft.wait = "turn"
    else:
        draft.wait = _KINDS.get(found.kind, found.kind)
        draft.target = found.resource
        function = found.frame.f_code.co_name if found.frame is not None else ""
        if found.kind == "queue" and function == "send":
            draft.wait = "put"
        elif found.kind == "event" and function == "sleep_forever":
            draft.wait, draft.target = "future", None
        elif found.kind == "event" and "Condition" in type(draft.target).__name__:
            draft.wait = "condition"
        elif found.kind == "task":
            draft.target = None
            draft.on = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        elif found.kind == "worker":
            draft.target = task
        deadline = _deadline(task)
        if deadline < _INFINITY:
            draft.within = max(0.0, deadline - runner.clock.current_time())
    for coroutine, frame in pairs:
        if is_users(frame):
            place = place_of(frame)
            read = held_in(frame)
            for value in entered_by(coroutine):
                line = next((taken.line for taken in read if taken.value is value), None)
                at = type(place)(place.file, line, place.function) if line else None
                draft.grips.append(Grip(value, at, True))
            draft.grips += [
                Grip(taken.value, type(place)(place.file, taken.line, place.function), False)
                for taken in read
                if not taken.sure
            ]
    return draft


def _deadline(task: Any) -> float:
    status = getattr(task, "_cancel_status", None)
    return status.effective_deadline() if status is not None else _INFINITY


def _tie(runner: Any, drafts: list[Draft], thread: Draft) -> None:
    """Tie the tasks of a run to the thread that runs it."""
    current = _current_task(drafts, thread)
    if current is not None and thread.wait != "loop":
        root = _root(current)
        number = next((n for n, frame in enumerate(thread.frames) if frame is root), None)
        stack = thread.frames[: number + 1] if number is not None else thread.frames
        current.frames, current.grips, current.on = stack, [], []
        current.wait = current.note = ""
        current.target = None
        settle(current, stack)
        current.bystander = current.user_frame is None
        thread.wait, thread.target, thread.on, thread.note = "runs", None, [current.key], ""
        thread.grips, thread.within = [], None
    if thread.wait == "loop" and runner.main_task is not None and not runner.is_guest:
        thread.on = [runner.main_task]
    for draft in drafts:
        if draft is current:
            continue
        if current is not None and draft.wait in ("turn", "timer", "io", "future", "worker"):
            draft.wait, draft.on = "turn", [thread.key]
        elif draft.wait == "turn":
            draft.wait = ""


def _current_task(drafts: list[Draft], thread: Draft) -> Draft | None:
    """Return the task whose frames are among those that the thread executes."""
    frames = set(map(id, thread.frames))
    for draft in drafts:
        if id(_root(draft)) in frames:
            return draft
    return None


def _root(draft: Draft) -> FrameType | None:
    """Return the frame of a task's outermost coroutine, None where that has ended."""
    task: Any = draft.key
    return frame_of(task.coro)


def worker_task(draft: Draft) -> Any:
    """Return the task for which a pool's thread works, None where it works for none."""
    for frame in draft.frames:
        if is_in(frame, "trio/_threads.py", "worker_fn", "do_release_then_return_result"):
            register = locals_of(frame).get("task_register")
            if register and register[0] is not None:
                return register[0]
    return None
