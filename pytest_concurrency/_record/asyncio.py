"""Strands and steps of asyncio's tasks, on any loop: the standard ones, uvloop, and what subclasses them."""

from __future__ import annotations

import asyncio
import functools
import sys
from asyncio import base_events, events, tasks
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from .._imports import when_imported
from .._patching import patched
from .._sequence import next_number
from .._trace import Step
from .asyncio_gate import LoopGates, look_back
from .recorder import Here
from .resources import note_uses, note_wakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .door import Doors
    from .recorder import LiveStrand, Recorder

_TASK_TYPES = (asyncio.Task, tasks._PyTask)  # type: ignore[attr-defined]  # the pure Python one, where both exist
# Where the tasks of test runners begin: they carry the test's body and its fixtures.
_RUNNERS = ("/pytest_asyncio/", "/anyio/pytest_plugin.py", "/anyio/_backends/", "/asyncio/runners.py", "/unittest/")


@contextmanager
def record(recorder: Recorder, doors: Doors) -> Iterator[None]:
    """Tell *recorder* of every task, and give *doors* a gate in every loop, for the length of the `with` block."""
    hooks = _Hooks(recorder)
    with ExitStack() as undo:
        gates = LoopGates(doors)
        recorder.locators.append(hooks.locate)
        undo.callback(recorder.locators.remove, hooks.locate)
        doors.find_gate.append(gates.here)
        undo.callback(doors.find_gate.remove, gates.here)
        undo.enter_context(patched(base_events.BaseEventLoop, "create_task", hooks.create_task, needed=True))
        undo.enter_context(patched(events.Handle, "_run", hooks.run_handle, needed=True))
        undo.enter_context(when_imported("uvloop", lambda: _watch_uvloop(undo, hooks, gates)))
        note_uses(undo, recorder, asyncio.Lock, "lock", takes="acquire", gives="release")
        note_uses(undo, recorder, asyncio.Semaphore, "semaphore", takes="acquire", gives="release")
        # `get` ends by calling it.
        note_uses(undo, recorder, asyncio.Queue, "queue", takes="get_nowait")
        note_wakes(undo, recorder, asyncio.Event, "set")
        note_wakes(undo, recorder, asyncio.Queue, "put_nowait")
        undo.enter_context(when_imported("anyio", lambda: _watch_anyio(undo, recorder)))
        yield


def _watch_uvloop(undo: ExitStack, hooks: _Hooks, gates: LoopGates) -> None:
    import uvloop

    # A Python class on top of the compiled one: setting its attributes touches no C type.
    undo.enter_context(patched(uvloop.Loop, "create_task", hooks.create_task, needed=True))
    undo.enter_context(patched(uvloop.Loop, "call_soon", hooks.call_soon, needed=True))
    gates.watch_opaque_loop(undo, uvloop.Loop)


def _watch_anyio(undo: ExitStack, recorder: Recorder) -> None:
    from anyio.streams.memory import MemoryObjectReceiveStream

    note_uses(undo, recorder, MemoryObjectReceiveStream, "queue", takes="receive")
    # anyio loads a backend when it first runs on it; that cannot be waited for by name, so it is loaded now.
    from anyio._backends import _asyncio as backend

    note_uses(undo, recorder, getattr(backend, "Lock", None), "lock", takes="acquire", gives="release")
    note_uses(undo, recorder, getattr(backend, "Semaphore", None), "semaphore", takes="acquire", gives="release")
    note_uses(
        undo, recorder, backend.CapacityLimiter, "limiter", takes="acquire_on_behalf_of", gives="release_on_behalf_of"
    )


def here_of(task: asyncio.Task[Any], backend: str) -> Here:
    """Return how *task* is known to the recorder."""
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    path = code.co_filename.replace("\\", "/") if code is not None else ""
    return Here(task, "asyncio-task", task.get_name(), backend, foreign=any(part in path for part in _RUNNERS))


def backend_of(loop: object) -> str:
    """Return `uvloop` or `asyncio`."""
    return "uvloop" if str(type(loop).__module__).partition(".")[0] == "uvloop" else "asyncio"


class _Hooks:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def locate(self) -> Here | None:
        loop = asyncio._get_running_loop()
        if loop is None:
            return None
        task = asyncio.current_task(loop)
        if task is None:
            return Here(loop, "callback", "loop callbacks", backend_of(loop))
        if self._recorder.known(task) is not None:
            # The name is asked for once only: this runs at every span.
            return Here(task, "asyncio-task", "", backend_of(loop))
        return here_of(task, backend_of(loop))

    def _strand(self, task: asyncio.Task[Any]) -> LiveStrand:
        live = self._recorder.known(task)
        return live if live is not None else self._recorder.strand_for(here_of(task, backend_of(task.get_loop())))

    def create_task(self, original: Callable[..., Any]) -> Callable[..., Any]:
        recorder = self._recorder

        @functools.wraps(original)
        def create_task(loop: Any, coro: Any, **kwargs: Any) -> Any:
            # Outside a running loop it is a runner that creates the task which everything else runs in.
            is_root = asyncio._get_running_loop() is None
            parent = None if is_root else recorder.here()
            with recorder.creating(parent, root=is_root, caller=sys._getframe(1)):
                task = original(loop, coro, **kwargs)
                if isinstance(task, _TASK_TYPES):
                    live = self._strand(task)
                    if task.done():
                        recorder.end_strand(live)
            return task

        return create_task

    def run_handle(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _run(handle: Any) -> Any:
            task = getattr(handle._callback, "__self__", None)
            if not isinstance(task, _TASK_TYPES):
                return original(handle)
            return self._step(task, original, (handle,))

        return _run

    def call_soon(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call_soon(loop: Any, callback: Any, *args: Any, context: Any = None) -> Any:
            task = getattr(callback, "__self__", None)
            if isinstance(task, _TASK_TYPES):
                return original(loop, functools.partial(self._step, task, callback, args), context=context)
            return original(loop, callback, *args, context=context)

        return call_soon

    def _step(self, task: asyncio.Task[Any], run: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        recorder = self._recorder
        live = self._strand(task)
        if not live.steps:
            # Before 3.14 `asyncio.create_task` names a task only after the loop has created it.
            recorder.rename(live, task.get_name())
        courses = recorder.courses
        if courses is not None:
            courses.resumes(live, functools.partial(look_back, task, args))
        first, start = next_number(), recorder.now()
        try:
            return run(*args)
        finally:
            if courses is not None:
                courses.pauses(live)
            live.steps.append(Step(first, next_number(), start, recorder.now()))
            if task.done():
                recorder.end_strand(live)
