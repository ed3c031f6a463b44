"""Strands and steps of trio's tasks, in `trio.run` and in guest mode, and holding calls there."""

from __future__ import annotations

import sys
import threading
import weakref
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from .._originals import get_ident
from .._patching import patched
from .._sequence import next_number
from .._trace import Step
from .awaiting import Suspension, suspension
from .door import Held, Survey, Timers, WaitingRoom
from .recorder import Here
from .resources import note_uses, note_wakes
from .threads import moving_threads
from .wait_graph import LIMITS, Look, WaitGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .door import Door, Doors
    from .recorder import LiveSpan, LiveStrand, Recorder

_RUNNERS = ("/pytest_trio/", "/anyio/pytest_plugin.py", "/anyio/_backends/")
_SHORTEST, _LONGEST = 0.0005, 0.01


@contextmanager
def record(recorder: Recorder, doors: Doors) -> Iterator[None]:
    """Tell *recorder* of every task, and give *doors* a gate in every run, for the length of the `with` block."""
    from trio._core import _run

    watcher = _Watcher(recorder)
    gates = _Gates(doors)

    def setup_runner(original: Callable[..., Any]) -> Callable[..., Any]:
        def setup(clock: Any, instruments: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
            return original(clock, [*instruments, watcher], *args, **kwargs)

        return setup

    with ExitStack() as undo:
        recorder.locators.insert(0, watcher.locate)
        undo.callback(recorder.locators.remove, watcher.locate)
        doors.find_gate.insert(0, gates.here)
        undo.callback(doors.find_gate.remove, gates.here)
        # `trio.run` and `start_guest_run` both set their runner up here; a run that began before is met in `locate`.
        undo.enter_context(patched(_run, "setup_runner", setup_runner, needed=True))
        undo.callback(watcher.stop)
        for cls in (trio.Lock, trio.StrictFIFOLock):
            note_uses(undo, recorder, cls, "lock", takes="acquire", gives="release")
        note_uses(undo, recorder, trio.Semaphore, "semaphore", takes="acquire", gives="release")
        note_uses(
            undo, recorder, trio.CapacityLimiter, "limiter", takes="acquire_on_behalf_of", gives="release_on_behalf_of"
        )
        note_uses(undo, recorder, trio.MemoryReceiveChannel, "queue", takes="receive")
        note_wakes(undo, recorder, trio.Event, "set")
        note_wakes(undo, recorder, trio.MemorySendChannel, "send_nowait")
        yield


def here_of(task: trio.lowlevel.Task) -> Here:
    """Return how *task* is known to the recorder."""
    code = getattr(task.coro, "cr_code", None)
    path = code.co_filename.replace("\\", "/") if code is not None else ""
    return Here(task, "trio-task", task.name, "trio", foreign=any(part in path for part in _RUNNERS))


class _Watcher(trio.abc.Instrument):
    """Writes down when tasks start, step and end."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._steps: weakref.WeakKeyDictionary[Any, tuple[int, float]] = weakref.WeakKeyDictionary()
        self._joined: weakref.WeakSet[Any] = weakref.WeakSet()
        self._stopped = False

    def stop(self) -> None:
        # A run that outlives the test keeps the instrument until its next step: only there can it be taken out.
        self._stopped = True

    def locate(self) -> Here | None:
        try:
            task = trio.lowlevel.current_task()
        except RuntimeError:
            return None
        known = self._recorder.known(task)
        if known is None:
            self._join_run()
            return here_of(task)
        return Here(task, "trio-task", "", "trio")

    def _join_run(self) -> None:
        """Put the instrument into a run that was set up before the recording began."""
        token = trio.lowlevel.current_trio_token()
        if token not in self._joined:
            self._joined.add(token)
            trio.lowlevel.add_instrument(self)

    def _strand(self, task: trio.lowlevel.Task) -> LiveStrand:
        live = self._recorder.known(task)
        return live if live is not None else self._recorder.strand_for(here_of(task))

    def before_run(self) -> None:
        self._joined.add(trio.lowlevel.current_trio_token())

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if self._stopped:
            return
        nursery = task.parent_nursery
        # The run's own tasks hang below its init task: the main task, and system tasks.
        is_root = nursery is None or nursery.parent_task.parent_nursery is None
        parent = None if is_root or nursery is None else self._recorder.known(nursery.parent_task)
        with self._recorder.creating(parent, root=is_root, caller=sys._getframe(1)):
            self._strand(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._stopped:
            with suppress(KeyError):
                trio.lowlevel.remove_instrument(self)
            return
        if self._recorder.courses is not None:
            self._recorder.courses.resumes(self._strand(task), partial(look_back, task))
        self._steps[task] = (next_number(), self._recorder.now())

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        begun = self._steps.pop(task, None)
        if begun is not None and not self._stopped:
            first, start = begun
            if self._recorder.courses is not None:
                self._recorder.courses.pauses(self._strand(task))
            self._strand(task).steps.append(Step(first, next_number(), start, self._recorder.now()))

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        live = self._recorder.known(task)
        if live is not None and not self._stopped:
            begun = self._steps.pop(task, None)
            if begun is not None:
                live.steps.append(Step(begun[0], next_number(), begun[1], self._recorder.now()))
            self._recorder.end_strand(live)


class _Gates:
    """The gates of all trio runs in one test."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.known_threads = frozenset(thread.ident or 0 for thread in threading.enumerate()) - {
            threading.main_thread().ident or 0
        }
        self._gates: weakref.WeakKeyDictionary[Any, _Gate] = weakref.WeakKeyDictionary()

    def here(self) -> _Gate | None:
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            return None
        gate = self._gates.get(token)
        if gate is None:
            gate = self._gates[token] = _Gate(self)
        return gate


class _Gate:
    """The calls held in one run."""

    def __init__(self, gates: _Gates) -> None:
        self._gates = gates
        self._token = weakref.ref(trio.lowlevel.current_trio_token())
        self._watching = False
        self._nudged = trio.Event()
        self._thread = get_ident()
        self.room = WaitingRoom(gates.doors, self._survey)

    async def hold(self, door: Door, live: LiveSpan, pending: BaseException | None) -> None:
        """Return when the call may go; a cancellation ends the wait and is not lost."""
        opened = trio.Event()
        held = Held(door, live, trio.lowlevel.current_task(), trio.current_time(), opened.set)
        self.room.held.append(held)
        if self._watching:
            self._nudged.set()
        else:
            self._watching = True
            trio.lowlevel.spawn_system_task(self._watch, name="<pytest_concurrency: who can still move?>")
        try:
            await opened.wait()
        except trio.Cancelled:
            # The work had ended with an exception before the cancellation came: that is what the caller is to see.
            if pending is None:
                raise
        finally:
            if held in self.room.held:
                self.room.held.remove(held)

    def nudge(self) -> None:
        if get_ident() == self._thread:
            self._nudged.set()
            return
        token = self._token()
        if token is not None and self.room.held:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._nudged.set)

    async def _watch(self) -> None:
        delay = _SHORTEST
        try:
            while True:
                # A program that is never all blocked must not keep its held calls for ever.
                with trio.move_on_after(_LONGEST):
                    await trio.testing.wait_all_tasks_blocked()
                state = self.room.look(trio.current_time())
                if state == "empty":
                    return
                if state == "idle":
                    self._nudged = trio.Event()
                    with trio.move_on_after(delay):
                        await self._nudged.wait()
                    delay = min(delay * 2, _LONGEST)
        finally:
            self._watching = False

    def _survey(self, held: Iterable[Held], horizon: float) -> Survey:
        graph = _graph({h.key for h in held}, self._gates.doors.recorder)
        pending = graph.outside(lambda task: task.name, {"worker": "a worker", "io": "a socket"})
        pending += moving_threads(self._gates.known_threads, exclude=get_ident())
        return Survey(
            busy=any(look.kind == "ready" for look in graph.looks.values()),
            timers=_timers(graph, horizon),
            outside=tuple(pending),
            waits=graph.waits(),
        )


def _graph(held: set[Any], recorder: Recorder) -> WaitGraph:
    looks: dict[Any, Look] = {}
    root = trio.lowlevel.current_root_task()
    queue = [root] if root is not None else []
    while queue:
        task = queue.pop()
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        queue += children
        found = suspension(task.coro)
        # Trio's own tasks and ours wait for nothing that the program does.
        own = ("_core/_entry_queue.py", "_record/trio.py")
        if task is not root and not found.root.replace("\\", "/").endswith(own):
            looks[task] = look(task, found, held, children)
    return WaitGraph(looks, held, recorder)


def look_back(task: trio.lowlevel.Task) -> Look:
    """Return what *task* has waited for, which is about to go on."""
    found = suspension(task.coro)
    return Look(found.kind, found.place, found.resource if found.kind in LIMITS | {"event"} else None)


def look(task: trio.lowlevel.Task, found: Suspension, held: set[Any], children: list[Any]) -> Look:
    """Return what *task* waits for, which is suspended as *found*; for one of those *held*, that it is."""
    if task in held:
        return Look("held", found.place, chain=found.chain)
    # Trio puts the means to interrupt a task there for as long as it is blocked.
    if getattr(task, "_abort_func", True) is None:
        return Look("ready", found.place)
    return Look(
        found.kind,
        found.place,
        found.resource if found.kind in LIMITS else None,
        tuple(children) if found.kind == "task" else (),
    )


def _timers(graph: WaitGraph, horizon: float) -> Timers:
    """Return which deadlines could bring something in before *horizon*, in the run's time."""
    own = {_deadline(task) for task in graph.behind}
    others = {_deadline(task) for task in graph.looks if task not in graph.behind} - own - {float("inf")}
    return Timers(
        soon=any(deadline <= horizon for deadline in others),
        later=any(deadline > horizon for deadline in others),
        strikes=min(own - {float("inf")}, default=None),
    )


def _deadline(task: Any) -> float:
    """Return when *task* will be cancelled, in the run's time; infinity if never, or if trio does not say."""
    status = getattr(task, "_cancel_status", None)
    return status.effective_deadline() if status is not None else float("inf")
