"""What a loop does last is found too: its run may be over before the sampler is done with its look."""

from __future__ import annotations

import asyncio
import collections
import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._blocking.clocks import ThreadClocks
from pytest_concurrency._blocking.guard import Guard
from pytest_concurrency._blocking.lanes import Lane
from pytest_concurrency._blocking.sampler import Sampler
from pytest_concurrency._settings import KINDS, Blocking

if TYPE_CHECKING:
    from pytest_concurrency._blocking.overdue import Sample
    from pytest_concurrency._trace import Block

pytestmark = pytest.mark.usefixtures("alone")


def test_a_loop_in_c_ends_while_its_last_call_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    uvloop = pytest.importorskip("uvloop")
    pytest.importorskip("resource")
    seen, settle = Sampler._seen, Sampler.settle
    run_is_over = threading.Event()

    def seen_slowly(*args: Any) -> Sample | None:
        sample = seen(*args)
        if sample is not None:
            # The line is known by now. What follows lets go of the GIL: long enough for the run to end.
            run_is_over.wait(5)
        return sample

    def announced(self: Sampler) -> None:
        run_is_over.set()
        settle(self)

    async def main() -> None:
        await asyncio.sleep(0.001)
        collections.deque(itertools.permutations(range(11)), 0)

    blocks: list[Block] = []
    guard = Guard(Blocking(kinds=frozenset(KINDS), past_threshold=frozenset()), pytest.fail)
    guard.on_block = blocks.append
    guard.install()
    try:
        monkeypatch.setattr(Sampler, "_seen", seen_slowly)
        monkeypatch.setattr(Sampler, "settle", announced)
        uvloop.run(main())
    finally:
        guard.remove()

    assert [block.kind for block in blocks] == ["cpu"]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="this system does not show other threads' clocks")
def test_a_turn_that_is_being_ended_is_not_begun_anew() -> None:
    class Loop:
        def call_soon_threadsafe(self, callback: Any) -> None:
            pass

    clocks = ThreadClocks()
    sampler = Sampler(clocks, time.perf_counter, lambda site, call: None, pytest.fail)
    lane = Lane("uvloop", Loop(), clocks, pytest.fail)
    sampler._lanes[id(lane)] = lane

    lane.ending = True
    sampler._look((lane,), 0.0)
    assert lane.began == 0.0

    lane.ending = False
    sampler._look((lane,), 0.0)
    assert lane.began > 0.0


def test_whichever_of_our_threads_gets_the_gil_first_looks() -> None:
    clocks = ThreadClocks()
    sampler = Sampler(clocks, time.perf_counter, lambda site, call: None, pytest.fail)
    sampler._stop = threading.Lock()
    lane = Lane("asyncio", None, clocks, pytest.fail)
    sampler._lanes[id(lane)] = lane

    goes_on = sampler.beside()
    goes_on()
    assert lane.samples == []

    lane.began = time.perf_counter() - 1
    goes_on()
    assert [sample.site.place.function for sample in lane.samples] == [
        "test_whichever_of_our_threads_gets_the_gil_first_looks"
    ]
    # What the sampler has waited for meanwhile has been told.
    assert sampler._is_seen
