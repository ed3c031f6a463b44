"""Watches what is started, all kinds together, and tells what of it is left behind."""

from __future__ import annotations

import _thread
import gc
import os
import weakref
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from .._imports import when_imported
from .coroutines import Coroutines
from .executors import Executors
from .generators import Generators
from .processes import Processes
from .threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from .._trace import Leak
    from .asyncio_loops import Loops
    from .asyncio_tasks import Tasks
    from .owner import Owner
    from .source import Left, Source

T = TypeVar("T")
# What runs beside us gets this long to end, in growing pauses, as Go's goleak does: under half a second in all.
_PAUSES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)


class Watch:
    """Takes down what is started while it is on, and by whom (see `owner`).

    Args:
        failed: Is told in words why nothing is watched any more.
    """

    depth = 1
    """How many lines a coroutine remembers of where it was made. Each one costs every coroutine that is made."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._undo = ExitStack()
        self._pid = os.getpid()
        self._seen: list[tuple[Owner, Leak]] = []
        self._moved: weakref.WeakKeyDictionary[Any, Owner] = weakref.WeakKeyDictionary()
        self.orphans: list[Leak] = []
        """What nobody knows the owner of."""
        self.is_on = False
        self.saw_loop = False
        """Whether an event loop was made or did anything, since somebody last set this."""
        self.loops: Loops | None = None
        self.tasks: Tasks | None = None
        """There is no loop to watch as long as nobody has imported asyncio."""
        self.executors = Executors(self)
        self.generators = Generators(self)
        self.threads = Threads(self)
        self._sources: list[Source] = [
            self.executors, self.generators, self.threads, Coroutines(self), Processes(self),
        ]  # fmt: skip

    # On and off

    def install(self) -> None:
        """Begin to watch."""
        self.is_on = True
        for source in self._sources:
            source.install(self._undo)
        self._undo.enter_context(when_imported("asyncio", self._watch_asyncio, on_failure=self.fail))
        self._undo.enter_context(when_imported("trio", self._watch_trio, on_failure=self.fail))

    def _watch_asyncio(self) -> None:
        from .asyncio_loops import Loops
        from .asyncio_tasks import Tasks

        self.loops = Loops(self)
        self.tasks = Tasks(self, self.loops)
        for source in (self.tasks, self.loops):
            source.install(self._undo)
            self._sources.append(source)

    def _watch_trio(self) -> None:
        from .trio_tasks import SystemTasks

        source = SystemTasks(self)
        source.install(self._undo)
        self._sources.append(source)

    def remove(self) -> None:
        """Undo all that was put in place."""
        self.is_on = False
        self._undo.close()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Keep a mistake of ours from the user's program: it ends the watching, not the test."""
        try:
            yield
        except Exception as error:
            if self.is_on:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """Switch the watching off, after a mistake of ours or where a library cannot be watched."""
        if not self.is_on:
            return
        self.is_on = False
        self._seen.clear()
        self._failed(f"leaks are not looked for any more: {type(error).__name__}: {error}")

    # What is seen

    def owner_of(self, thing: Any, owner: T) -> Owner | T:
        """Return who answers for *thing*, which *owner* started: somebody may have taken it over."""
        return self._moved.get(thing, owner) if self._moved and thing is not None else owner

    def add(self, owner: Owner | None, leak: Leak) -> None:
        """Take down that something was left behind; what nobody in particular started is nobody's."""
        if owner is not None and self.is_on and os.getpid() == self._pid:
            self._seen.append((owner, replace(leak, fixture=owner.fixture)))

    def add_orphan(self, leak: Leak) -> None:
        """Take down that something was left behind, by one of the tests so far."""
        if self.is_on:
            self.orphans.append(leak)

    def move(self, thing: Any, owner: Owner) -> None:
        """Let *owner* answer for *thing*, which somebody else started."""
        self._moved[thing] = owner

    def take(self, of: Container[Owner]) -> list[Leak]:
        """Return what was seen to be left behind by these owners, once."""
        taken = [leak for owner, leak in self._seen if owner in of]
        self._seen = [(owner, leak) for owner, leak in self._seen if owner not in of]
        return taken

    def collect(self) -> None:
        """Have young garbage found: what lies in a cycle is to be this test's, not a later one's."""
        if self.saw_loop:
            self.saw_loop = False
            gc.collect(1)

    def left(self, of: Container[Owner], counts: Callable[[Leak], bool], *, patient: bool = True) -> list[Left]:
        """Return what these owners started and what is still there.

        Args:
            counts: Tells what is worth waiting for.
            patient: Give threads and processes a moment to end.
        """
        if not self.is_on or os.getpid() != self._pid:
            return []
        try:
            found = self._look(of)
            for pause in _PAUSES if patient else ():
                if not any(left.can_still_end and counts(left.leak) for left in found):
                    break
                # Not `time.sleep`, which a test may have replaced: a lock that is taken waits as well.
                lock = _thread.allocate_lock()
                lock.acquire()
                lock.acquire(timeout=pause)
                found = self._look(of)
        except Exception as error:
            self.fail(error)
            return []
        return found

    def _look(self, of: Container[Owner]) -> list[Left]:
        found = [left for source in self._sources for left in source.left(of)]
        return [replace(left, leak=replace(left.leak, fixture=left.owner.fixture)) for left in found]

    def forget(self, of: Container[Owner]) -> None:
        """Drop what was taken down for these owners, who answer for nothing any more."""
        self.take(of)
        for source in self._sources:
            source.forget(of)
