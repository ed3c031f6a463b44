"""Child processes of a recorded test: forked ones go on recording, others are told to begin.

Every process writes a journal of its own into a folder that only this test knows. The others look into it while one of
them holds a call; all are read when the trace is asked for.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import weakref
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .._folder import private_folder
from .._frames import current_frames
from .._imports import when_imported
from .._originals import allocate_lock
from .._patching import patched
from .._places import callers
from .._trace import Strand
from . import subprocesses
from .journal import Child, Journal, Start, close_folder, is_alive, open_folder, read
from .merge import merged
from .others import OtherProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._trace import Trace
    from .door import Doors
    from .recorder import Recorder

_ATTRIBUTE = "_pytest_concurrency"
_active: weakref.WeakSet[Children] = weakref.WeakSet()


class Summons(Protocol):
    """Tells a child process what to record: pickled with its process object, or as text in its environment."""

    def as_text(self) -> str: ...


class Children:
    """The child processes of one recording.

    Args:
        summon: Makes what tells a child to begin.
        on_fork: Called in a forked child, which goes on recording.
        on_over: Called in a child that lives on when the test is over.
    """

    def __init__(
        self,
        recorder: Recorder,
        doors: Doors,
        summon: Callable[[str, Start], Summons],
        on_fork: Callable[[], None],
        on_over: Callable[[], None],
    ) -> None:
        self._recorder = recorder
        self._doors = doors
        self._summon = summon
        self._on_fork = on_fork
        self._on_over = on_over
        self._folder: str | None = None
        self._owner = os.getpid()
        self._start = threading.local()
        self._started: list[Child] = []
        self._lock = allocate_lock()

    @contextmanager
    def record(self, folder: str | None = None) -> Iterator[None]:
        """Record the children that start inside the `with` block, in *folder* where there is one already."""
        self._folder = folder
        with ExitStack() as undo:
            undo.enter_context(when_imported("multiprocessing.process", lambda: self._watch_multiprocessing(undo)))
            undo.enter_context(when_imported("subprocess", lambda: undo.enter_context(subprocesses.watch(self))))
            _active.add(self)
            undo.callback(_active.discard, self)
            if folder is None:
                undo.callback(self._remove)
            yield

    def merged(self, trace: Trace) -> Trace:
        """Return *trace* with what the children did."""
        if self._folder is None:
            return trace
        told = [child for child in read(Path(self._folder)) if child.pid != os.getpid()]
        pids = {child.pid for child in told if child.strands}
        problems = {child.pid: child.problem for child in told}
        # One that has told nothing (yet), or could not.
        silent = [child for child in self._started if child.pid not in pids]
        for child in silent:
            child.ended = not is_alive(child.pid)
            child.problem = problems.get(child.pid, child.problem)
        return merged(trace, [*(child for child in told if child.strands), *silent])

    def summons(self, start: Start) -> Summons:
        """Return what tells a child process to begin."""
        return self._summon(self._there(), start)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """A process is being started inside the `with` block."""
        self._there()
        journal = self._recorder.journal
        if journal is not None:
            journal.starts(+1)
        try:
            yield
        finally:
            if journal is not None:
                journal.starts(-1)

    def started(self, pid: int, name: str, start: Start, problem: str = "") -> None:
        """Take down that a process has been started, and what is to be said where it tells nothing."""
        strand = Strand(1, "process", name, pid, 0, first=1, start=self._recorder.now(), place=start.place)
        self._started.append(Child(pid, name, start, {1: strand}, problem=problem))
        if self._recorder.journal is not None:
            self._recorder.journal.started(pid)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that is recorded."""
        return self._recorder.is_here

    def start_here(self, frame: Any) -> Start:
        """Return who starts a process at *frame*."""
        recorder = self._recorder
        place = next(iter(callers(frame, 1)), None)
        strand = recorder.here().strand
        return Start(strand.id, strand.pid, place, recorder.in_body or strand.started_by_test)

    def _watch_multiprocessing(self, undo: ExitStack) -> None:
        from multiprocessing.process import BaseProcess

        undo.enter_context(patched(BaseProcess, "start", self._starts))
        undo.enter_context(patched(BaseProcess, "join", self._joins))

    def _starts(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        @wraps(original)
        def start(process: Any) -> None:
            if not self.is_here:
                original(process)
                return
            begun = self.start_here(sys._getframe(1))
            self._start.value, self._start.process = begun, process
            # It goes to the child with the process object, whichever way that takes, and does nothing here.
            process.__dict__[_ATTRIBUTE] = self.summons(begun)
            try:
                with self.starting():
                    original(process)
                    if self.is_here:
                        self.started(process.pid, process.name, begun)
            finally:
                if self.is_here:
                    del self._start.value, self._start.process
                process.__dict__.pop(_ATTRIBUTE, None)

        return start

    def _joins(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def join(process: Any, timeout: float | None = None) -> Any:
            journal = self._recorder.journal
            if timeout is not None or journal is None or not self.is_here or len(current_frames()) > 1:
                return original(process, timeout)
            # The one thread of this process can do nothing before the other process ends.
            journal.rests(process.pid)
            try:
                return original(process, timeout)
            finally:
                journal.rests(None)

        return join

    def _there(self) -> str:
        """Return the folder of the journals, which nobody but this user can look into."""
        with self._lock:
            if self._folder is None:
                folder = private_folder()
                open_folder(folder)
                journal = Journal(folder, "of the test", Start(0, os.getpid(), None, by_test=False))
                journal.ready()
                self._recorder.tell(journal, OtherProcesses(folder))
                self._doors.tell(journal)
                self._folder = folder
            return self._folder

    def _remove(self) -> None:
        if self._folder is not None and os.getpid() == self._owner:
            close_folder(self._folder)
            if self._recorder.journal is not None:
                self._recorder.journal.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    # Around a fork, in any of this process's threads

    def before_fork(self) -> None:
        if self.is_here:
            self._there()
            if not hasattr(self._start, "value"):
                self._start.forked = self.start_here(sys._getframe(2))

    def after_fork_in_child(self) -> None:
        start = getattr(self._start, "value", None) or getattr(self._start, "forked", None)
        if start is None or self._folder is None:
            return
        process = getattr(self._start, "process", None)
        self._start, self._started, self._lock = threading.local(), [], allocate_lock()
        if self._recorder.journal is not None:
            # A copy of the parent's: what it says is the parent's to say.
            self._recorder.journal.close()
        name = process.name if process is not None else f"process {os.getpid()}"
        journal = Journal(self._folder, name, start, self._on_over)
        self._recorder.restart(journal, OtherProcesses(self._folder))
        if process is not None:
            tell_start_and_end(self._recorder)
        else:
            journal.ready()
        self._on_fork()


def tell_start_and_end(recorder: Recorder) -> None:
    """Say when this process, which `multiprocessing` has started, begins with its own work and when it is to end."""
    from multiprocessing.process import BaseProcess

    original = BaseProcess._bootstrap  # type: ignore[attr-defined]  # what a child does, from its start to its end

    def bootstrap(process: Any, *args: Any, **kwargs: Any) -> Any:
        BaseProcess._bootstrap = original  # type: ignore[attr-defined]
        process.__dict__.pop(_ATTRIBUTE, None)
        if recorder.journal is not None:
            recorder.journal.ready()
        try:
            return original(process, *args, **kwargs)
        finally:
            recorder.end_strand(recorder.here())

    BaseProcess._bootstrap = bootstrap  # type: ignore[attr-defined]


def _each(method: str) -> None:
    for children in tuple(_active):
        try:
            getattr(children, method)()
        except Exception:
            # A fork of the user's goes first: this child, or what it does, is not recorded.
            _active.discard(children)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _each("before_fork"), after_in_child=lambda: _each("after_fork_in_child"))
