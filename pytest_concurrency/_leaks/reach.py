"""Does something that lives on still hold a thing? Then its end may be that thing's end."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Enough for a client with its connections; a search through all of a program's objects would tell nothing.
_MOST = 20_000


def reaches(roots: Iterable[Any], thing: Any) -> bool:
    """Tell whether *thing* can be got at from one of *roots*, by what they hold; not through modules and classes."""
    queue = [root for root in roots if root is not None]
    seen = {id(each) for each in queue}
    for _ in range(_MOST):
        if not queue:
            return False
        each = queue.pop()
        if each is thing:
            return True
        for inner in _held_by(each):
            if id(inner) not in seen and not isinstance(inner, (type, ModuleType, FrameType, BuiltinFunctionType)):
                seen.add(id(inner))
                queue.append(inner)
    return False


def _held_by(thing: Any) -> list[Any]:
    if isinstance(thing, FunctionType):
        # Not its globals, through which everything can be got at.
        return list(thing.__closure__ or ())
    if isinstance(thing, dict) and "__builtins__" in thing:
        return []
    return gc.get_referents(thing)
