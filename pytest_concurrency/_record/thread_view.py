"""Who could still move? All threads of the process, as a held one sees them: from Python's frames and the kernel."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._frames import current_frames, locals_of
from .._places import outward, owner, place_elsewhere, place_of
from .._trace import Wait
from . import kernel
from .awaiting import suspension
from .door import Survey, Timers
from .lock_lines import lock_taken_at, locks_held_in
from .threads import awaits_a_process, is_at_rest, is_loop_at_rest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from .._trace import Place
    from .recorder import LiveStrand, Recorder

# A library function in which a thread waits: the end of its file's path and its name, what that means, and the local
# variable that limits the wait.
_WAITS = (
    ("concurrent/futures/_base.py", "result", "result", "timeout"),
    ("concurrent/futures/_base.py", "exception", "result", "timeout"),
    ("concurrent/futures/_base.py", "wait", "result", "timeout"),
    ("queue.py", "get", "queue", "timeout"),
    ("queue.py", "put", "queue", "timeout"),
    ("queue.py", "join", "queue", ""),
    ("threading.py", "start", "start", ""),
    ("threading.py", "join", "join", "timeout"),
    ("threading.py", "_wait_for_tstate_lock", "join", "timeout"),
    ("threading.py", "wait", "event", "timeout"),
    ("threading.py", "acquire", "semaphore", "timeout"),
    ("concurrent/futures/thread.py", "_worker", "idle", ""),
    ("trio/_core/_thread_cache.py", "_work", "idle", ""),
    ("asyncio/base_events.py", "_run_once", "loop", ""),
    ("trio/_core/_io_epoll.py", "get_events", "loop", ""),
)
_TOOLS = ("pytest_timeout", "execnet", "pydevd", "debugpy")
# An outer one says more: a future's result is waited for on a condition, a pool's worker waits on its queue.
_STRENGTH = {"event": 0, "semaphore": 1, "queue": 2, "join": 3, "result": 3, "loop": 3, "idle": 4, "start": 5}


@dataclass(frozen=True, slots=True)
class Look:
    """What one thread does."""

    kind: str
    """As `Wait.kind`, or `idle`, `loop`, `start`; `` where it waits for nothing that is known."""
    place: Place | None = None
    within: float | None = None
    """The time limit of its wait, in seconds."""
    moves: str = ""
    """Why it could go on by itself, in words."""
    mark: object = None
    """Where it stands: the same twice means that it has not moved."""


class ThreadView:
    """Looks at the threads of the process for those who are held."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._known = {thread.ident for thread in threading.enumerate()} - {threading.main_thread().ident}
        self._marks: dict[int, object] = {}

    def survey(self, held: Sequence[object], now: float, horizon: float, *, of_all: bool = False) -> Survey:
        """Return what could still move.

        Args:
            held: The identifiers of the threads that are held.
            now: The time.
            horizon: Until when they may wait.
            of_all: Also those that are none of the test's: a scheduler that is older than it may yet call it.
        """
        frames = current_frames()
        threads = {thread.ident: thread for thread in threading.enumerate() if thread.ident is not None}
        looks = {
            ident: _look(frame, threads.get(ident))
            for ident, frame in frames.items()
            if ident not in held
            and not (_is_of_a_tool(frame, threads.get(ident)) if of_all else self._is_bystander(ident, frame, threads))
        }
        jobs = self._jobs(threads, held)
        behind = {ident for ident in looks if self._waits_for_held(ident, looks[ident], frames, threads, held, jobs)}
        before, self._marks = self._marks, {ident: look.mark for ident, look in looks.items()}
        outside = [look.moves for look in looks.values() if look.moves]
        limits = {ident: look.within for ident, look in looks.items() if look.within is not None and not look.moves}
        others = [within for ident, within in limits.items() if ident not in behind]
        return Survey(
            # It has moved since the last look, or somebody is about to begin or to end whom Python does not know.
            busy=before != self._marks or _unknown_runs(threads.values()),
            timers=Timers(
                soon=any(now + within <= horizon for within in others),
                later=any(now + within > horizon for within in others),
                strikes=min((now + within for ident, within in limits.items() if ident in behind), default=None),
            ),
            outside=tuple(outside),
            waits=self._waits(looks, frames, threads, held, jobs),
        )

    def _is_bystander(self, ident: int, frame: FrameType, threads: dict[int, threading.Thread]) -> bool:
        """Tell whether a thread is none of the test's: ours, or an earlier one that runs no code of the user's."""
        owners = (owner(each.f_code.co_filename) for each in outward(frame))
        innermost = next((each for each in owners if each not in ("stdlib", "frozen")), "stdlib")
        if ident not in threads:
            return innermost != "user"
        if innermost == "installed" and "pytest_timeout" in frame.f_code.co_filename:
            return True
        return ident in self._known and innermost != "user" and not awaits_a_process(frame)

    def _jobs(self, threads: dict[int, threading.Thread], held: Sequence[object]) -> dict[int, int]:
        """Return for each held thread's strand the strand that waits for its job."""
        strands = {live.strand.id for live in self._strands(threads, held)}
        return {
            job.strand: job.by for job in self._recorder.open_jobs() if job.strand in strands and job.by is not None
        }

    def _strands(self, threads: dict[int, threading.Thread], idents: Sequence[object]) -> list[LiveStrand]:
        found = (self._recorder.known(threads[ident]) for ident in idents if ident in threads)
        return [live for live in found if live is not None]

    def _on(
        self,
        ident: int,
        look: Look,
        frames: dict[int, FrameType],
        threads: dict[int, threading.Thread],
        held: Sequence[object],
        jobs: dict[int, int],
    ) -> tuple[int, ...]:
        """Return the held strands that this thread waits for."""
        inside = {live.strand.id for live in self._strands(threads, held)}
        own = self._recorder.known(threads.get(ident))
        if look.kind == "join":
            joined = self._recorder.known(_local(frames[ident], "threading.py", ("join", "_wait_for_tstate_lock")))
            return (joined.strand.id,) if joined is not None and joined.strand.id in inside else ()
        if look.kind == "result" and own is not None:
            return tuple(strand for strand, by in jobs.items() if by == own.strand.id)
        if look.kind == "lock":
            lock = lock_taken_at(_user_frame(frames[ident]))
            if lock is not None:
                return tuple(
                    live.strand.id
                    for other in held
                    for live in self._strands(threads, [other])
                    if any(lock is mine for mine in locks_held_in(frames.get(other)))  # type: ignore[call-overload]
                )
        return ()

    def _waits_for_held(
        self,
        ident: int,
        look: Look,
        frames: dict[int, FrameType],
        threads: dict[int, threading.Thread],
        held: Sequence[object],
        jobs: dict[int, int],
    ) -> bool:
        return look.within is not None and bool(self._on(ident, look, frames, threads, held, jobs))

    def _waits(
        self,
        looks: dict[int, Look],
        frames: dict[int, FrameType],
        threads: dict[int, threading.Thread],
        held: Sequence[object],
        jobs: dict[int, int],
    ) -> tuple[Wait, ...]:
        waits = [Wait(live.strand.id, "held") for live in self._strands(threads, held)]
        for ident, look in looks.items():
            live = self._recorder.known(threads.get(ident))
            if live is None or look.kind in ("idle", "loop", "start", ""):
                continue
            lock = lock_taken_at(_user_frame(frames[ident])) if look.kind == "lock" else None
            on = self._on(ident, look, frames, threads, held, jobs)
            waits.append(Wait(live.strand.id, look.kind, id(lock) if lock is not None else None, on, look.place))
        # A task of a loop waits for a job without its thread.
        for strand, by in jobs.items():
            place = _awaiting(self._recorder.key_of(by))
            if place is not None:
                waits.append(Wait(by, "result", None, (strand,), place))
        return tuple(waits)


def _is_of_a_tool(frame: FrameType, thread: threading.Thread | None) -> bool:
    """Tell whether a thread is ours, or one of a tool that runs or stops tests, or serves a pool with nothing to do."""
    job = getattr(getattr(thread, "function", None), "__module__", None)
    files = [each.f_code.co_filename for each in outward(frame)]
    if job == "pytest_timeout" or any(tool in file for file in files for tool in _TOOLS) or is_at_rest(frame):
        return True
    return thread is None and owner(files[-1]) == "own"


def _look(frame: FrameType, thread: threading.Thread | None) -> Look:
    kind, within = "", None
    for each in outward(frame):
        path = each.f_code.co_filename
        if is_loop_at_rest(each):
            # It wakes now and then by our own doing, and that is no move of the program's.
            return Look("loop", mark=id(each))
        if owner(path) == "user":
            break
        found = _meaning(each)
        if found is not None and _STRENGTH[found[0]] >= _STRENGTH.get(kind, -1):
            kind, limit = found[0], locals_of(each).get(found[1])
            within = limit if isinstance(limit, (int, float)) and limit >= 0 else within
    place = place_elsewhere(frame)
    kernels = kernel.look(thread.native_id) if thread is not None and thread.native_id is not None else None
    mark = (id(frame), frame.f_lasti, kernels.turns if kernels is not None else None)
    moves = _moves(kind, within, frame, kernels)
    if not kind and not moves:
        kind = "lock"
    if kind == "idle":
        within = None
    if moves:
        where = place or place_of(frame)
        name = thread.name if thread is not None else "of no name"
        moves = f"{moves} {name!r} at {where.file}:{where.line} in {where.function}"
    return Look(kind, place, within, moves, mark)


def _meaning(frame: FrameType) -> tuple[str, str] | None:
    path, name = frame.f_code.co_filename.replace("\\", "/"), frame.f_code.co_name
    for file, function, kind, limit in _WAITS:
        if name == function and path.endswith(file):
            return kind, limit
    return None


def _moves(kind: str, within: float | None, frame: FrameType, kernels: kernel.Thread | None) -> str:
    """Return who could go on, in words, empty where somebody else would have to let it."""
    if kind == "start" or (kernels is not None and not kernels.sleeps):
        return "thread"
    if kind == "loop":
        return _loop_moves(frame)
    if kernels is None:
        return "" if kind else "thread"
    if kind == "idle":
        return "" if kernels.in_lock else "thread"
    if within is not None and kind:
        return "" if kernels.in_lock else "thread"
    return "" if kernels.for_ever else "thread"


def _loop_moves(frame: FrameType) -> str:
    for each in outward(frame):
        path, name = each.f_code.co_filename.replace("\\", "/"), each.f_code.co_name
        if name == "_run_once" and path.endswith("asyncio/base_events.py"):
            loop = locals_of(each).get("self")
            selecting = frame.f_code.co_name == "select"
            own = getattr(getattr(loop, "_ssock", None), "fileno", lambda: -1)()
            registered = getattr(loop, "_selector", None)
            others = (
                [key for key in tuple((registered.get_map() or {}).values()) if key.fd != own] if registered else []
            )
            if others:
                return "a socket of the loop in thread"
            return "" if selecting and locals_of(each).get("timeout") is None else "a loop's timer in thread"
        if name == "get_events" and path.endswith("trio/_core/_io_epoll.py"):
            registered = getattr(locals_of(each).get("self"), "_registered", {})
            if not all(_is_trios_own(waiters) for waiters in tuple(registered.values())):
                return "a socket of the loop in thread"
            return "" if locals_of(each).get("timeout", 0) > 3600 else "a loop's timer in thread"
    return "thread"


def _is_trios_own(waiters: Any) -> bool:
    """Tell whether only the task that lets other threads in waits for a descriptor."""
    tasks = [getattr(waiters, name, None) for name in ("read_task", "write_task")]
    return all(task is None or "run_sync_soon" in task.name for task in tasks)


def _unknown_runs(known: Any) -> bool:
    """Tell whether a thread runs that Python does not know yet, or not any more."""
    # Whoever looks may be a thread of ours.
    mine = {thread.native_id for thread in known} | {threading.get_native_id()}
    for native_id in kernel.threads() - mine:
        found = kernel.look(native_id)
        if found is not None and not found.sleeps:
            return True
    return False


def _user_frame(frame: FrameType) -> FrameType | None:
    return next((each for each in outward(frame) if owner(each.f_code.co_filename) == "user"), None)


def _local(frame: FrameType, file: str, functions: tuple[str, ...]) -> Any:
    for each in outward(frame):
        if each.f_code.co_name in functions and each.f_code.co_filename.endswith(file):
            return locals_of(each).get("self")
    return None


def _awaiting(key: Any) -> Place | None:
    """Return where a task waits, None for anything else."""
    coroutine = key.get_coro() if hasattr(key, "get_coro") else getattr(key, "coro", None)
    return suspension(coroutine).place if coroutine is not None else None
