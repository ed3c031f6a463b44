"""What it costs to watch a hub of gevent's: switches between greenlets, and a look at everything that waits.

Run it with `python benchmarks/gevent_hub.py`. You will see the time of 20 000 `gevent.sleep(0)` in ten greenlets, bare,
with blocking detection, and recorded, as ratios of neighbouring runs; and the CPU time of one look by the number of
objects in the program, as a multiple of `gc.get_objects()`.
"""

from __future__ import annotations

import gc
import statistics
import time
from contextlib import nullcontext
from typing import Any

import gevent

from pytest_concurrency import record
from pytest_concurrency._blocking.guard import Guard
from pytest_concurrency._record.gevent_view import HubView
from pytest_concurrency._record.recorder import Recorder
from pytest_concurrency._settings import Blocking

ROUNDS = 9


class Detection:
    """Blocking detection alone, as it is on for every test."""

    def __enter__(self) -> None:
        self.guard = Guard(Blocking(), print)
        self.guard.on_block = lambda block: None
        self.guard.install()

    def __exit__(self, *error: object) -> None:
        self.guard.remove()


def switches() -> float:
    def run() -> None:
        for _ in range(2_000):
            gevent.sleep(0)

    begun = time.thread_time()
    gevent.joinall([gevent.spawn(run) for _ in range(10)])
    return time.thread_time() - begun


def compare() -> None:
    kinds: dict[str, Any] = {"bare": nullcontext, "detection": Detection, "recorded": record}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, make in kinds.items():
            with make():
                seconds[kind].append(switches())
    for kind, own in seconds.items():
        ratios = [one / bare for one, bare in zip(own, seconds["bare"], strict=True)]
        print(f"{kind:10} {min(own) * 1000:7.1f} ms   ratio {statistics.median(ratios):.2f}")


def looks() -> None:
    for count in (0, 100_000, 400_000):
        ballast = [[number] for number in range(count)]
        times, scans = [], []
        for _ in range(ROUNDS):
            begun = time.thread_time()
            everything = gc.get_objects()
            scans.append(time.thread_time() - begun)
            number = len(everything)
            del everything
            begun = time.thread_time()
            HubView(gevent.get_hub(), set(), Recorder())
            times.append(time.thread_time() - begun)
        ratio = min(times) / min(scans)
        print(f"a look at {number:7} objects: {min(times) * 1000:5.1f} ms, {ratio:.1f} times gc.get_objects()")
        del ballast


if __name__ == "__main__":
    compare()
    looks()
