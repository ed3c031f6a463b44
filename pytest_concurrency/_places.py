"""Whose code is this line? Frames in, places out."""

from __future__ import annotations

import functools
import os
import sysconfig
from typing import TYPE_CHECKING

from ._trace import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _standard_library() -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    # A virtual environment shares the standard library of the Python it was made from.
    paths.add(os.path.dirname(os.__file__))
    return tuple(os.path.abspath(path) + os.sep for path in paths if path)


_STDLIB = _standard_library()
_FOLDER = os.getcwd()


@functools.lru_cache(maxsize=4096)
def owner(filename: str) -> str:
    """Return who wrote the code in *filename*: `user`, `installed`, `stdlib`, `own` (this plugin) or `frozen`."""
    if filename.startswith("<"):
        # `<frozen importlib._bootstrap>` is the interpreter's; `<string>`, `<doctest …>` and `<ipython …>` somebody's.
        return "frozen" if filename.startswith(("<frozen", "<attrs generated", "<__array_function__")) else "user"
    # Not `abspath`: this runs while the user's loop does, and other tools take that call for a blocking one.
    path = filename if os.path.isabs(filename) else os.path.join(_FOLDER, filename)
    if path.startswith(_OWN):
        return "own"
    if any(part in path for part in _INSTALLED):
        return "installed"
    if path.startswith(_STDLIB):
        return "stdlib"
    return "user"


def place_of(frame: FrameType) -> Place:
    """Return the line that *frame* executes."""
    code = frame.f_code
    return Place(code.co_filename, frame.f_lineno or code.co_firstlineno, getattr(code, "co_qualname", code.co_name))


def outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield *frame* and its callers, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def callers(frame: FrameType | None, limit: int = 8) -> tuple[Place, ...]:
    """Return up to *limit* lines of the user's own code, innermost first, that led to *frame*."""
    found: list[Place] = []
    for each in outward(frame):
        if is_loop(each):
            # Below a loop's own step stands whoever ran the loop, not who called.
            break
        if owner(each.f_code.co_filename) == "user" and not is_trampoline(each):
            found.append(place_of(each))
            if len(found) == limit:
                break
    return tuple(found)


_LOOP_STEPS = frozenset(
    # Below a child process's first frame stand those of the process that it was forked from.
    {("events.py", "_run"), ("_run.py", "unrolled_run"), ("runners.py", "run"), ("process.py", "_bootstrap")}
)


def is_loop(frame: FrameType) -> bool:
    """Tell whether *frame* is a loop's own step: what stands below it did not call what stands above."""
    code = frame.f_code
    return (os.path.basename(code.co_filename), code.co_name) in _LOOP_STEPS and owner(code.co_filename) != "user"


def is_trampoline(frame: FrameType) -> bool:
    """Tell whether *frame* only leads into a watched function's own code, in whose name it runs."""
    return TRAMPOLINE_MARK in frame.f_code.co_varnames


TRAMPOLINE_MARK = "_pytest_concurrency_hook"
"""The local variable that marks a trampoline's code (see `_record.watch`)."""
