"""Who waits for whom in one event loop, at one instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._trace import Wait

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from .._trace import Place
    from .recorder import Recorder

LIMITS = frozenset({"lock", "semaphore", "limiter", "queue"})
"""Waits for something that lets only so many go on."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one task waits for."""

    kind: str
    """As `Wait.kind`."""
    place: Place | None = None
    resource: Any = None
    on: tuple[Any, ...] = ()
    """The tasks that it awaits."""
    in_library: bool = False
    """An installed library waits there, for something that only it knows."""
    chain: tuple[Any, ...] = ()
    """The coroutines of a held task (see `awaiting`)."""


class WaitGraph:
    """The tasks of one loop, and which of them wait, directly or through others, for a held call."""

    def __init__(self, looks: Mapping[Any, Look], held: AbstractSet[Any], recorder: Recorder) -> None:
        self.looks = looks
        self.behind = set(held)
        """The held tasks and all that wait for one of them: none of these can bring in another call."""
        self._recorder = recorder
        for task in held:
            strand = recorder.known(task)
            if strand is not None and task in looks:
                strand.chain = looks[task].chain
        grown = True
        while grown:
            more = {task for task, look in looks.items() if task not in self.behind and self.behind & set(look.on)}
            self.behind |= more
            grown = bool(more)

    def outside(self, name_of: Any, what: Mapping[str, str]) -> list[str]:
        """Return, in words, whoever waits for something that comes from outside the loop.

        Args:
            name_of: A task to its name.
            what: The kinds of wait that are meant, and what to call them.
        """
        found = []
        for task, look in self.looks.items():
            if look.kind in what and task not in self.behind:
                at = f" at {look.place.file}:{look.place.line}" if look.place is not None else ""
                found.append(f"{what[look.kind]}, awaited by {name_of(task)!r}{at}")
        return found

    def waits(self) -> tuple[Wait, ...]:
        """Return the graph as data, without tasks that were never recorded."""
        recorder = self._recorder
        found = []
        for task, look in self.looks.items():
            strand = recorder.known(task)
            if strand is None:
                continue
            resource = id(look.resource) if look.resource is not None else None
            awaited = (recorder.known(other) for other in look.on)
            on = tuple(other.strand.id for other in awaited if other is not None)
            if not on and resource is not None:
                on = recorder.holders(resource)
            found.append(Wait(strand.strand.id, look.kind, resource, on, look.place))
        return tuple(found)
