"""Hear of Ctrl-C before asyncio acts on it: its runner has a handler of its own."""

from __future__ import annotations

import functools
from asyncio import runners
from typing import TYPE_CHECKING, Any

from .._patching import patched

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from types import FrameType


def tell(undo: ExitStack, heard: Callable[[FrameType | None], None]) -> None:
    """Call *heard* at Ctrl-C, before the runner cancels its task, until *undo* closes."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def on_sigint(runner: Any, number: int, frame: FrameType | None, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            heard(frame)
            return original(runner, number, frame, *args, **kwargs)

        return on_sigint

    undo.enter_context(patched(runners.Runner, "_on_sigint", make))
