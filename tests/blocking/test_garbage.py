"""The interpreter's own garbage collections are nobody's line; those that a program asks for are."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._blocking.guard import Guard
from pytest_concurrency._judge.blocking import findings
from pytest_concurrency._settings import Blocking

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from pytest_concurrency._trace import Block

# The run around this one watches, too.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest_concurrency.BlockingCallWarning"),
    pytest.mark.usefixtures("alone"),
]


@contextmanager
def watched() -> Iterator[list[Block]]:
    blocks: list[Block] = []
    guard = Guard(Blocking(), pytest.fail)
    guard.on_block = blocks.append
    guard.install()
    try:
        yield blocks
    finally:
        guard.remove()


def _compute() -> None:
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass


def _collected_by_the_interpreter() -> None:
    heard = gc.callbacks[-1]
    heard("start", {"generation": 2})
    _compute()
    heard("stop", {"generation": 2})


def _collected_on_demand() -> None:
    heard = gc.callbacks[-1]
    heard("start", {"generation": 2})
    _compute()
    # The name by which it would have been asked for.
    gc.collect if heard("stop", {"generation": 2}) else None


@pytest.mark.parametrize(
    ("program", "found"),
    [(_collected_by_the_interpreter, []), (_collected_on_demand, ["_collected_on_demand"]), (_compute, ["_compute"])],
)
def test_a_pause_belongs_to_who_asked_for_it(program: Callable[[], None], found: list[str]) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        program()
        await asyncio.sleep(0)

    with watched() as blocks:
        asyncio.run(main())

    assert [finding.place.function for finding in findings(blocks, Blocking())] == found


def test_nothing_of_ours_hears_of_collections_afterwards() -> None:
    before = list(gc.callbacks)
    with watched():
        assert len(gc.callbacks) == len(before) + 1

    assert gc.callbacks == before


def test_a_list_of_callbacks_that_somebody_has_emptied_stays_empty() -> None:
    before = list(gc.callbacks)
    try:
        with watched():
            gc.callbacks.clear()
    finally:
        gc.callbacks[:] = before


PROFILED = """
import gc
from pytest_concurrency._blocking.methods import _Ear

def call():
    pass

def collected(phase, info):
    for _ in range(3):
        call()

gc.callbacks.append(collected)
gc.set_threshold(1)
for number in range(400):
    ear = _Ear(lambda *args: None, lambda: None)
    ear._left = number % 37 + 1
    ear.listen(1.0)
    garbage = [[] for _ in range(20)]
    for _ in range(40):
        call()
    ear.rest()
print("alive")
"""


def test_a_collection_that_ends_the_profiling_of_the_call_that_set_it_off(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    # Python 3.11 calls a function of the profiler that may be gone by then.
    result = run_python(PROFILED)
    assert (result.returncode, result.stdout) == (0, "alive\n"), result.stderr
