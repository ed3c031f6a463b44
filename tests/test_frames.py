"""Looking at what other threads do must not let them go on in the middle of it: up to 3.12 that crashes Python."""

from __future__ import annotations

import gc
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._frames import caller_of, current_frames, frame_of, locals_of, outward

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

collects_anywhere = pytest.mark.skipif(sys.version_info >= (3, 12), reason="collects between two instructions only")
copies_locals = pytest.mark.skipif(sys.version_info >= (3, 13), reason="shows a frame's variables without a copy")


@pytest.fixture
def waiting() -> Iterator[int]:
    """A thread that waits in the standard library, called by this module, by its identifier."""
    ready, done = threading.Event(), threading.Event()

    def stay() -> None:
        ready.set()
        done.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    ready.wait()
    assert thread.ident is not None
    yield thread.ident
    done.set()
    thread.join()


class Asked:
    """A frame, or a coroutine, that notes whether garbage may be collected while it is asked for something."""

    f_code: CodeType = (lambda: None).__code__
    f_trace = None

    @property
    def f_locals(self) -> dict[str, bool]:
        return {"collects": gc.isenabled()}

    @property
    def f_back(self) -> object:
        return gc.isenabled()

    @property
    def cr_frame(self) -> object:
        return gc.isenabled()


@collects_anywhere
def test_nothing_is_collected_meanwhile() -> None:
    asked: FrameType = Asked()  # type: ignore[assignment]  # it has what is asked of a frame

    assert locals_of(asked)["collects"] is False
    assert caller_of(asked) is False  # type: ignore[comparison-overlap]
    assert frame_of(asked) is False  # type: ignore[comparison-overlap]
    assert gc.isenabled()


def test_collections_stay_switched_off(waiting: int) -> None:
    gc.disable()
    try:
        for frame in outward(current_frames()[waiting]):
            locals_of(frame)
        assert not gc.isenabled()
    finally:
        gc.enable()


def in_library_and_here(waiting: int) -> tuple[FrameType, FrameType]:
    """Return the frames of `Event.wait` and of its caller, which may be about to begin when it is first looked at."""
    while True:
        frames = {frame.f_code.co_name: frame for frame in outward(current_frames()[waiting])}
        if "wait" in frames:
            return frames["wait"], frames["stay"]


def test_the_variables_are_told(waiting: int) -> None:
    library, here = in_library_and_here(waiting)

    assert locals_of(library)["timeout"] is None
    assert isinstance(locals_of(here)["done"], threading.Event)


@copies_locals
def test_nothing_is_kept_in_a_librarys_frame_and_nothing_is_taken_from_the_users(
    waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some other test may have used it.
    monkeypatch.setattr("pytest_concurrency._frames._profiled", False)
    # What is kept there is let go of when it is looked at again, in the middle of that.
    library, here = in_library_and_here(waiting)
    kept = library.f_locals

    told = locals_of(library)

    assert told["timeout"] is None
    assert kept == {}
    # `locals()` gives the very dictionary to the user.
    assert locals_of(here) is here.f_locals
    assert "done" in here.f_locals
