"""Is it proven that an asyncio loop will wait for ever? Asked when nothing is ready or due."""

from __future__ import annotations

import functools
from asyncio import base_events
from typing import TYPE_CHECKING, Any

from .._patching import patched
from .quiet import ENOUGH, Deadlocked

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from .quiet import Watch

_SHORTEST, _LONGEST = 0.005, 0.25


def watch(undo: ExitStack, watch: Watch) -> None:
    """End the loop that runs the test's body where *watch* proves that nothing can happen any more."""

    def make(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(original)
        def run_once(loop: Any) -> Any:
            if watch.is_here() and _would_wait_for_ever(loop):
                _wait(loop, watch)
            return original(loop)

        return run_once

    # uvloop's has no such method: there a hang ends with its time-out.
    undo.enter_context(patched(base_events.BaseEventLoop, "_run_once", make))


def _would_wait_for_ever(loop: Any) -> bool:
    if loop._ready or loop._stopping or getattr(loop, "_signal_handlers", None):
        return False
    if any(not handle._cancelled for handle in loop._scheduled):
        return False
    selector: Any = getattr(loop, "_selector", None)
    own = getattr(getattr(loop, "_ssock", None), "fileno", lambda: -1)()
    return hasattr(selector, "get_map") and all(key.fd == own for key in (selector.get_map() or {}).values())


def _wait(loop: Any, watch: Watch) -> None:
    """Wait as the loop would, and look around in between; return when something has come in."""
    quiet, delay = 0, _SHORTEST
    while True:
        outside = watch.outside()
        quiet = quiet + 1 if outside == "quiet" else 0
        if quiet == ENOUGH:
            if not watch.prove():
                return
            raise Deadlocked
        events = loop._selector.select(delay)
        if events:
            loop._process_events(events)
            return
        delay = _SHORTEST if outside == "quiet" else min(delay * 2, _LONGEST)
