"""Which lock does a line take, and which are held further up? Read from the source, since a lock in C tells nothing."""

from __future__ import annotations

import ast
import functools
import linecache
import textwrap
from inspect import CO_OPTIMIZED
from typing import TYPE_CHECKING, Any

from .._frames import locals_of
from .._places import outward, owner

if TYPE_CHECKING:
    from types import FrameType


_LOCKS = frozenset({"lock", "RLock", "_RLock", "Condition", "Semaphore", "BoundedSemaphore", "LockType"})


def lock_taken_at(frame: FrameType | None) -> Any:
    """Return the lock that the line which *frame* executes is about to take, None where that cannot be told."""
    if frame is None:
        return None
    # The one line only: to parse a whole file takes time, in which the threads that are looked at wait for the GIL.
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()
    if line.startswith("with "):
        managers = line[len("with ") :].partition(":")[0].split(",")
        locks = (_lock(text.partition(" as ")[0], frame) for text in managers)
        return next((lock for lock in locks if lock is not None), None)
    name, is_call, _ = line.partition(".acquire(")
    return _lock(name.rpartition("=")[2].rpartition(" ")[2], frame) if is_call else None


def locks_held_in(frame: FrameType | None) -> list[Any]:
    """Return the locks of the `with` statements in whose body *frame* and its callers are."""
    found = []
    for each in outward(frame):
        if owner(each.f_code.co_filename) != "user":
            continue
        for first, last, text in _withs(each.f_code.co_filename):
            # Of the function's own, not of one around its `def`.
            if each.f_code.co_firstlineno <= first < (each.f_lineno or 0) <= last:
                lock = _lock(text, each)
                if lock is not None:
                    found.append(lock)
    return found


@functools.lru_cache(maxsize=64)
def _withs(file: str) -> tuple[tuple[int, int, str], ...]:
    """Return first line, last line and expression of each `with` in *file*."""
    try:
        tree = ast.parse(textwrap.dedent("".join(linecache.getlines(file))))
    except (SyntaxError, ValueError):
        return ()
    return tuple(
        (item.context_expr.lineno, node.end_lineno or node.lineno, ast.unparse(item.context_expr))
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
    )


def _lock(text: str, frame: FrameType) -> Any:
    """Return what a name with dots stands for in *frame*, if it is a lock; nothing is called for it."""
    names = text.strip().split(".")
    if not all(name.isidentifier() for name in names):
        return None
    scope = locals_of(frame) if frame.f_code.co_flags & CO_OPTIMIZED else frame.f_globals
    value: Any = scope.get(names[0], frame.f_globals.get(names[0]))
    for name in names[1:]:
        try:
            value = vars(value).get(name, getattr(type(value), "__dict__", {}).get(name))
        except TypeError:
            return None
    return value if type(value).__name__ in _LOCKS else None
