"""Looking at what other threads do must not let them go on in the middle of it."""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._frames import current_frames, locals_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


in_the_middle = pytest.mark.skipif(sys.version_info >= (3, 12), reason="collects between two instructions only")


@pytest.fixture
def deep_thread() -> Iterator[int]:
    """A thread that waits, twenty calls deep, in frames that nobody has asked for yet."""
    ready, done = threading.Event(), threading.Event()

    def descend(left: int) -> None:
        if left:
            descend(left - 1)
        else:
            ready.set()
            done.wait()

    thread = threading.Thread(target=descend, args=(20,))
    thread.start()
    ready.wait()
    assert thread.ident is not None
    yield thread.ident
    done.set()
    thread.join()


@contextmanager
def collections() -> Iterator[list[str]]:
    """Collect at each chance, and note it."""
    found: list[str] = []

    def note(phase: str, info: object) -> None:
        found.append(phase)

    before = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(1)
    try:
        yield found
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(note)


@in_the_middle
def test_a_thread_is_looked_at_without_a_collection(deep_thread: int) -> None:
    # In 3.11 a collection runs Python code in the middle of `frame.f_back`: the other thread may leave that very frame
    # meanwhile, and the interpreter crashes.
    frame: FrameType | None = current_frames()[deep_thread]
    depth = 0
    with collections() as found:
        while frame is not None:
            frame = frame.f_back
            depth += 1
        in_between = len(found)

    assert depth > 20
    assert in_between == 0


@in_the_middle
def test_its_variables_are_looked_at_without_a_collection() -> None:
    class Asked:
        @property
        def f_locals(self) -> dict[str, bool]:
            return {"collects": gc.isenabled()}

    assert locals_of(Asked())["collects"] is False  # type: ignore[arg-type]  # what is asked of a frame, it has


def test_collections_are_as_they_were(deep_thread: int) -> None:
    for wanted in (gc.disable, gc.enable):
        wanted()
        before = gc.isenabled()
        locals_of(current_frames()[deep_thread])
        assert gc.isenabled() == before
