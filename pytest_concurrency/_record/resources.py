"""Who holds what: locks, semaphores, limiters and queues say who took from them and who gave back."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

from .._patching import patched
from .._places import callers
from .._sequence import next_number
from .._trace import Use

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from typing import Literal

    from .recorder import Recorder


def note_uses(
    undo: ExitStack, recorder: Recorder, cls: Any, kind: str, *, takes: str, gives: str | None = None
) -> None:
    """Take down each successful call of the methods *takes* and *gives* of *cls* until *undo* closes."""

    def note(resource: Any, action: Literal["took", "gave"]) -> None:
        place = next(iter(callers(sys._getframe(1).f_back, 1)), None)
        strand = recorder.here().strand.id
        recorder.add_use(Use(strand, action, kind, id(resource), next_number(), place))

    def waits(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def take(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = await original(self, *args, **kwargs)
            note(self, "took")
            return result

        return take

    def at_once(action: Literal["took", "gave"]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def use(self: Any, *args: Any, **kwargs: Any) -> Any:
                result = original(self, *args, **kwargs)
                note(self, action)
                return result

            return use

        return make

    is_async = inspect.iscoroutinefunction(getattr(cls, takes, None))
    undo.enter_context(patched(cls, takes, waits if is_async else at_once("took")))
    if gives is not None:
        undo.enter_context(patched(cls, gives, at_once("gave")))
