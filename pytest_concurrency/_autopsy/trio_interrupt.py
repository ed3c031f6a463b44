"""Hear of Ctrl-C before trio acts on it: every run has a handler of its own."""

from __future__ import annotations

import functools
import signal
from typing import TYPE_CHECKING, Any, cast

from trio._core import _ki

from .._patching import patched

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from types import FrameType


def tell(undo: ExitStack, heard: Callable[[FrameType | None], None]) -> None:
    """Call *heard* at Ctrl-C, before a run raises it somewhere, until *undo* closes."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def install(manager: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(manager, *args, **kwargs)
            handler: Any = manager.handler
            if callable(handler) and signal.getsignal(signal.SIGINT) is handler:
                # The run takes out what it finds here when it ends.
                manager.handler = _telling(cast("Any", handler), heard)
                signal.signal(signal.SIGINT, manager.handler)
            return result

        return install

    undo.enter_context(patched(_ki.KIManager, "install", make))


def _telling(handler: Callable[..., Any], heard: Callable[[FrameType | None], None]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def interrupted(number: int, frame: FrameType | None) -> Any:
        __tracebackhide__ = True
        heard(frame)
        return handler(number, frame)

    return interrupted
