"""How much do threads and processes ask of the processors while they overlap? For must_run_in_parallel's thresholds.

Run: python benchmarks/parallel_demand.py [hogs]. With a number, as many endless loops run beside it.
Prints, for each kind of work, the least and the most in several rounds of: demand, (on a CPU + waiting for one) / wall;
how often the threads went to sleep of their own accord for a second of computing; which part of their time they slept.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 8
DATA = os.urandom(1 << 20)
LOCK = threading.Lock()
Reading = tuple[float, float, float, int]


def clocks() -> Reading:
    with open("/proc/thread-self/schedstat", encoding="ascii") as file:
        cpu, queued, _ = file.read().split()
    switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    return time.perf_counter(), int(cpu) / 1e9, int(queued) / 1e9, switches


def compute() -> None:
    total = 0
    for number in range(2_000_000):
        total += number


def hashing() -> None:
    for _ in range(60):
        hashlib.sha256(DATA).digest()


def compressing() -> None:
    for _ in range(3):
        zlib.compress(DATA)


def sleeping() -> None:
    time.sleep(0.1)


def locked() -> None:
    with LOCK:
        compute()


def timed(work: Callable[[], None]) -> tuple[Reading, Reading]:
    before = clocks()
    work()
    return before, clocks()


def demand(readings: list[tuple[Reading, Reading]]) -> float:
    """Return the demand while at least two overlap."""
    edges = sorted({time for before, after in readings for time in (before[0], after[0])})
    wanted = shared = 0.0
    for start, end in pairwise(edges):
        inside = [(b, a) for b, a in readings if b[0] <= start and end <= a[0]]
        if len(inside) >= 2:
            shared += end - start
            wanted += sum((end - start) * (a[1] - b[1] + a[2] - b[2]) / (a[0] - b[0]) for b, a in inside)
    return wanted / shared if shared else 0.0


def figures(readings: list[tuple[Reading, Reading]]) -> tuple[float, float, float]:
    """Return the demand, the waits for a second of computing, and the part asleep of the time not in a queue."""
    cpu = sum(after[1] - before[1] for before, after in readings)
    asleep = sum(max(0.0, (a[0] - b[0]) - (a[1] - b[1]) - (a[2] - b[2])) for b, a in readings)
    switches = sum(after[3] - before[3] for before, after in readings)
    return demand(readings), switches / cpu if cpu else 0.0, asleep / (cpu + asleep)


@contextmanager
def hogs(number: int) -> Iterator[None]:
    running = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(number)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def main(number: int) -> None:
    with hogs(number):
        for name, work in [
            ("computing", compute),
            ("hashlib", hashing),
            ("zlib", compressing),
            ("sleeping", sleeping),
            ("one lock", locked),
        ]:
            for count in (2, 4):
                row(f"{name}, {count} threads", ThreadPoolExecutor(count), work, count)
        for count in (2, 4):
            context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
            row(f"computing, {count} processes", ProcessPoolExecutor(count, mp_context=context), compute, count)


def row(name: str, pool: ThreadPoolExecutor | ProcessPoolExecutor, work: Callable[[], None], count: int) -> None:
    with pool:
        rounds = [figures(list(pool.map(timed, [work] * count))) for _ in range(ROUNDS)]
    wanted, waits, asleep = (sorted(each) for each in zip(*rounds, strict=True))
    print(
        f"{name:24} demand {wanted[0]:5.2f} to {wanted[-1]:5.2f}   waits a second {waits[0]:5.0f} to {waits[-1]:5.0f}"
        f"   asleep {asleep[0]:4.2f} to {asleep[-1]:4.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
