"""Which event loop runs code on this thread, asked of whatever the program itself has imported."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from .._originals import is_patched

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARIES = ("asyncio", "trio", "gevent")
"""Whose import means that a loop may run; uvloop and anyio import one of these."""

LOOP_THREADS: dict[int, int] = {}
"""Threads on which a watched loop runs -> how many: the cheapest question first, for threads that have nothing to do
with loops."""

_greenlet: tuple[Callable[[], Any], Callable[[], Any]] | None = None
_running_loop: Callable[[], Any] | None = None
_trio_context: Any = None


def class_of(loop: object) -> str:
    """Return the name under which a loop's class is told of."""
    return f"{type(loop).__module__}.{type(loop).__qualname__}"


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


def _find_gevent() -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    global _greenlet  # the same for gevent
    # Its class is the last thing that the module of the hub defines: until then all of it may be half imported.
    if hasattr(sys.modules.get("gevent.hub"), "Hub"):
        _greenlet = (sys.modules["greenlet"].getcurrent, sys.modules["gevent._hub_local"].get_hub_if_exists)
    return _greenlet


def _on_hub() -> bool:
    """Tell whether what runs on this thread keeps the greenlets of a hub from running."""
    find = _greenlet or _find_gevent()
    if find is None:
        return False
    current, hub = find[0](), find[1]()
    if hub is None:
        return False
    if current.parent is not None:
        # A thread of gevent's own pool has nothing but its job to do.
        return type(current).__module__ != "gevent.threadpool"
    # The outermost greenlet is the thread itself: it keeps nobody waiting unless somebody is ready to run.
    return hub.loop is not None and bool(hub.loop._callbacks)


# Modules whose calls wait in the hub once gevent has patched them, and which patch that is.
_PATCHES = {
    **{name: name for name in ("socket", "ssl", "select", "selectors", "subprocess", "threading")},
    "concurrent": "threading",
}


def is_cooperative(call: str) -> bool:
    """Tell whether *call*, made in a greenlet, waits in the hub and so keeps nobody from running."""
    if call.startswith("os.wait"):
        return is_patched("os")
    patch = _PATCHES.get(call.partition(".")[0])
    return patch is not None and is_patched(patch)


def running_loop() -> Any:
    """Return the asyncio loop that runs on this thread, or None."""
    find = _running_loop or _find_asyncio()
    return find() if find is not None else None


def running_backend() -> str | None:
    """Return `asyncio`, `uvloop`, `trio` or `gevent` where such a loop runs code on this thread now, else None."""
    # Trio's task first: in guest mode both loops are there, and a task of trio's is what runs.
    context = _trio_context or _find_trio()
    if context is not None and hasattr(context, "task"):
        return "trio"
    loop = running_loop()
    if loop is not None:
        return "uvloop" if str(type(loop).__module__).partition(".")[0] == "uvloop" else "asyncio"
    if context is not None and hasattr(context, "runner"):
        return "trio"
    return "gevent" if _on_hub() else None


def running_task(backend: str) -> str | None:
    """Return the name of the task that runs on this thread, None in a callback."""
    if backend == "trio":
        task = getattr(_trio_context, "task", None)
        return task.name if task is not None else None
    if backend == "gevent":
        current = _greenlet[0]() if _greenlet is not None else None
        if current is None or current.parent is None:
            return threading.current_thread().name
        # A hub has a name as well, and no task.
        return getattr(current, "name", "") or None
    tasks = sys.modules.get("asyncio.tasks")
    loop = running_loop()
    task = tasks.current_task(loop) if tasks is not None and loop is not None else None
    name = getattr(task, "get_name", None)
    return name() if name is not None else None
