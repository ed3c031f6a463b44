"""Trio's system tasks that a test spawned, which no nursery of its own waits for; its async generators and threads."""

from __future__ import annotations

import functools
import sys
import weakref
from dataclasses import dataclass
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING, Any

from trio._core import _asyncgens, _run, _thread_cache

from .._frames import frame_of
from .._patching import patched
from .._record.awaiting import suspension
from .._trace import Leak
from . import owner as owners
from .coroutines import coroutine_name
from .makers import line_of, makers_of
from .source import Left, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from contextlib import ExitStack

    from .._trace import Maker
    from .owner import Owner


@dataclass(slots=True, eq=False)
class _Record:
    task: weakref.ref[Any]
    owner: Owner
    made: tuple[Maker, ...]


class SystemTasks(Source):
    """Takes down every system task that somebody else than trio spawns."""

    def install(self, undo: ExitStack) -> None:
        self._records: list[_Record] = []
        undo.enter_context(patched(_run.Runner, "spawn_system_task", self._spawn))
        undo.enter_context(patched(_run.Runner, "task_exited", self._exited))
        undo.enter_context(patched(_asyncgens.AsyncGenerators, "install_hooks", self._install_hooks))
        undo.enter_context(patched(_thread_cache.ThreadCache, "start_thread_soon", self._start_thread))
        undo.enter_context(patched(_asyncgens, "name_asyncgen", self._name))
        undo.enter_context(patched(_asyncgens.AsyncGenerators, "finalize_remaining", self._finalize))

    def _spawn(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def spawn_system_task(*args: Any, **kwargs: Any) -> Any:
            task = original(*args, **kwargs)
            with self.watch.guarded():
                self.watch.saw_loop = True
                mine = owners.current.get()
                made = makers_of(sys._getframe(1))
                if mine is not None and line_of(made) is not None:
                    self._records.append(_Record(weakref.ref(task), mine, made))
            return task

        return spawn_system_task

    def _exited(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def task_exited(runner: Any, task: Any, outcome: Any) -> Any:
            if task is runner.main_task:
                with self.watch.guarded():
                    self._run_ends(runner)
            return original(runner, task, outcome)

        return task_exited

    def _run_ends(self, runner: Any) -> None:
        nursery = runner.system_nursery
        pending = nursery.child_tasks if nursery is not None else ()
        for record in tuple(self._records):
            task = record.task()
            if task in pending:
                self._records.remove(record)
                state = "still running when its trio run ended, and cancelled only for that"
                self.watch.add(self.watch.owner_of(task, record.owner), _leak(task, record, state))

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        self._records = [record for record in self._records if _is_alive(record.task())]
        for record in self._records:
            task = record.task()
            mine = self.watch.owner_of(task, record.owner)
            if mine in of:
                yield Left(task, mine, _leak(task, record, "still running"))

    def forget(self, of: Container[Owner]) -> None:
        self._records = [record for record in self._records if record.owner not in of]

    # Threads, which are used again

    def _start_thread(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def start_thread_soon(cache: Any, fn: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
            mine = owners.current.get()
            if mine is None:
                return original(cache, fn, *args, **kwargs)
            made = makers_of(sys._getframe(1))

            @functools.wraps(fn, updated=())
            def job() -> Any:
                with self.watch.guarded():
                    self.watch.threads.adopt(mine, made)
                return fn()

            return original(cache, job, *args, **kwargs)

        return start_thread_soon

    # Generators

    def _install_hooks(self, original: Callable[..., Any]) -> Callable[..., Any]:
        generators = self.watch.generators

        @functools.wraps(original)
        def install_hooks(hooks: Any, runner: Any) -> None:
            original(hooks, runner)
            self.watch.saw_loop = True
            installed = sys.get_asyncgen_hooks()
            first = installed.firstiter
            if first is None:
                return

            def firstiter(generator: Any) -> None:
                # In guest mode the host's generators come through here too, and then to the host's own hook.
                if hasattr(_run.GLOBAL_RUN_CONTEXT, "task"):
                    generators.begun(generator, runner)
                first(generator)

            sys.set_asyncgen_hooks(firstiter=firstiter)

        return install_hooks

    def _name(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def name_asyncgen(generator: Any) -> Any:
            # Not around trio's finalizer: that issues a warning at the line of whoever calls it.
            if sys._getframe(1).f_code.co_name == "finalizer":
                self.watch.generators.collected(generator)
            return original(generator)

        return name_asyncgen

    def _finalize(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def finalize_remaining(hooks: Any, runner: Any) -> Any:
            self.watch.generators.closed_by(runner)
            return original(hooks, runner)

        return finalize_remaining


def _is_alive(task: Any) -> bool:
    return task is not None and frame_of(task.coro) is not None


def _leak(task: Any, record: _Record, state: str) -> Leak:
    if getcoroutinestate(task.coro) == CORO_CREATED:
        state += "; it never began"
    found = suspension(task.coro)
    return Leak(
        "task",
        task.name,
        line_of(record.made),
        what=f"{coroutine_name(task.coro)}, a system task",
        state=state,
        waits=found.kind if found.place is not None else "",
        at=found.place if not state.endswith("never began") else None,
        made=record.made,
    )
