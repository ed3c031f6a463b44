"""What must be in place before the program under test is imported; it costs a suite without event loops nothing.

`time.sleep` has no audit event before Python 3.13, and a name that somebody has imported from its module cannot be
exchanged everywhere later. So it is replaced when the plugin is loaded, by an object that does nothing but call it
until somebody listens.
"""

from __future__ import annotations

import operator
import os
import sys
import time
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .._originals import is_patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LISTENERS: dict[str, Callable[[str, tuple[Any, ...]], None]] = {}
"""Audit event -> who hears of it now; empty while no detector is on."""

_STDLIB = os.path.dirname(os.__file__) + os.sep
SLEEP_HAS_AN_EVENT = sys.version_info >= (3, 13)


class BuiltinSeam:
    """A builtin function that tells of its calls as an audit event would.

    It is an object and not a function, since a builtin that is put on a class does not become a method.
    """

    def __init__(self, original: Any, event: str) -> None:
        self.__wrapped__ = original
        self._event = event
        self.__name__ = str(original.__name__)
        for name in ("__qualname__", "__module__", "__doc__", "__text_signature__", "__self__"):
            setattr(self, name, getattr(original, name, None))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        listener = LISTENERS.get(self._event)
        if listener is not None:
            listener(self._event, args)
        return self.__wrapped__(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BuiltinSeam):
            other = other.__wrapped__
        return bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce__(self) -> Any:
        # By name, and nothing of ours in it: another process, which may not know us, finds the original there.
        home = sys.modules.get(getattr(self, "__module__", None) or "")
        if getattr(home, self.__name__, None) is self:
            return self.__name__
        # It is known under another module's name than its own: `os.stat` is `posix.stat`.
        return operator.getitem, ((self.__wrapped__,), 0)

    def __copy__(self) -> BuiltinSeam:
        return self

    def __deepcopy__(self, memo: object) -> BuiltinSeam:
        return self


@contextmanager
def sleep_announced() -> Iterator[None]:
    """See to it that `time.sleep` tells of its calls, however it is imported, for the length of the `with` block."""
    # gevent has put something of its own there, which blocks nobody.
    if SLEEP_HAS_AN_EVENT or isinstance(time.sleep, BuiltinSeam) or is_patched("time"):
        yield
        return
    original = time.sleep
    seam: Any = BuiltinSeam(original, "time.sleep")
    _exchange(original, seam)
    try:
        yield
    finally:
        # Also where it was imported to in the meantime.
        _exchange(seam, original)


def _exchange(old: Any, new: Any) -> None:
    for module in list(sys.modules.values()):
        # Only plain modules: a lazy one would be loaded by the question. Ours must keep what it saved.
        if type(module) is not ModuleType or module.__name__.startswith("pytest_concurrency"):
            continue
        # Half of all modules are the standard library's, which have no other name for it.
        file = getattr(module, "__file__", None) or ""
        if file.startswith(_STDLIB) and "site-packages" not in file and "dist-packages" not in file:
            continue
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)
