"""Who waits for whom when nothing can move any more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._places import owner
from .._trace import Standstill
from .awaiting import suspension
from .recorder import Recorder
from .wait_graph import Look, WaitGraph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._trace import Trace


def look(tasks: Iterable[Any], seconds: float, recorder: Recorder | None = None) -> tuple[Trace, Standstill]:
    """Return what each of *tasks* waits for, as data, and a trace in which they are the strands.

    Those of a test runner or of the loop's own are left out, unless the test's body runs in them.

    Args:
        tasks: All tasks of asyncio's and trio's loops that are left.
        seconds: How long the body has been running, on the virtual clock.
        recorder: Knows who holds which lock, where the test was recorded.
    """
    recorder = recorder or Recorder()
    looks: dict[Any, Look] = {}
    for task in sorted(tasks, key=_in_order):
        if type(task).__module__.partition(".")[0] == "trio":
            from . import trio as source

            children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
            found = suspension(task.coro)
            is_own = "/trio/_core/" in found.root.replace("\\", "/")
            here, seen = source.here_of(task), source.look(task, found, set(), children)
        else:
            from . import asyncio as loops
            from . import asyncio_gate as gate

            here, seen = loops.here_of(task, loops.backend_of(task.get_loop())), gate.look(task, set())
            is_own = False
        in_body = seen.place is not None and owner(seen.place.file) == "user"
        if in_body or not (here.foreign or is_own):
            recorder.strand_for(here)
            looks[task] = seen if in_body else replace(seen, place=None)
    graph = WaitGraph(looks, set(), recorder)
    waits = tuple(sorted(graph.waits(), key=lambda wait: wait.strand))
    return recorder.trace(), Standstill(seconds, waits)


def _in_order(task: Any) -> tuple[int, str]:
    """Sort tasks as they were made, where they have the names that asyncio gives; it keeps them in a set."""
    name = task.get_name() if hasattr(task, "get_name") else ""
    return len(name), name
