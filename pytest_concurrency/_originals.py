"""The interpreter's own threads and locks, also where gevent has put greenlets in their place.

`gevent.monkey` may have patched before this plugin is imported, or may do so later: whoever means the real thread takes
these names, once.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def _original(module: str, name: str) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    saved = getattr(monkey, "saved", {}).get(module, {})
    return saved[name] if name in saved else getattr(importlib.import_module(module), name)


get_ident = _original("_thread", "get_ident")
"""Return the identifier of the real thread: the one that `sys._current_frames` uses."""
allocate_lock = _original("_thread", "allocate_lock")
start_new_thread = _original("_thread", "start_new_thread")
RLock = _original("_thread", "RLock")
"""Belongs to a thread, and so to all its greenlets: nobody may switch between them while it is taken."""
thread_local = _original("_thread", "_local")
sleep = _original("time", "sleep")
_select = _original("select", "select")


def take_within(lock: Any, seconds: float) -> bool:
    """Take *lock* as soon as it is free; return False where that takes too long.

    By a call that no other tool takes for one that blocks: it may be made on an event loop's thread, as it forks.
    """
    if sys.platform == "win32":
        return bool(lock.acquire(timeout=seconds))
    pause = 0.0
    while seconds > 0:
        if lock.acquire(False):
            return True
        _select((), (), (), pause)
        seconds -= pause
        pause = min(pause + 0.00005, 0.001)
    return False


def is_patched(module: str) -> bool:
    """Tell whether gevent has made *module* cooperative: its threads are greenlets, its sockets wait in the hub."""
    return module in getattr(sys.modules.get("gevent.monkey"), "saved", ())
