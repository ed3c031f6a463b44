"""Wrappers for calls that the interpreter does not announce, in place for the length of a run.

Only attributes of modules and of classes written in Python are replaced; types written in C stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from types import BuiltinFunctionType, MethodDescriptorType
from typing import TYPE_CHECKING, Any

from .._originals import get_ident
from .._patching import patched
from .early import BuiltinSeam
from .loops import LOOP_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .waits import Seam

    Enter = Callable[[str, str, str], Any]
    """Kind, call, detail -> a token if this call is to be measured, else None. May raise in the call's place."""
    Leave = Callable[[Any], None]

BARE = "__pytest_concurrency_bare__"
"""The attribute of a wrapper that holds what it wraps: a loop's own calls go past us."""

_MISSING = object()
_MESSAGES = frozenset(
    f"socket.{name}" for name in ("recv", "recvfrom", "recvmsg", "send", "sendall", "sendto", "sendmsg")
)
"""Methods of sockets that take no arguments by name."""


@contextlib.contextmanager
def installed(seam: Seam, enter: Enter, leave: Leave) -> Iterator[None]:
    """Put *seam* in place, in a module that has been imported, for the length of the `with` block."""
    owner: Any = sys.modules.get(seam.module)
    *path, name = seam.attribute.split(".")
    for part in path:
        owner = getattr(owner, part, None)
    with patched(owner, name, lambda original: _wrap(seam, original, enter, leave)):
        yield


def _wrap(seam: Seam, original: Any, enter: Enter, leave: Leave) -> Any:
    """Return *original* with *enter* and *leave* around those of its calls that can wait."""
    can_wait, kind, call = seam.can_wait, seam.kind, seam.call

    def around(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if not LOOP_THREADS or get_ident() not in LOOP_THREADS:
            return original(*args, **kwargs)
        try:
            detail = can_wait(*args, **kwargs)
        except Exception:
            # Called in a way that the original will complain about, in its own words.
            detail = None
        token = enter(kind, call, detail) if detail is not None else None
        if token is None:
            return original(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        finally:
            leave(token)

    def on_a_socket(self: Any, first: Any = _MISSING, *more: Any) -> Any:
        __tracebackhide__ = True
        # The way of every message of every loop: those do not wait, and are passed on without packing their arguments.
        if first is _MISSING:
            # The original complains of it in its own words.
            return original(self)
        if more:
            return around(self, first, *more)
        if self.gettimeout() == 0 or not LOOP_THREADS or get_ident() not in LOOP_THREADS:
            return original(self, first)
        return around(self, first)

    if isinstance(original, BuiltinFunctionType) and "." not in seam.attribute:
        return MeasuredBuiltin(original, around)
    # gevent's have arguments of their own.
    is_message = seam.attribute in _MESSAGES and isinstance(original, MethodDescriptorType)
    function = functools.wraps(original)(on_a_socket if is_message else around)
    if getattr(original, "__module__", None) is None:
        # A method written in C has none: pickled by name, the wrapper is to be found where the method is.
        function.__module__, function.__qualname__ = seam.module, seam.attribute
    setattr(function, BARE, original)
    return function


class MeasuredBuiltin(BuiltinSeam):
    """A builtin function that is timed where it can wait."""

    def __init__(self, original: Any, around: Callable[..., Any]) -> None:
        super().__init__(original, "")
        self.__call = around

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if not LOOP_THREADS or get_ident() not in LOOP_THREADS:
            return self.__wrapped__(*args, **kwargs)
        return self.__call(*args, **kwargs)
