"""Which lines of code led to something being made."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .._places import is_loop, is_trampoline, outward, owner, place_of
from .._trace import Maker, Place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

_MOST = 24


def makers_of(frame: FrameType | None) -> tuple[Maker, ...]:
    """Return the lines that led to *frame*, innermost first."""
    found: list[Maker] = []
    for each in outward(frame):
        if is_loop(each):
            break
        file = each.f_code.co_filename
        if owner(file) in ("own", "frozen") or is_trampoline(each):
            continue
        found.append(Maker(each.f_globals.get("__name__") or "", place_of(each)))
        if len(found) == _MOST:
            break
    return tuple(found)


def makers_by_origin(origin: Iterable[tuple[str, int, str]] | None) -> tuple[Maker, ...]:
    """Return the same for a coroutine's `cr_origin`, which knows files and no modules."""
    places = [Place(file, line, function) for file, line, function in origin or ()]
    modules = _modules({place.file for place in places})
    return tuple(Maker(modules.get(place.file, ""), place) for place in places if owner(place.file) != "own")


def _modules(files: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, module in tuple(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file in files:
            found[file] = name
    return found


def line_of(made: tuple[Maker, ...]) -> Place | None:
    """Return the innermost line of the user's own code, None where there is none."""
    for maker in made:
        if owner(maker.place.file) == "user":
            return maker.place
    return None


def name_of(function: object) -> str:
    """Return what a function is called, with its module where that says more."""
    while hasattr(function, "func"):
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace("<locals>.", "")
