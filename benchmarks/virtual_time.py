"""How fast virtual time passes: ours beside looptime's and trio's MockClock, the same work in the same run.

Run it with `python benchmarks/virtual_time.py [--tasks 10000] [--sleeps 100] [--rounds 3]`. Two kinds of work, an hour
of virtual time each. *in step*: all tasks sleep for the same 36 s, again and again, so that time jumps once for all of
them. *each at its own instant*: the same with fewer tasks, no two of which ever wake at once, so that every sleep is a
jump. You will see the least CPU seconds of the rounds, which take turns, and the ratio to the library of the same
event loop; below 1 we are the faster one. looptime and trio are measured where they are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.metadata
import importlib.util
from time import process_time
from typing import TYPE_CHECKING, Any

from pytest_concurrency._virtual_time import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600.0
SPREAD = 50
"""How many times fewer tasks *each at its own instant* has, since every one of its sleeps is a jump."""

Work = tuple[int, int, bool]
"""How many tasks, how many sleeps each, and whether all of them sleep in step."""


def naps(work: Work, number: int) -> list[float]:
    """Return how long task *number* sleeps each time; an hour in all, and a little to begin with where they spread."""
    tasks, sleeps, in_step = work
    if in_step:
        return [HOUR / sleeps] * sleeps
    apart = HOUR / sleeps / (tasks + 1)
    return [apart * (number + 1), *[HOUR / sleeps] * (sleeps - 1)]


async def on_asyncio(work: Work) -> float:
    async def sleeper(seconds: list[float]) -> None:
        for each in seconds:
            await asyncio.sleep(each)

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(work[0]):
            group.create_task(sleeper(naps(work, number)))
    return loop.time() - began


async def on_trio(work: Work) -> float:
    import trio

    async def sleeper(seconds: list[float]) -> None:
        for each in seconds:
            await trio.sleep(each)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(work[0]):
            nursery.start_soon(sleeper, naps(work, number))
    return trio.current_time() - began


def ours_on_asyncio(work: Work) -> float:
    with VirtualClock().install(patch_time=False):
        return asyncio.run(on_asyncio(work))


def looptime(work: Work) -> float:
    from looptime import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(on_asyncio(work))


def ours_on_trio(work: Work) -> float:
    import trio

    with VirtualClock().install(patch_time=False):
        passed: float = trio.run(on_trio, work)
    return passed


def mock_clock(work: Work) -> float:
    import trio
    import trio.testing

    passed: float = trio.run(on_trio, work, clock=trio.testing.MockClock(autojump_threshold=0))
    return passed


PAIRS: list[tuple[str, Callable[[Work], float], str, Callable[[Work], float], str]] = [
    ("asyncio", ours_on_asyncio, "looptime", looptime, "looptime"),
    ("trio", ours_on_trio, "trio", mock_clock, "MockClock(autojump_threshold=0)"),
]


def timed(run: Callable[[Work], float], work: Work) -> float:
    """Return the CPU seconds that *run* takes (all that it takes), and see to it that it did the work."""
    gc.collect()
    began = process_time()
    passed = run(work)
    took = process_time() - began
    tasks, sleeps, in_step = work
    expected = HOUR if in_step else HOUR - HOUR / sleeps / (tasks + 1)
    if abs(passed - expected) > 0.01:
        raise SystemExit(f"{run.__name__}: {passed} virtual seconds instead of {expected}")
    return took


def compare(work: Work, rounds: int) -> None:
    tasks, sleeps, in_step = work
    print(f"\n{tasks} tasks, {sleeps} sleeps each, {'in step' if in_step else 'each at its own instant'}:")
    runs: list[tuple[str, Any]] = []
    for backend, ours, library, theirs, name in PAIRS:
        if backend == "trio" and importlib.util.find_spec("trio") is None:
            continue
        runs.append((f"ours, {backend}", ours))
        if importlib.util.find_spec(library) is not None:
            runs.append((f"{name} {importlib.metadata.version(library)}", theirs))
    least = {name: min(times) for name, times in _in_turns(runs, work, rounds).items()}
    before = 0.0
    for name, seconds in least.items():
        if name.startswith("ours"):
            before = seconds
            print(f"  {name:<42}{seconds:8.2f} s")
        else:
            print(f"  {name:<42}{seconds:8.2f} s   ours / this = {before / seconds:.2f}")


def _in_turns(runs: list[tuple[str, Any]], work: Work, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name, _ in runs}
    for _ in range(rounds):
        for name, run in runs:
            times[name].append(timed(run, work))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--sleeps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    compare((options.tasks, options.sleeps, True), options.rounds)
    compare((max(2, options.tasks // SPREAD), options.sleeps, False), options.rounds)


if __name__ == "__main__":
    main()
