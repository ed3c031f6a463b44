"""How long an import took: the one call of the import system in which a loop's thread imports something."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .._originals import thread_local

if TYPE_CHECKING:
    from collections.abc import Callable

# Under the import system's own file name, so that the interpreter leaves this frame out of an import's traceback.
_SOURCE = """
def _find_and_load_unlocked(*args, **kwargs):
    ended = begun()
    try:
        return original(*args, **kwargs)
    finally:
        ended()
"""


class ImportTimer:
    """Calls back when the import that begins now on this thread has ended."""

    def __init__(self) -> None:
        self._local = thread_local()
        self._importlib: Any = sys.modules.get("_frozen_importlib")
        self._original = getattr(self._importlib, "_find_and_load_unlocked", None)
        names: dict[str, Any] = {"begun": self._begun, "original": self._original}
        exec(compile(_SOURCE, "<frozen importlib._bootstrap>", "exec"), names)
        self._timed = names["_find_and_load_unlocked"]

    @property
    def importing(self) -> bool:
        """Whether an import that is being timed runs on this thread."""
        return getattr(self._local, "depth", 0) > 0

    def enter(self) -> None:
        """An import that is being timed begins on this thread."""
        self._local.depth = getattr(self._local, "depth", 0) + 1

    def leave(self) -> None:
        """It has ended."""
        self._local.depth -= 1

    def time(self, ended: Callable[[], None]) -> None:
        """Call *ended* when the import that this thread has announced is over."""
        if self._original is None or self._importlib._find_and_load_unlocked is not self._original:
            return
        self._local.ended = ended
        # For one call only: every other import in the program goes the usual way.
        self._importlib._find_and_load_unlocked = self._timed

    def stop(self) -> None:
        """Time nothing any more."""
        if self._original is not None and self._importlib._find_and_load_unlocked is self._timed:
            self._importlib._find_and_load_unlocked = self._original

    def _begun(self) -> Callable[[], None]:
        self.stop()
        ended = getattr(self._local, "ended", None)
        self._local.ended = None
        if ended is None:
            # Another thread came by in between.
            return _nothing
        self.enter()

        def over() -> None:
            self.leave()
            ended()

        return over


def _nothing() -> None:
    pass
