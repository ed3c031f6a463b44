"""The words for a test that can never finish: who waits for whom. Every text has a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._judge.standstill import circle
from .timeline import strand_label

if TYPE_CHECKING:
    from .._trace import Standstill, Trace, Wait
    from .messages import Page

_MOST = 12
_WORDS = {
    "lock": "a lock",
    "semaphore": "a semaphore",
    "limiter": "a limiter",
    "queue": "a queue",
    "event": "an event",
    "future": "a future",
    "task": "a task",
    "worker": "a worker thread",
    "io": "a socket",
    "timer": "a time that never comes",
}


def standstill_message(trace: Trace, still: Standstill, page: Page) -> str:
    """Return what a test says in which everybody waits and nothing is left that could end a wait."""
    count = len(still.waits)
    who = {0: "the test waits", 1: "its only task waits"}.get(count, f"all {count} tasks wait")
    after = f", at {still.time:.9g} s of virtual time" if still.time else ""
    paragraphs = [f"can never finish: {who} and no timer is set{after}"]
    lines = [_line(trace, wait, page) for wait in still.waits[:_MOST]]
    if count > _MOST:
        lines.append(f"  ... and {count - _MOST} more tasks")
    if lines:
        paragraphs.append("\n".join(lines))
    strands = circle(still.waits)
    if strands:
        names = " -> ".join(strand_label(trace, strand) for strand in (*strands, strands[0]))
        paragraphs.append(page.wrapped(f"They wait for one another in a circle: {names}. Break it at one of these."))
    else:
        paragraphs.append(
            page.wrapped(
                "No thread, process or connection is left that could end one of these waits. Something must set the"
                " event, give the lock back or put the item, or the wait needs a time-out."
            )
        )
    return "\n\n".join(paragraphs)


def _line(trace: Trace, wait: Wait, page: Page) -> str:
    for_whom = ", ".join(strand_label(trace, strand) for strand in wait.on[:3])
    if len(wait.on) > 3:
        for_whom += f" and {len(wait.on) - 3} more"
    what = _WORDS.get(wait.kind, "something")
    if for_whom:
        what = for_whom if wait.kind == "task" else f"{what}, which {for_whom} holds"
    at = f"\n    at {page.at(wait.place)}" if wait.place is not None else ""
    return f"  {strand_label(trace, wait.strand)} waits for {what}{at}"
