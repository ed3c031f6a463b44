"""Async generators that were begun and never closed. Their loop tells of each one that begins."""

from __future__ import annotations

import dis
import sys
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._frames import frame_of
from .._places import place_of
from .._trace import Leak, Maker, Place
from . import owner as owners
from .makers import line_of, makers_of
from .source import Left, Source

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .owner import Owner


@dataclass(slots=True, eq=False)
class _Record:
    generator: weakref.ref[Any]
    owner: Owner
    made: tuple[Maker, ...]
    loop: int
    """By its `id`: of a loop that is gone nothing is asked."""


class Generators(Source):
    """Is told by the loops, through `sys.set_asyncgen_hooks`, when a generator begins and when it is collected."""

    def __init__(self, watch: Any) -> None:
        super().__init__(watch)
        self._records: dict[int, _Record] = {}
        self._ending = 0

    def begun(self, generator: Any, loop: object) -> None:
        """A generator was asked for its first item, by whoever called the hook's caller."""
        with self.watch.guarded():
            mine = owners.current.get()
            if mine is not None:
                made = makers_of(sys._getframe(2))
                self._records[id(generator)] = _Record(weakref.ref(generator), mine, made, id(loop))

    def collected(self, generator: Any) -> None:
        """Nobody holds a generator any more that has not ended: the loop is about to close it."""
        with self.watch.guarded():
            record = self._records.pop(id(generator), None)
            # What a task holds that is cancelled with its loop is told with the task.
            if record is not None and not self._ending:
                leak = _leak(generator, record, "dropped before its end")
                self.watch.add(self.watch.owner_of(generator, record.owner), leak)

    @contextmanager
    def loop_is_ending(self) -> Iterator[None]:
        """The tasks of a loop are cancelled in the `with` block, only because the loop ends."""
        self._ending += 1
        try:
            yield
        finally:
            self._ending -= 1

    def closed_by(self, loop: object) -> None:
        """A loop ends, and closes what is left of its generators."""
        with self.watch.guarded():
            for key, record in tuple(self._records.items()):
                generator = record.generator()
                if record.loop == id(loop):
                    self._records.pop(key, None)
                    if _is_suspended(generator):
                        leak = _leak(generator, record, "still suspended when its event loop ended")
                        self.watch.add(self.watch.owner_of(generator, record.owner), leak)

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        for key, record in tuple(self._records.items()):
            generator = record.generator()
            if generator is None or frame_of(generator) is None:
                self._records.pop(key, None)
                continue
            mine = self.watch.owner_of(generator, record.owner)
            if mine in of and _is_suspended(generator):
                yield Left(generator, mine, _leak(generator, record, "still suspended"))

    def forget(self, of: Container[Owner]) -> None:
        self._records = {key: record for key, record in self._records.items() if record.owner not in of}


def _is_suspended(generator: Any) -> bool:
    """Tell whether it has begun and nobody is in the middle of asking it for an item."""
    return generator is not None and frame_of(generator) is not None and not generator.ag_running


def _leak(generator: Any, record: _Record, state: str) -> Leak:
    frame = frame_of(generator)
    name = generator.__qualname__.replace("<locals>.", "")
    at: Place | None = place_of(frame) if frame is not None else None
    if _has_not_begun(generator):
        # The loop hears of it when `asend()` is called, not when that is awaited.
        what = f"{name}.asend(), athrow() or anext()"
        return Leak("coroutine", what, line_of(record.made), state="never awaited", made=record.made)
    return Leak("generator", name, line_of(record.made), state=state, at=at, made=record.made)


if sys.version_info >= (3, 12):
    from inspect import AGEN_CREATED, getasyncgenstate

    def _has_not_begun(generator: Any) -> bool:
        return getasyncgenstate(generator) == AGEN_CREATED

else:
    # Up to where its first `send` begins: making the generator has come as far.
    _BEFORE_THE_BODY = frozenset({"COPY_FREE_VARS", "MAKE_CELL", "RETURN_GENERATOR"})

    def _has_not_begun(generator: Any) -> bool:
        frame = frame_of(generator)
        if frame is None or generator.ag_running:
            return False
        return frame.f_lasti < 0 or dis.opname[frame.f_code.co_code[frame.f_lasti]] in _BEFORE_THE_BODY
