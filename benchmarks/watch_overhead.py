"""What does it cost a thread to call a function that is watched?

Run: python benchmarks/watch_overhead.py. Prints microseconds of the thread's own CPU time for a call of an empty
function: as it is, and watched.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import types
from typing import TYPE_CHECKING

import pytest_concurrency

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS, ROUNDS = 20_000, 15


def work() -> None:
    pass


def in_a_thread() -> float:
    """Return microseconds for a call."""
    spent: list[float] = []

    def run() -> None:
        began = time.thread_time()
        for _ in range(CALLS):
            work()
        spent.append((time.thread_time() - began) / CALLS * 1e6)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return spent[0]


def watched() -> float:
    with pytest_concurrency.record() as concurrency:
        concurrency.watch("work:work")
        return in_a_thread()


def main() -> None:
    module = types.ModuleType("work")
    module.work = work  # type: ignore[attr-defined]
    sys.modules["work"] = module
    ways: list[tuple[str, Callable[[], float]]] = [("as it is", in_a_thread), ("watched", watched)]
    found: dict[str, list[float]] = {name: [] for name, _ in ways}
    for _ in range(ROUNDS):
        for name, way in ways:
            found[name].append(way())
    for name, each in found.items():
        print(f"{name:10} {min(each):6.2f} to {statistics.median(each):6.2f} µs a call (least, median)")
    print(f"the watching costs {min(found['watched']) - min(found['as it is']):.2f} µs a call")


if __name__ == "__main__":
    main()
