"""Child processes of a recorded test: forked ones go on recording, others are told to begin.

Every child writes a journal of its own into a folder that only this test knows; it is read when the trace is asked for.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import weakref
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._imports import when_imported
from .._patching import patched
from .._places import callers
from .._trace import Strand
from .journal import Child, Journal, Start, is_alive, read
from .merge import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._trace import Trace
    from .recorder import Recorder

_ATTRIBUTE = "_pytest_concurrency"
_active: weakref.WeakSet[Children] = weakref.WeakSet()


class Children:
    """The child processes of one recording."""

    def __init__(self, recorder: Recorder, summons: Callable[[str, Start], Any], on_fork: Callable[[], None]) -> None:
        self._recorder = recorder
        self._summons = summons
        self._on_fork = on_fork
        self._folder: str | None = None
        self._owner = os.getpid()
        self._start = threading.local()
        self._started: list[Child] = []

    @contextmanager
    def record(self, folder: str | None = None) -> Iterator[None]:
        """Record the children that start inside the `with` block, in *folder* where there is one already."""
        self._folder = folder
        with ExitStack() as undo:
            undo.enter_context(when_imported("multiprocessing.process", lambda: self._watch_multiprocessing(undo)))
            _active.add(self)
            undo.callback(_active.discard, self)
            if folder is None:
                undo.callback(self._remove)
            yield

    def merged(self, trace: Trace) -> Trace:
        """Return *trace* with what the children did."""
        if self._folder is None:
            return trace
        told = read(Path(self._folder))
        pids = {child.pid for child in told if child.strands}
        # One that has told nothing (yet), or could not.
        silent = [child for child in self._started if child.pid not in pids]
        for child in silent:
            child.ended = not is_alive(child.pid)
        return merged(trace, [*(child for child in told if child.strands), *silent])

    def _watch_multiprocessing(self, undo: ExitStack) -> None:
        from multiprocessing.process import BaseProcess

        def make(original: Callable[[Any], None]) -> Callable[[Any], None]:
            @wraps(original)
            def start(process: Any) -> None:
                if not self._recorder.is_here:
                    original(process)
                    return
                begun = self._started_here(sys._getframe(1))
                self._start.value, self._start.process = begun, process
                # It goes to the child with the process object, whichever way that takes, and does nothing here.
                process.__dict__[_ATTRIBUTE] = self._summons(self.folder(), begun)
                try:
                    original(process)
                    self._started.append(self._silent(process, begun))
                finally:
                    del self._start.value, self._start.process
                    process.__dict__.pop(_ATTRIBUTE, None)

            return start

        undo.enter_context(patched(BaseProcess, "start", make))

    def folder(self) -> str:
        """Return the folder of the journals, which nobody but this user can look into."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="pytest-concurrency-")
        return self._folder

    def _silent(self, process: Any, start: Start) -> Child:
        now = self._recorder.now()
        strand = Strand(1, "process", process.name, process.pid, 0, first=1, start=now, place=start.place)
        return Child(process.pid, process.name, start, {1: strand})

    def _remove(self) -> None:
        if self._folder is not None and os.getpid() == self._owner:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _started_here(self, frame: Any) -> Start:
        recorder = self._recorder
        place = next(iter(callers(frame, 1)), None)
        strand = recorder.here().strand
        return Start(strand.id, strand.pid, place, recorder.in_body or strand.started_by_test)

    # Around a fork, in any of this process's threads

    def before_fork(self) -> None:
        if self._recorder.is_here:
            self.folder()
            if not hasattr(self._start, "value"):
                self._start.forked = self._started_here(sys._getframe(2))

    def after_fork_in_child(self) -> None:
        start = getattr(self._start, "value", None) or getattr(self._start, "forked", None)
        if start is None or self._folder is None:
            return
        process = getattr(self._start, "process", None)
        name = f"process {os.getpid()}"
        if process is not None:
            name = process.name
            tell_the_end(self._recorder)
        self._start, self._started = threading.local(), []
        self._recorder.restart(Journal(self._folder, name, start))
        self._on_fork()


def tell_the_end(recorder: Recorder) -> None:
    """Say when this process, which `multiprocessing` has started, is about to end."""
    from multiprocessing.process import BaseProcess

    original = BaseProcess._bootstrap  # type: ignore[attr-defined]  # what a child does, from its start to its end

    def bootstrap(process: Any, *args: Any, **kwargs: Any) -> Any:
        BaseProcess._bootstrap = original  # type: ignore[attr-defined]
        process.__dict__.pop(_ATTRIBUTE, None)
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
