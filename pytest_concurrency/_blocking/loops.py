"""Which event loop runs code on this thread, asked of whatever the program itself has imported."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARIES = ("asyncio", "trio")
"""Whose import means that a loop may run; uvloop and anyio import one of these."""

LOOP_THREADS: dict[int, int] = {}
"""Threads on which a watched loop runs -> how many: the cheapest question first, for threads that have nothing to do
with loops."""

_running_loop: Callable[[], Any] | None = None
_trio_context: Any = None


def _find_asyncio() -> Callable[[], Any] | None:
    global _running_loop  # a cache of what never changes once asyncio is there
    module = sys.modules.get("_asyncio") or sys.modules.get("asyncio.events")
    _running_loop = getattr(module, "_get_running_loop", None)
    return _running_loop


def _find_trio() -> Any:
    global _trio_context  # the same for trio
    module = sys.modules.get("trio._core._run")
    _trio_context = getattr(module, "GLOBAL_RUN_CONTEXT", None)
    return _trio_context


def running_loop() -> Any:
    """Return the asyncio loop that runs on this thread, or None."""
    find = _running_loop or _find_asyncio()
    return find() if find is not None else None


def running_backend() -> str | None:
    """Return `asyncio`, `uvloop` or `trio` where such a loop runs code on this thread at this moment, else None."""
    # Trio's task first: in guest mode both loops are there, and a task of trio's is what runs.
    context = _trio_context or _find_trio()
    if context is not None and hasattr(context, "task"):
        return "trio"
    loop = running_loop()
    if loop is not None:
        return "uvloop" if type(loop).__module__.partition(".")[0] == "uvloop" else "asyncio"
    return "trio" if context is not None and hasattr(context, "runner") else None


def running_task(backend: str) -> str | None:
    """Return the name of the task that runs on this thread, None in a callback."""
    if backend == "trio":
        task = getattr(_trio_context, "task", None)
        return task.name if task is not None else None
    tasks = sys.modules.get("asyncio.tasks")
    loop = running_loop()
    task = tasks.current_task(loop) if tasks is not None and loop is not None else None
    name = getattr(task, "get_name", None)
    return name() if name is not None else None
