"""Coroutines that were made and never awaited, whether or not anybody wants to hear the interpreter's warning.

The interpreter looks `warnings._warn_unawaited_coroutine` up by name each time, and hands it the coroutine itself. The
line that made it is known where `sys.set_coroutine_origin_tracking_depth` is on.
"""

from __future__ import annotations

import functools
import gc
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from .._frames import frame_of
from .._patching import patched
from .._places import place_of
from .._trace import Leak
from . import owner as owners
from .makers import line_of, makers_by_origin
from .source import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from .._trace import Maker, Place


class Coroutines(Source):
    """Is told of each coroutine that is dropped before it began."""

    def install(self, undo: ExitStack) -> None:
        self._collects_old = False
        undo.enter_context(patched(warnings, "_warn_unawaited_coroutine", self._warn))
        gc.callbacks.append(self._on_collection)
        undo.callback(gc.callbacks.remove, self._on_collection)
        before = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(max(before, self.watch.depth))
        undo.callback(sys.set_coroutine_origin_tracking_depth, before)

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        self._collects_old = phase == "start" and info["generation"] >= 2

    def _warn(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _warn_unawaited_coroutine(coroutine: Any) -> Any:
            with self.watch.guarded():
                leak = dropped(coroutine, "never awaited")
                if self._collects_old:
                    # It may be any earlier test's: it lay in a cycle until now.
                    self.watch.add_orphan(leak)
                else:
                    self.watch.add(owners.current.get(), leak)
            origin = coroutine.cr_origin or ()
            text = f"coroutine '{coroutine.__qualname__}' was never awaited"
            if len(origin) > self.watch.depth:
                # Somebody else wants to see where it was made, and gets what he gets without us.
                made = traceback.format_list([(file, line, name, None) for file, line, name in reversed(origin)])
                text += "\nCoroutine created at (most recent call last)\n" + "".join(made).rstrip("\n")
            # As the original does, which would take this line for the one that dropped it.
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=coroutine)

        return _warn_unawaited_coroutine


def dropped(coroutine: Any, state: str) -> Leak:
    """Return what there is to say of a coroutine that never ran."""
    made = makers_by_origin(getattr(coroutine, "cr_origin", None))
    place = place_made(coroutine, made)
    return Leak("coroutine", coroutine_name(coroutine), place, state=state, made=made)


def place_made(coroutine: Any, made: tuple[Maker, ...]) -> Place | None:
    """Return the line that made *coroutine*; where that is not known, the one that defines it."""
    if made:
        return line_of(made) or made[0].place
    frame = frame_of(coroutine)
    return place_of(frame) if frame is not None else None


def coroutine_name(coroutine: Any) -> str:
    name = getattr(coroutine, "__qualname__", None) or type(coroutine).__qualname__
    return str(name).replace("<locals>.", "")
