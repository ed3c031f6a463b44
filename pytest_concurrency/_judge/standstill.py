"""Do those who wait wait for one another? Pure function: waits in, a circle out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._trace import Wait


def circle(waits: Sequence[Wait]) -> tuple[int, ...]:
    """Return the strands of the first circle of waits, each waiting for the next; nothing where there is none."""
    on = {wait.strand: wait.on for wait in waits}
    done: set[int] = set()
    for start in on:
        path: list[int] = []
        if found := _walk(start, on, path, done):
            return found
    return ()


def _walk(strand: int, on: dict[int, tuple[int, ...]], path: list[int], done: set[int]) -> tuple[int, ...]:
    if strand in path:
        return tuple(path[path.index(strand) :])
    if strand in done:
        return ()
    path.append(strand)
    for other in on.get(strand, ()):
        if found := _walk(other, on, path, done):
            return found
    path.pop()
    done.add(strand)
    return ()
