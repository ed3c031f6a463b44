"""Record what a test hands to its child processes, and ask a fresh child what it has of it.

Functions are looked at when they are handed over: what they read may be something else when the test has failed.
"""

from __future__ import annotations

import inspect
import os
import pickle
import stat
import threading
import types
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from .._imports import when_imported
from .._patching import patched
from .facts import Descriptor, Facts, Reading, Refused
from .probe import answer
from .reads import readings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE = 20.0
"""Seconds that a fresh child has to answer: it imports the program anew."""
_MOST = 50
_CANNOT = (pickle.PicklingError, AttributeError, TypeError)


class Handovers:
    """What one test gives to its children, under one start method."""

    def __init__(self, method: str) -> None:
        self.method = method
        self._seen: set[object] = set()
        self._readings: dict[tuple[str, tuple[str, ...]], Reading] = {}
        self._refused: list[Refused] = []
        self._descriptors: dict[int, Descriptor] = {}
        self._threads: tuple[str, ...] | None = None
        self._pid = os.getpid()

    @contextmanager
    def record(self) -> Iterator[None]:
        """Look at what is handed over inside the `with` block."""
        from multiprocessing.process import BaseProcess

        with ExitStack() as undo:
            undo.enter_context(patched(BaseProcess, "start", self._started))
            undo.enter_context(when_imported("multiprocessing.pool", lambda: self._watch_pool(undo)))
            undo.enter_context(when_imported("concurrent.futures.process", lambda: self._watch_executor(undo)))
            yield

    def _watch_pool(self, undo: ExitStack) -> None:
        from multiprocessing.pool import Pool

        for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
            undo.enter_context(patched(Pool, name, self._submitted))

    def _watch_executor(self, undo: ExitStack) -> None:
        from concurrent.futures import ProcessPoolExecutor

        undo.enter_context(patched(ProcessPoolExecutor, "submit", self._submitted))

    def _started(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        @wraps(original)
        def start(process: Any) -> None:
            self._safely(self._note_process, process)
            try:
                original(process)
            except _CANNOT:
                self._safely(self._note_refused, process)
                raise

        return start

    def _submitted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def submit(pool: Any, /, *args: Any, **kwargs: Any) -> Any:
            if args or "func" in kwargs:
                self._safely(self._note, args[0] if args else kwargs["func"])
            return original(pool, *args, **kwargs)

        return submit

    def _safely(self, note: Callable[[Any], None], given: Any) -> None:
        if os.getpid() != self._pid:
            return
        try:
            note(given)
        except Exception:
            # What is handed over is the user's: nothing of it may fail because it was looked at.
            return

    def _note_process(self, process: Any) -> None:
        if self._threads is None:
            here = threading.current_thread()
            self._threads = tuple(thread.name for thread in threading.enumerate() if thread is not here)
        target = process._target
        self._note(target if target is not None else type(process).run)
        for value in (*process._args, *process._kwargs.values()):
            if isinstance(value, (types.FunctionType, types.MethodType, partial)):
                self._note(value)
            elif type(value) is int and value > 2:
                self._note_descriptor(value)

    def _note(self, given: Any) -> None:
        inner = given
        while isinstance(inner, (partial, types.MethodType)):
            # Of `ProcessPoolExecutor.map` this is its own function, and the user's is its argument.
            user = next((arg for arg in getattr(inner, "args", ()) if callable(arg)), None)
            inner = inner.__func__ if isinstance(inner, types.MethodType) else user or inner.func
        key = getattr(inner, "__code__", None) or type(inner)
        if key in self._seen or len(self._seen) >= _MOST:
            return
        self._seen.add(key)
        for reading in readings(given):
            self._readings.setdefault((reading.module, reading.path), reading)

    def _note_descriptor(self, number: int) -> None:
        try:
            status = os.fstat(number)
        except OSError:
            return
        mode = status.st_mode
        kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISREG, "a file"))
        what = next((word for test, word in kinds if test(mode)), "a descriptor")
        self._descriptors.setdefault(number, Descriptor(number, what, (status.st_dev, status.st_ino)))

    def _note_refused(self, process: Any) -> None:
        given = {"target": process._target}
        given.update((f"args[{index}]", value) for index, value in enumerate(process._args))
        given.update((f"kwargs[{name!r}]", value) for name, value in process._kwargs.items())
        own = vars(process).items()
        given.update((f"self.{name}", value) for name, value in own if not name.startswith("_"))
        for name, value in given.items():
            refused = find_refused(name, value)
            if refused is not None:
                self._refused.append(refused)

    def facts(self) -> Facts:
        """Return what was seen, with what a fresh child has of it."""
        facts = Facts(
            self.method,
            tuple(self._readings.values()),
            tuple(self._refused),
            tuple(self._descriptors.values()),
            self._threads or (),
        )
        # A forked child has it all.
        return facts if self.method == "fork" else ask(facts)


def find_refused(name: str, value: Any, depth: int = 4) -> Refused | None:
    """Return the innermost part of *value* that cannot be pickled, None where all of it can."""
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(value)
    except _CANNOT as error:
        if depth:
            for step, part in _parts_of(value):
                found = find_refused(name + step, part, depth - 1)
                if found is not None:
                    return found
        kind = type(value)
        return Refused(name, f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."), str(error))
    except Exception:
        # Such as a lock of `multiprocessing`, which can be sent only while a process is being started.
        return None
    return None


def _parts_of(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, partial):
        return [(".func", value.func), (".args", value.args), (".keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [(".__self__", value.__self__)]
    if isinstance(value, (type, types.FunctionType)):
        return []
    return [(f".{name}", part) for name, part in getattr(value, "__dict__", {}).items()]


def ask(facts: Facts) -> Facts:
    """Return *facts* with what a child has that is started now, by the same method, and does nothing but answer."""
    if not facts.readings and not facts.descriptors:
        return facts
    import multiprocessing
    from dataclasses import replace

    context: Any = multiprocessing.get_context(facts.method)
    wanted = [(reading.module, reading.path) for reading in facts.readings]
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(its, wanted, [each.number for each in facts.descriptors]))
    # The bare one: nobody else is to take this child for one of the test's.
    inspect.unwrap(type(process).start)(process)
    its.close()
    try:
        if not mine.poll(_PATIENCE):
            return facts
        values, files = mine.recv()
    except (EOFError, OSError):
        return facts
    finally:
        mine.close()
        process.kill()
        process.join()
        process.close()
    return replace(
        facts,
        readings=tuple(replace(each, there=there) for each, there in zip(facts.readings, values, strict=True)),
        descriptors=tuple(
            replace(each, is_open_there=each.file == there)
            for each, there in zip(facts.descriptors, files, strict=True)
        ),
    )
