"""Threads that are proven to wait for ever keep a process from ending: here it ends without them."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

from .._record import kernel

_stranded: dict[threading.Thread, str] = {}
"""The threads that cannot go on, and how much each has run so far."""
status = 0
"""What the process is to end with."""


def note() -> None:
    """Note which threads the interpreter would wait for at its end: all that are there, for none can go on."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            _stranded[thread] = _turns(thread)
    register = getattr(threading, "_register_atexit", None)
    # Before the executors' own, which would wait for their threads.
    if register is not None and _stranded:
        with contextlib.suppress(RuntimeError):
            register(_leave)


def _turns(thread: threading.Thread) -> str:
    found = kernel.look(thread.native_id) if thread.native_id is not None else None
    return found.turns if found is not None and found.for_ever else ""


def _leave() -> None:
    """End the process where only such threads are left, and none has moved since."""
    left = [each for each in threading.enumerate() if each is not threading.main_thread() and not each.daemon]
    if not left or any(_stranded.get(each) in (None, "") or _turns(each) != _stranded[each] for each in left):
        return
    names = ", ".join(repr(each.name) for each in left)
    end = "thread waits" if len(left) == 1 else "threads wait"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"pytest_concurrency ends the process, whose {end} for ever, as was proven: {names}\n")
    # What the interpreter does at its end, without the wait.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)
