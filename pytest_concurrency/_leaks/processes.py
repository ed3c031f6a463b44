"""Child processes that still run, or have ended and were not waited for."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._patching import patched
from .._trace import Leak
from . import owner as owners
from .executors import pool_behind
from .makers import line_of, makers_of, name_of
from .source import Left, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from contextlib import ExitStack

    from .._trace import Maker
    from .owner import Owner


@dataclass(slots=True, eq=False)
class _Record:
    process: weakref.ref[Any]
    pid: int
    name: str
    what: str
    owner: Owner
    made: tuple[Maker, ...]
    pool: weakref.ref[Any] | None = None


class Processes(Source):
    """Takes down every process of `subprocess` and `multiprocessing`."""

    def install(self, undo: ExitStack) -> None:
        self._records: list[_Record] = []
        undo.enter_context(patched(subprocess.Popen, "__init__", self._popen))
        self.when_imported(undo, "multiprocessing.process", lambda: self._watch_multiprocessing(undo))

    def _watch_multiprocessing(self, undo: ExitStack) -> None:
        from multiprocessing.process import BaseProcess

        undo.enter_context(patched(BaseProcess, "start", self._start))

    def _popen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(process: Any, *args: Any, **kwargs: Any) -> None:
            original(process, *args, **kwargs)
            with self.watch.guarded():
                self._note(process, process.pid, "", _command(process), sys._getframe(1))

        return __init__

    def _start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def start(process: Any) -> None:
            # It is gone from the process object once that has started.
            target = getattr(process, "_target", None)
            original(process)
            with self.watch.guarded():
                what = name_of(target) if target is not None else type(process).__qualname__
                self._note(process, process.pid, process.name, what, sys._getframe(1))

        return start

    def _note(self, process: Any, pid: int, name: str, what: str, frame: Any) -> None:
        pool = pool_behind(frame)
        mine = self.watch.executors.owner_of(pool) if pool is not None else owners.current.get()
        if mine is not None:
            reference = weakref.ref(pool) if pool is not None else None
            self._records.append(_Record(weakref.ref(process), pid, name, what, mine, makers_of(frame), reference))

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        states = [(record, _state(record)) for record in self._records]
        self._records = [record for record, state in states if state]
        for record, state in states:
            process = record.process()
            mine = self.watch.owner_of(process, record.owner)
            pool = record.pool() if record.pool is not None else None
            if not state or mine not in of or (pool is not None and self.watch.executors.is_open(pool)):
                continue
            name = f"{record.name}, pid {record.pid}" if record.name else f"pid {record.pid}"
            leak = Leak("process", name, line_of(record.made), what=record.what, state=state, made=record.made)
            yield Left(process, mine, leak, can_still_end=True)

    def forget(self, of: Container[Owner]) -> None:
        self._records = [record for record in self._records if record.owner not in of]


def _state(record: _Record) -> str:
    """Return in which state a child is, empty where it is gone. Looking takes no child from whoever waits for it."""
    process = record.process()
    popen = getattr(process, "_popen", None) or process
    if getattr(popen, "returncode", None) is not None:
        return ""
    if process is not None and hasattr(process, "_popen") and process._popen is None:
        # Closed.
        return ""
    if sys.platform != "win32" and hasattr(os, "waitid"):
        try:
            ended = os.waitid(os.P_PID, record.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # Not a child of ours: the forkserver's, which waits for it, or waited for by its number.
            return "still running" if _is_running(popen) else ""
        return "still running" if ended is None else "ended, but never waited for: a zombie"
    return "still running" if _is_running(popen) else ""


def _is_running(popen: Any) -> bool:
    poll = getattr(popen, "poll", None)
    return poll is not None and poll() is None


def _command(process: Any) -> str:
    arguments = process.args
    if isinstance(arguments, (str, bytes, os.PathLike)):
        return os.fsdecode(arguments)
    return shlex.join(os.fsdecode(each) for each in arguments)
