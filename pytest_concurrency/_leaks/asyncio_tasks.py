"""asyncio's tasks that were left pending, that never began, or whose exception nobody looked at; on any loop."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import traceback
from asyncio import base_events, runners
from contextlib import suppress
from inspect import CORO_CREATED, getcoroutinestate, iscoroutine
from typing import TYPE_CHECKING, Any

from .._patching import patched
from .._places import owner as code_owner
from .._record.awaiting import suspension
from .._trace import Leak, Place
from . import owner as owners
from .coroutines import coroutine_name, dropped, place_made
from .makers import line_of, makers_by_origin
from .source import Left, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from contextlib import ExitStack

    from .asyncio_loops import Loops
    from .owner import Owner
    from .watch import Watch

_TASKS_TELL_THEIR_CONTEXT = sys.version_info >= (3, 12)


class Tasks(Source):
    """Asks each loop for its tasks when it ends and when a test does.

    What is done for every single task is one entry in a list, since programs make many. Who a task belongs to stands in
    its context, and where it was made in its coroutine's origin.
    """

    def __init__(self, watch: Watch, loops: Loops) -> None:
        super().__init__(watch)
        self._loops = loops

    def install(self, undo: ExitStack) -> None:
        self._fresh: dict[int, list[asyncio.Task[Any]]] = {}
        # A task before 3.12 does not show its context. One that is made at the place of another takes its entry.
        self._owners: dict[int, Owner | None] = {}
        # By `id` and name: the collector breaks weak references to a task before that says its last words.
        self._told: dict[int, str] = {}
        base = base_events.BaseEventLoop
        undo.enter_context(patched(base, "create_task", self._create_task))
        undo.enter_context(patched(base, "call_exception_handler", self._handle_exception))
        undo.enter_context(patched(base, "_asyncgen_firstiter_hook", self._begin_generator))
        undo.enter_context(patched(base, "_asyncgen_finalizer_hook", self._collect_generator))
        undo.enter_context(patched(base, "shutdown_asyncgens", self._shut_generators))
        undo.enter_context(patched(runners, "_cancel_all_tasks", self._cancel_all))
        self.when_imported(undo, "uvloop", lambda: self._watch_uvloop(undo))
        self.when_imported(undo, "tornado.testing", lambda: self._watch_tornado(undo))
        self.when_imported(undo, "anyio._backends._asyncio", lambda: self._watch_anyio(undo, "_asyncio"))
        self.when_imported(undo, "anyio._backends._trio", lambda: self._watch_anyio(undo, "_trio"))

    def _watch_uvloop(self, undo: ExitStack) -> None:
        import uvloop

        undo.enter_context(patched(uvloop.Loop, "create_task", self._create_task))
        undo.enter_context(patched(uvloop.Loop, "call_exception_handler", self._handle_exception))
        undo.enter_context(patched(uvloop.Loop, "_asyncgen_firstiter_hook", self._begin_generator))
        undo.enter_context(patched(uvloop.Loop, "_asyncgen_finalizer_hook", self._collect_generator))
        undo.enter_context(patched(uvloop.Loop, "shutdown_asyncgens", self._shut_generators))

    def _watch_tornado(self, undo: ExitStack) -> None:
        # Its test case cancels what is left before it closes the loop.
        case = sys.modules["tornado.testing"].AsyncTestCase

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def tearDown(case: Any) -> None:  # unittest's name
                with self.watch.guarded():
                    self.loop_ends(case.io_loop.asyncio_loop, "still pending when its event loop ended")
                with self.watch.generators.loop_is_ending():
                    original(case)

            return tearDown

        undo.enter_context(patched(case, "tearDown", make))

    def _watch_anyio(self, undo: ExitStack, backend: str) -> None:
        # One long task runs all tests and fixtures there, in one context: it is told each time whose turn it is.
        runner = sys.modules[f"anyio._backends.{backend}"].TestRunner

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def call(runner: Any, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
                mine = owners.current.get()

                @functools.wraps(func)
                async def in_turn(*args: Any, **kwargs: Any) -> Any:
                    owners.current.set(mine)
                    return await func(*args, **kwargs)

                return original(runner, in_turn, *args, **kwargs)

            return call

        undo.enter_context(patched(runner, "_call_in_runner_task", make))

    # Every task

    def _create_task(self, original: Callable[..., Any]) -> Callable[..., Any]:
        lists, get = self._fresh, owners.current.get
        task_owners = None if _TASKS_TELL_THEIR_CONTEXT else self._owners

        @functools.wraps(original)
        def create_task(loop: Any, coro: Any, **kwargs: Any) -> Any:
            fresh = lists.get(id(loop))
            if fresh is None:
                fresh = self._soon(loop)
            task = original(loop, coro, **kwargs)
            fresh.append(task)
            if task_owners is not None:
                context = kwargs.get("context")
                task_owners[id(task)] = get() if context is None else context.get(owners.current)
            return task

        return create_task

    def _soon(self, loop: Any) -> list[asyncio.Task[Any]]:
        """Return a list for new tasks, at which the loop will have a look before their first steps."""
        fresh: list[asyncio.Task[Any]] = []
        with suppress(Exception):
            # Where it refuses, it will refuse the task too.
            loop.call_soon(self._look_at_fresh, loop, fresh)
            self._fresh[id(loop)] = fresh
            self._loops.known.add(loop)
        return fresh

    def _look_at_fresh(self, loop: Any, fresh: list[asyncio.Task[Any]]) -> None:
        with self.watch.guarded():
            if self._fresh.get(id(loop)) is fresh:
                del self._fresh[id(loop)]
            self.watch.saw_loop = True
            for task in fresh:
                if self._is_told(task):
                    continue
                if getattr(task, "_must_cancel", False) and not task.done() and _never_began(task):
                    leak = _cancelled_leak(task)
                    # A library that stops what it has just started knows what it does.
                    if line_of(leak.made) is not None:
                        self.tell(task)
                        self.watch.add(self.owner_of(task), leak)

    def owner_of(self, task: Any) -> Owner | None:
        """Return who answers for *task*."""
        if _TASKS_TELL_THEIR_CONTEXT and hasattr(task, "get_context"):
            mine = task.get_context().get(owners.current)
        else:
            mine = self._owners.get(id(task))
        return self.watch.owner_of(task, mine)

    # When a loop ends

    def _cancel_all(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _cancel_all_tasks(loop: Any) -> Any:
            with self.watch.guarded():
                self.loop_ends(loop, "still pending when its event loop ended, and cancelled only for that")
            with self.watch.generators.loop_is_ending():
                return original(loop)

        return _cancel_all_tasks

    def loop_ends(self, loop: Any, state: str) -> None:
        """Take down what is pending on *loop*, which nothing will wait for any more."""
        self._fresh.pop(id(loop), None)
        for task in _pending(loop):
            if not self._is_told(task):
                self.tell(task)
                self.watch.add(self.owner_of(task), _leak(task, state))

    def loop_gone(self, key: int) -> None:
        """Forget a loop by its `id`, which another one may have next."""
        self._fresh.pop(key, None)

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        current = _current_task()
        for loop in tuple(self._loops.known):
            if loop.is_closed():
                continue
            for task in _pending(loop):
                mine = self.owner_of(task)
                if mine is None or mine not in of or self._is_told(task) or _is_below(task, current):
                    continue
                yield Left(task, mine, _leak(task, "still pending"))

    def tell(self, task: Any) -> None:
        """Say that a task has been reported."""
        self._told[id(task)] = _name(task)

    def _is_told(self, task: Any) -> bool:
        # A future has no name, and says its last word only once.
        return self._told.get(id(task)) == _name(task)

    # What a loop complains of

    def _handle_exception(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call_exception_handler(loop: Any, context: dict[str, Any]) -> Any:
            with self.watch.guarded():
                self._complaint(context)
            return original(loop, context)

        return call_exception_handler

    def _complaint(self, context: dict[str, Any]) -> None:
        message = str(context.get("message", ""))
        future = context.get("task") or context.get("future")
        if future is None or self._is_told(future):
            return
        mine = self.owner_of(future) if isinstance(future, asyncio.Task) else owners.current.get()
        if message.startswith("Task was destroyed but it is pending"):
            self.tell(future)
            self.watch.add(mine, _leak(future, "destroyed while it was pending"))
        elif message.endswith("exception was never retrieved"):
            self.watch.add(mine, _exception_leak(future, context.get("exception")))

    # Generators

    def _begin_generator(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _asyncgen_firstiter_hook(loop: Any, generator: Any) -> Any:
            self.watch.generators.begun(generator, loop)
            return original(loop, generator)

        return _asyncgen_firstiter_hook

    def _collect_generator(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _asyncgen_finalizer_hook(loop: Any, generator: Any) -> Any:
            self.watch.generators.collected(generator)
            return original(loop, generator)

        return _asyncgen_finalizer_hook

    def _shut_generators(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def shutdown_asyncgens(loop: Any) -> Any:
            self.watch.generators.closed_by(loop)
            return original(loop)

        return shutdown_asyncgens


def _name(future: Any) -> str:
    return future.get_name() if isinstance(future, asyncio.Task) else ""


def _current_task() -> asyncio.Task[Any] | None:
    loop = asyncio._get_running_loop()
    return asyncio.current_task(loop) if loop is not None else None


def _pending(loop: Any) -> list[asyncio.Task[Any]]:
    """Return the tasks of *loop* that nobody has asked to end."""
    return [task for task in asyncio.all_tasks(loop) if not _asked_to_end(task) and not _is_machinery(task)]


def _asked_to_end(task: Any) -> bool:
    # It was cancelled, and the loop has not had a turn since to tell it.
    cancelling = getattr(task, "cancelling", None)
    return cancelling is not None and cancelling() > 0


# Coroutines that runners and loops run for themselves: the one that all tests of anyio's plugin run in, and those with
# which a loop closes what others have dropped.
_MACHINERY = frozenset({"TestRunner._run_tests_and_fixtures", "BaseEventLoop.shutdown_asyncgens"})


def _is_machinery(task: Any) -> bool:
    coroutine = task.get_coro()
    if not iscoroutine(coroutine):
        return type(coroutine).__name__ == "async_generator_athrow"
    return coroutine.__qualname__ in _MACHINERY and code_owner(coroutine.cr_code.co_filename) != "user"


def _is_below(task: Any, current: Any) -> bool:
    """Tell whether *task* is the one that runs, or waits for the one that does."""
    if current is None:
        return False
    for _ in range(100):
        if task is current:
            return True
        waiting_for = getattr(task, "_fut_waiter", None)
        if current in (getattr(waiting_for, "_children", None) or ()):
            return True
        task = waiting_for
        if task is None:
            return False
    return False


def _never_began(task: Any) -> bool:
    coroutine = task.get_coro()
    return iscoroutine(coroutine) and getcoroutinestate(coroutine) == CORO_CREATED


def _cancelled_leak(task: Any) -> Leak:
    return dropped(task.get_coro(), f"never ran: its task {task.get_name()!r} was cancelled before the first step")


def _leak(task: Any, state: str) -> Leak:
    coroutine = task.get_coro()
    made = makers_by_origin(getattr(coroutine, "cr_origin", None))
    what = coroutine_name(coroutine) if coroutine is not None else ""
    # 3.13 calls an eager task None where nobody has named it.
    name = "a task" if task.get_name() == "None" else task.get_name()
    if _never_began(task):
        return Leak("task", name, place_made(coroutine, made), what=what, state=f"{state}; it never began", made=made)
    found = suspension(coroutine)
    return Leak(
        "task",
        name,
        place_made(coroutine, made),
        what=what,
        state=state,
        waits=found.kind if found.place is not None else "",
        at=found.place,
        made=made,
    )


def _exception_leak(future: Any, error: BaseException | None) -> Leak:
    coroutine = future.get_coro() if isinstance(future, asyncio.Task) else None
    made = makers_by_origin(getattr(coroutine, "cr_origin", None))
    stack = tuple(
        Place(os.path.abspath(frame.filename), frame.lineno or 0, frame.name)
        for frame in traceback.extract_tb(error.__traceback__ if error is not None else None)
    )
    name = _name(future) or type(future).__name__
    text = "".join(traceback.format_exception_only(error)).strip() if error is not None else ""
    place = place_made(coroutine, made) if coroutine is not None else None
    return Leak("exception", name, place, what=text, state="raised, and nobody looked", stack=stack, made=made)
